//! What judges sequences of steps that chance picked: `scenarios/tests/fuzz.rs` drives them.
//!
//! The fuzzer has a model of the hub contract. Whatever the model says must become of a request is a note in the transcript,
//! so that the verdict can be recomputed from the file: the check [`checks::MODEL`] compares each note with what happened. A later
//! note about the same request takes the place of the earlier one: a call that runs is owed an answer, until its replica is
//! killed. What needs no model (nothing is executed twice, no stream of others is cut) is judged by the checks of `routing`.

pub mod checks;

use std::fmt;

use harness::cli::Rules;

/// The scenario that the fuzzer's transcripts say they are of. It is not in the catalogue: its steps have no name.
pub const SCENARIO: &str = "fuzz/model";

/// What judges the fuzzer's transcripts.
pub const RULES: Rules = Rules {
    scenario: SCENARIO,
    checks: &[
        &checks::MODEL,
        &checks::NO_PANIC,
        &checks::STILL_EXECUTED_ONCE,
        &checks::STILL_ORPHANS_TOLD,
        &checks::STILL_STREAMS_UNTOUCHED,
        &checks::STILL_ISOLATED,
    ],
};

/// What the model says about one request, one client or one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The name of the probe, or of the client.
    pub of: String,
    /// What must become of it.
    pub must: Must,
}

/// What must become of something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Must {
    /// The client gets a session.
    Open,
    /// The client's DELETE is taken.
    Close,
    /// The call's result has this text, within 5 s and the time that it is held.
    Answer(String),
    /// The request is taken: 2xx.
    Accept,
    /// It is refused: 4xx.
    Refuse,
    /// It is answered with 2xx to 4xx.
    Handle,
    /// Its session has ended: it gets any error, or no connection, and no result.
    Lose,
    /// Its replica, this one, was killed: whatever comes of it comes within 2 s of that.
    Tell(String),
    /// Its client has called it off: nothing need come, but the exchange ends.
    Stop,
    /// Nothing is promised but that it comes to an end.
    End,
}

/// The words between what a note is about and what must become of it.
const MUST: &str = " must ";

/// The words of each [`Must`] without an argument.
const WORDS: &[(Must, &str)] = &[
    (Must::Open, "get a session"),
    (Must::Close, "have its DELETE taken"),
    (Must::Accept, "be accepted"),
    (Must::Refuse, "be refused"),
    (Must::Handle, "be answered below 500"),
    (Must::Lose, "get no result"),
    (Must::Stop, "end, called off"),
    (Must::End, "end"),
];

const ANSWER: &str = "be answered ";
const TELL: &str = "be told of the end of ";

// === impl Note ===

impl Note {
    /// Reads what [`Note`]'s `Display` writes; `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let (of, must) = text.split_once(MUST)?;
        let exact = WORDS.iter().find(|(_, words)| *words == must).map(|(must, _)| must.clone());
        let must = exact
            .or_else(|| must.strip_prefix(ANSWER).map(|text| Must::Answer(text.to_owned())))
            .or_else(|| must.strip_prefix(TELL).map(|replica| Must::Tell(replica.to_owned())))?;
        Some(Self { of: of.to_owned(), must })
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{MUST}{}", self.of, self.must)
    }
}

impl fmt::Display for Must {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Must::Answer(text) => write!(f, "{ANSWER}{text}"),
            Must::Tell(replica) => write!(f, "{TELL}{replica}"),
            other => {
                let words = WORDS.iter().find(|(must, _)| must == other).map(|(_, words)| *words);
                f.write_str(words.unwrap_or_default())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_it_was_written() {
        let plain = WORDS.iter().map(|(must, _)| must.clone());
        let all = plain.chain([Must::Answer("payload 3 of a".to_owned()), Must::Tell("hub-x".to_owned())]);
        for must in all {
            let note = Note { of: "3 echo".to_owned(), must };
            assert_eq!(Note::parse(&note.to_string()), Some(note));
        }
        assert_eq!(Note::parse("recovery"), None);
    }
}
