//! Reads the body of an answer, in bounded time and memory.

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::decode::Decoder;
use super::exchange::{BODY_LIMIT, end_of};
use super::patience::Patience;
use crate::transcript::End;

/// The next bytes of a body, or the end.
async fn next(body: &mut Incoming, patience: &Patience) -> Result<Bytes, End> {
    loop {
        // A hub that never pauses must not outrun the limit.
        if patience.is_over() {
            return Err(patience.end());
        }
        match patience.bound(body.frame()).await {
            Err(()) => return Err(patience.end()),
            Ok(None) => return Err(End::Complete),
            Ok(Some(Err(error))) => return Err(end_of(&error)),
            // Trailers say nothing that anybody here wants to know.
            Ok(Some(Ok(frame))) => {
                if let Ok(bytes) = frame.into_data() {
                    return Ok(bytes);
                }
            }
        }
    }
}

/// The next bytes of a body as its encoding means them, or the end.
pub(super) async fn decoded(
    body: &mut Incoming,
    decoder: &mut Decoder,
    patience: &Patience,
) -> Result<Bytes, End> {
    let bytes = next(body, patience).await?;
    decoder.push(bytes).map_err(|error| End::Malformed { why: format!("the body's encoding: {error}") })
}

/// A whole body, as far as it came and is read.
pub(super) async fn collect(
    mut body: Incoming,
    decoder: &mut Decoder,
    patience: &Patience,
) -> (Vec<u8>, End) {
    let mut collected = Vec::new();
    loop {
        match decoded(&mut body, decoder, patience).await {
            Ok(bytes) => collected.extend_from_slice(&bytes),
            Err(end) => return (collected, end),
        }
        if collected.len() > BODY_LIMIT {
            return (collected, End::ClosedByClient);
        }
    }
}
