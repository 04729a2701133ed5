//! Bytes in, frames out: the event streams of the SSE standard, incrementally and with a bound.
//!
//! Pure and synchronous; it knows neither HTTP nor MCP. Every byte is looked at once, whatever the chunks are,
//! and what is held is one unfinished frame of at most the limit. Unlike a browser it also tells what a stream
//! says beside its events: a block of lines that ends with an empty line is a frame, even when all it has is a
//! comment, a `retry`, an `id` or fields that nobody knows.

use crate::transcript::Frame;

/// The bound that fits MCP: the largest message that the servers in the field accept.
pub const DEFAULT_LIMIT: usize = 4 * 1024 * 1024;

const BOM: &[u8] = b"\xEF\xBB\xBF";

/// A line or frame is longer than the parser's limit; nothing that follows can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame is longer than {limit} bytes")]
pub struct FrameTooLong {
    /// The limit.
    pub limit: usize,
}

/// Splits an event stream into frames.
#[derive(Debug)]
pub struct Parser {
    limit: usize,
    /// The line that has not ended yet.
    line: Vec<u8>,
    /// The frame that has not ended yet.
    frame: Frame,
    /// The length of the frame's finished lines, each with one byte for its end.
    length: usize,
    /// The last byte was a CR, so a LF that follows belongs to it.
    after_cr: bool,
    /// No line has ended yet, so a byte order mark may stand here.
    at_start: bool,
    failed: bool,
}

// === impl Parser ===

impl Default for Parser {
    fn default() -> Self {
        Self::new(DEFAULT_LIMIT)
    }
}

impl Parser {
    /// A parser for one stream, whose frames may have `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
            frame: Frame::default(),
            length: 0,
            after_cr: false,
            at_start: true,
            failed: false,
        }
    }

    /// Takes the next bytes of the stream and returns the frames that they complete.
    ///
    /// A frame over the limit gives one error, as the last item that this parser ever returns. What is
    /// unfinished when the stream ends is no frame, as the standard says.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Result<Frame, FrameTooLong>> {
        let mut frames = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() && !self.failed {
            if std::mem::take(&mut self.after_cr) && rest[0] == b'\n' {
                rest = &rest[1..];
                continue;
            }
            let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let piece = &rest[..end.unwrap_or(rest.len())];
            if self.length + self.line.len() + piece.len() > self.limit {
                frames.push(Err(self.fail()));
                break;
            }
            self.line.extend_from_slice(piece);
            let Some(end) = end else { break };
            self.after_cr = rest[end] == b'\r';
            rest = &rest[end + 1..];
            frames.extend(self.end_line().map(Ok));
        }
        frames
    }

    fn fail(&mut self) -> FrameTooLong {
        let limit = self.limit;
        *self = Self { failed: true, ..Self::new(limit) };
        FrameTooLong { limit }
    }

    /// Reads the line that has ended; gives the frame when the line is the empty one that ends it.
    fn end_line(&mut self) -> Option<Frame> {
        let bytes = std::mem::take(&mut self.line);
        let mut line = bytes.as_slice();
        if std::mem::take(&mut self.at_start) {
            line = line.strip_prefix(BOM).unwrap_or(line);
        }
        if line.is_empty() {
            let has_lines = std::mem::take(&mut self.length) > 0;
            let frame = std::mem::take(&mut self.frame);
            return has_lines.then_some(frame);
        }
        self.length += bytes.len() + 1;
        // A line's end is ASCII, so no character reaches over it and decoding by lines is exact.
        self.field(&String::from_utf8_lossy(line));
        None
    }

    fn field(&mut self, line: &str) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        let frame = &mut self.frame;
        match name {
            // A line that begins with a colon.
            "" => frame.comments.push(value.to_owned()),
            "event" => frame.event = Some(value.to_owned()),
            "data" => match &mut frame.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => frame.data = Some(value.to_owned()),
            },
            "id" if !value.contains('\0') => frame.id = Some(value.to_owned()),
            // A number that no u64 holds is ignored too; the standard leaves that to the implementation.
            "retry" if value.bytes().all(|byte| byte.is_ascii_digit()) => {
                frame.retry = value.parse().ok().or(frame.retry);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: impl AsRef<[u8]>) -> Vec<Frame> {
        Parser::default().push(bytes.as_ref()).into_iter().map(Result::unwrap).collect()
    }

    fn data(text: &str) -> Frame {
        Frame { data: Some(text.to_owned()), ..Frame::default() }
    }

    #[test]
    fn each_of_the_three_line_ends_ends_a_line() {
        for end in ["\n", "\r\n", "\r"] {
            let text = format!("event: a{end}data: 1{end}{end}data: 2{end}{end}");
            let first = Frame { event: Some("a".to_owned()), ..data("1") };
            assert_eq!(parse(text), [first, data("2")], "with {end:?}");
        }
    }

    #[test]
    fn a_frame_ended_by_cr_does_not_wait_for_what_follows() {
        let mut parser = Parser::default();
        assert_eq!(parser.push(b"data: 1\r\r"), [Ok(data("1"))]);
        assert_eq!(parser.push(b"\ndata: 2\r"), []);
        assert_eq!(parser.push(b"\n"), []);
        assert_eq!(parser.push(b"\r\n"), [Ok(data("2"))]);
        assert_eq!(parser.push(b"\n"), []);
    }

    #[test]
    fn several_data_fields_are_joined_by_newlines() {
        assert_eq!(parse("data: a\ndata\ndata:  b\n\n"), [data("a\n\n b")]);
    }

    #[test]
    fn an_empty_data_field_is_data() {
        assert_eq!(parse("data:\n\ndata\n\ndata\ndata\n\n"), [data(""), data(""), data("\n")]);
    }

    #[test]
    fn one_space_after_the_colon_is_dropped() {
        assert_eq!(parse("data:x\n\ndata:  x\n\ndata:\tx\n\n"), [data("x"), data(" x"), data("\tx")]);
    }

    #[test]
    fn a_name_must_fit_exactly() {
        assert_eq!(parse("Data: x\ndata : y\n data: z\n\n"), [Frame::default()]);
    }

    #[test]
    fn comments_retry_and_id_alone_are_frames() {
        let comments = Frame { comments: vec!["ping".to_owned(), String::new()], ..Frame::default() };
        let retry = Frame { retry: Some(1500), ..Frame::default() };
        let id = Frame { id: Some("7".to_owned()), ..Frame::default() };
        assert_eq!(parse(": ping\n:\n\nretry: 1500\n\nid: 7\n\n"), [comments, retry, id]);
    }

    #[test]
    fn empty_lines_alone_are_no_frames() {
        assert_eq!(parse("\n\r\n\r\r\n\n"), []);
    }

    #[test]
    fn a_retry_of_other_than_digits_is_ignored() {
        for bad in ["", "+5", "-5", "1.5", "5 ", "five", "99999999999999999999999"] {
            assert_eq!(parse(format!("retry: {bad}\n\n")), [Frame::default()], "{bad:?}");
        }
        let kept = Frame { retry: Some(5), ..Frame::default() };
        assert_eq!(parse("retry: 5\nretry: x\n\n"), [kept]);
    }

    #[test]
    fn an_id_with_nul_is_ignored() {
        let kept = Frame { id: Some("a".to_owned()), ..Frame::default() };
        assert_eq!(parse("id: a\nid: b\0c\n\n"), [kept]);
    }

    #[test]
    fn an_empty_id_is_an_id() {
        assert_eq!(parse("id\n\n"), [Frame { id: Some(String::new()), ..Frame::default() }]);
    }

    #[test]
    fn a_byte_order_mark_counts_at_the_start_only() {
        assert_eq!(parse(b"\xEF\xBB\xBFdata: 1\n\n\xEF\xBB\xBFdata: 2\n\n"), [data("1"), Frame::default()]);
        assert_eq!(parse(b"\xEF\xBB\xBF\n\ndata: 1\n\n"), [data("1")]);
        let mut parser = Parser::default();
        assert_eq!(parser.push(b"\xEF"), []);
        assert_eq!(parser.push(b"\xBB"), []);
        assert_eq!(parser.push(b"\xBFdata: 1\n\n"), [Ok(data("1"))]);
    }

    #[test]
    fn characters_may_be_split_across_chunks() {
        let mut parser = Parser::default();
        let mut frames = Vec::new();
        for byte in "data: größe 👍\n\n".as_bytes() {
            frames.extend(parser.push(std::slice::from_ref(byte)));
        }
        assert_eq!(frames, [Ok(data("größe 👍"))]);
    }

    #[test]
    fn invalid_bytes_become_replacement_characters() {
        assert_eq!(parse(b"data: a\xFFb\xF0\x9F\n\n"), [data("a\u{FFFD}b\u{FFFD}")]);
    }

    #[test]
    fn an_unfinished_block_is_no_frame() {
        assert_eq!(parse("data: 1\n\ndata: 2\n"), [data("1")]);
        assert_eq!(parse("data: 1\n\ndata: 2"), [data("1")]);
    }

    #[test]
    fn a_frame_over_the_limit_is_an_error_once() {
        let mut parser = Parser::new(10);
        let frames = parser.push(b"data: 1\n\ndata: 12345\n\ndata: 3\n\n");
        assert_eq!(frames, [Ok(data("1")), Err(FrameTooLong { limit: 10 })]);
        assert_eq!(parser.push(b"\n\ndata: 4\n\n"), []);
    }

    #[test]
    fn the_limit_holds_for_many_short_lines_and_for_one_endless_line() {
        let mut parser = Parser::new(1000);
        let errors = (0..1000).flat_map(|_| parser.push(b":\n")).filter(Result::is_err).count();
        assert_eq!(errors, 1);
        let mut parser = Parser::new(1000);
        let errors = (0..2000).flat_map(|_| parser.push(b"x")).filter(Result::is_err).count();
        assert_eq!(errors, 1);
    }
}
