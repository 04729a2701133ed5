//! How the names of request headers are spelled on the wire: hyper writes them in lower case.

/// How header names are spelled. "Each header field consists of a case-insensitive field name":
/// <https://www.rfc-editor.org/rfc/rfc9110#section-5.1>.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spelling {
    /// `mcp-session-id`, as HTTP/2 and many clients have it.
    #[default]
    Lower,
    /// `Mcp-Session-Id`, as Go and Java clients have it.
    Title,
    /// `MCP-SESSION-ID`.
    Upper,
}

/// Respells the header names of one request while it is written. Lengths stay as they are.
#[derive(Clone, Debug)]
pub(super) struct Speller {
    spelling: Spelling,
    at: Place,
}

/// Where in a request the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    RequestLine,
    LineStart,
    /// In a name; the flag says whether the next letter begins a word.
    Name {
        word_begins: bool,
    },
    Value,
    Body,
}

// === impl Spelling ===

impl Spelling {
    /// A header's name in this spelling.
    pub fn of(self, name: &str) -> String {
        let mut word_begins = true;
        let spelled = name.chars().map(|letter| self.letter(letter, &mut word_begins));
        spelled.collect()
    }

    fn letter(self, letter: char, word_begins: &mut bool) -> char {
        let is_first = std::mem::replace(word_begins, letter == '-');
        match self {
            Spelling::Lower => letter.to_ascii_lowercase(),
            Spelling::Title if !is_first => letter.to_ascii_lowercase(),
            Spelling::Title | Spelling::Upper => letter.to_ascii_uppercase(),
        }
    }
}

// === impl Speller ===

impl Speller {
    /// For one request; `None` where hyper's own spelling is wanted.
    pub(super) fn new(spelling: Spelling) -> Option<Self> {
        (spelling != Spelling::Lower).then_some(Self { spelling, at: Place::RequestLine })
    }

    /// The bytes as they are to be written. They count as written only once [`Speller::wrote`] is told of them.
    pub(super) fn spelled(&self, bytes: &[u8]) -> Vec<u8> {
        let mut ahead = self.clone();
        bytes.iter().map(|byte| ahead.next(*byte)).collect()
    }

    /// Goes on behind these bytes.
    pub(super) fn wrote(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.next(*byte);
        }
    }

    fn next(&mut self, byte: u8) -> u8 {
        let mut spelled = byte;
        self.at = match (self.at, byte) {
            (Place::Body, _) | (Place::LineStart, b'\n') => Place::Body,
            (_, b'\n') | (Place::LineStart, b'\r') => Place::LineStart,
            (Place::RequestLine | Place::Value, _) => self.at,
            (Place::LineStart | Place::Name { .. }, b':') => Place::Value,
            (Place::LineStart, _) => self.letter(&mut spelled, true),
            (Place::Name { word_begins }, _) => self.letter(&mut spelled, word_begins),
        };
        spelled
    }

    fn letter(&self, byte: &mut u8, mut word_begins: bool) -> Place {
        let spelled = self.spelling.letter(char::from(*byte), &mut word_begins);
        *byte = u8::try_from(spelled).unwrap_or(*byte);
        Place::Name { word_begins }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &str = "POST /mcp?a=b HTTP/1.1\r\nhost: h:80\r\nmcp-session-id: aB-c\r\n\r\nname: x\r\n";

    #[test]
    fn only_names_of_headers_change() {
        let spelled = |spelling| {
            let speller = Speller::new(spelling).expect("another spelling than hyper's");
            String::from_utf8(speller.spelled(REQUEST.as_bytes())).expect("text stays text")
        };
        let expected = |host: &str, id: &str| {
            format!("POST /mcp?a=b HTTP/1.1\r\n{host}: h:80\r\n{id}: aB-c\r\n\r\nname: x\r\n")
        };
        assert_eq!(spelled(Spelling::Title), expected("Host", "Mcp-Session-Id"));
        assert_eq!(spelled(Spelling::Upper), expected("HOST", "MCP-SESSION-ID"));
        assert!(Speller::new(Spelling::Lower).is_none());
        assert_eq!(Spelling::Title.of("MCP-protocol-version"), "Mcp-Protocol-Version");
    }

    #[test]
    fn a_request_may_be_written_in_pieces_of_any_length() {
        let mut speller = Speller::new(Spelling::Upper).expect("another spelling than hyper's");
        let whole = speller.spelled(REQUEST.as_bytes());
        for length in 1..REQUEST.len() {
            let mut speller = speller.clone();
            let mut written = Vec::new();
            for piece in REQUEST.as_bytes().chunks(length) {
                // What was only tried is spelled again.
                speller.spelled(piece);
                written.extend(speller.spelled(piece));
                speller.wrote(piece);
            }
            assert_eq!(written, whole, "in pieces of {length}");
        }
        speller.wrote(REQUEST.as_bytes());
        assert_eq!(speller.spelled(b"more: y"), b"more: y");
    }
}
