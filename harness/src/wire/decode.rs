//! Compressed answers, decoded as they arrive: only for requests that said `Accept-Encoding`.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::write::{DeflateDecoder, GzDecoder, ZlibDecoder};

/// The most that one piece of a body may become: more is an attack.
const PIECE_LIMIT: usize = 8 * 1024 * 1024;

/// So many bytes are decoded at once: each becomes at most a thousand.
const STEP: usize = 4096;

/// What `Content-Encoding` says, and what is left to decode.
pub(super) enum Decoder {
    /// Bytes are what they are.
    Plain,
    /// An encoding that was asked for and cannot be read here: only when bytes come is known.
    Opaque(String),
    /// `gzip`.
    Gzip(Box<GzDecoder<Vec<u8>>>),
    /// `deflate` before its first two bytes: zlib by the specification, without its header by many servers.
    Undecided(Vec<u8>),
    /// `deflate` as it is specified.
    Zlib(Box<ZlibDecoder<Vec<u8>>>),
    /// `deflate` without the header.
    Deflate(Box<DeflateDecoder<Vec<u8>>>),
}

// === impl Decoder ===

impl Decoder {
    /// For an answer with this `Content-Encoding` to a request with this `Accept-Encoding`. What the client did not ask for is
    /// left as it is.
    pub(super) fn new(asked: Option<&str>, encoding: Option<&str>) -> Self {
        let encoding = encoding.unwrap_or_default().trim().to_ascii_lowercase();
        let names = asked.unwrap_or_default().split(',');
        let mut names = names.map(|one| one.split(';').next().unwrap_or_default().trim());
        if !names.any(|name| name.eq_ignore_ascii_case(&encoding)) {
            return Self::Plain;
        }
        match encoding.as_str() {
            "" | "identity" => Self::Plain,
            "gzip" => Self::Gzip(Box::new(GzDecoder::new(Vec::new()))),
            "deflate" => Self::Undecided(Vec::new()),
            _ => Self::Opaque(encoding),
        }
    }

    /// The name of an encoding that cannot be read here.
    pub(super) fn opaque(&self) -> Option<&str> {
        match self {
            Self::Opaque(encoding) => Some(encoding),
            _ => None,
        }
    }

    /// What these bytes say, as far as it can be told yet.
    ///
    /// # Errors
    ///
    /// When they are not what `Content-Encoding` says, or become more than is read of anyone.
    pub(super) fn push(&mut self, bytes: Bytes) -> io::Result<Bytes> {
        if let Self::Undecided(begun) = self {
            begun.extend_from_slice(&bytes);
            let [first, second, ..] = begun[..] else { return Ok(Bytes::new()) };
            let begun = std::mem::take(begun);
            // RFC 1950: the method is 8, and both bytes together are a multiple of 31.
            let is_zlib = first & 0x0f == 8 && u16::from_be_bytes([first, second]).is_multiple_of(31);
            *self = if is_zlib {
                Self::Zlib(Box::new(ZlibDecoder::new(Vec::new())))
            } else {
                Self::Deflate(Box::new(DeflateDecoder::new(Vec::new())))
            };
            return self.push(begun.into());
        }
        match self {
            Self::Plain | Self::Opaque(_) | Self::Undecided(_) => Ok(bytes),
            Self::Gzip(decoder) => decoded(decoder.as_mut(), &bytes, GzDecoder::get_mut),
            Self::Zlib(decoder) => decoded(decoder.as_mut(), &bytes, ZlibDecoder::get_mut),
            Self::Deflate(decoder) => decoded(decoder.as_mut(), &bytes, DeflateDecoder::get_mut),
        }
    }
}

// === helpers ===

/// What a decoder makes of these bytes, and nothing that it has told before.
fn decoded<D: Write>(
    decoder: &mut D,
    bytes: &[u8],
    told: impl Fn(&mut D) -> &mut Vec<u8>,
) -> io::Result<Bytes> {
    for step in bytes.chunks(STEP) {
        decoder.write_all(step)?;
        decoder.flush()?;
        if told(decoder).len() > PIECE_LIMIT {
            return Err(io::Error::other(format!("more than {PIECE_LIMIT} bytes come of {}", bytes.len())));
        }
    }
    Ok(std::mem::take(told(decoder)).into())
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    const ASKED: Option<&str> = Some("gzip, deflate;q=0.5, br");

    /// Two events, flushed one by one, as a server that does not hold them back writes them.
    macro_rules! flushed {
        ($encoder:expr) => {{
            let mut encoder = $encoder;
            encoder.write_all(b"data: 1\n\n").expect("memory takes it");
            encoder.flush().expect("memory takes it");
            let first = encoder.get_ref().len();
            encoder.write_all(b"data: 2\n\n").expect("memory takes it");
            (encoder.finish().expect("memory takes it"), first)
        }};
    }

    #[test]
    fn what_was_flushed_is_read_at_once_however_it_is_cut() {
        let compression = Compression::default();
        let cases = [
            ("gzip", flushed!(GzEncoder::new(Vec::new(), compression))),
            ("deflate", flushed!(ZlibEncoder::new(Vec::new(), compression))),
            ("Deflate", flushed!(DeflateEncoder::new(Vec::new(), compression))),
        ];
        for (encoding, (bytes, first)) in cases {
            let mut decoder = Decoder::new(ASKED, Some(encoding));
            let read = |decoder: &mut Decoder, bytes: &[u8]| {
                decoder.push(Bytes::copy_from_slice(bytes)).expect("it is what it says")
            };
            assert_eq!(&*read(&mut decoder, &bytes[..first]), b"data: 1\n\n", "{encoding}");
            assert_eq!(&*read(&mut decoder, &bytes[first..]), b"data: 2\n\n", "{encoding}");
            let mut decoder = Decoder::new(ASKED, Some(encoding));
            let pieces = bytes.chunks(1).map(|byte| read(&mut decoder, byte));
            assert_eq!(pieces.collect::<Vec<_>>().concat(), b"data: 1\n\ndata: 2\n\n", "{encoding}");
        }
    }

    #[test]
    fn only_what_was_asked_for_is_decoded() {
        for (asked, encoding) in [(None, Some("gzip")), (Some("br"), Some("gzip")), (ASKED, None)] {
            assert!(matches!(Decoder::new(asked, encoding), Decoder::Plain), "{asked:?} {encoding:?}");
        }
        assert_eq!(Decoder::new(ASKED, Some("br")).opaque(), Some("br"));
        assert!(Decoder::new(ASKED, Some("gzip")).push("no gzip at all".into()).is_err());
    }

    #[test]
    fn a_bomb_is_not_read() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&vec![b' '; 4 * PIECE_LIMIT]).expect("memory takes it");
        let bomb = encoder.finish().expect("memory takes it");
        assert!(Decoder::new(ASKED, Some("gzip")).push(bomb.into()).is_err());
    }
}
