//! Reads the body of an answer, in bounded time and memory.

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::decode::Decoder;
use super::exchange::{BODY_LIMIT, end_of};
use super::manners::Manners;
use super::patience::Patience;
use crate::transcript::End;

/// A body that may not be read as soon as it comes.
pub(super) struct Unread {
    pub(super) body: Incoming,
    /// Its length, where the head says it.
    pub(super) declared: Option<u64>,
    pub(super) manners: Manners,
}

/// The next bytes of a body, or the end.
async fn next(unread: &mut Unread, patience: &Patience) -> Result<Bytes, End> {
    loop {
        // A hub that never pauses must not outrun the limit.
        if patience.is_over() {
            return Err(patience.end());
        }
        let frame = async {
            unread.manners.attend(unread.declared).await;
            unread.body.frame().await
        };
        match patience.bound(frame).await {
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
    body: &mut Unread,
    decoder: &mut Decoder,
    patience: &Patience,
) -> Result<Bytes, End> {
    let bytes = next(body, patience).await?;
    decoder.push(bytes).map_err(|error| End::Malformed { why: format!("the body's encoding: {error}") })
}

/// A whole body, as far as it came and is read.
pub(super) async fn collect(mut body: Unread, decoder: &mut Decoder, patience: &Patience) -> (Vec<u8>, End) {
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
