//! Text of several bytes per character, and requests that arrive in pieces: wherever a buffer ends, the text goes on.

use futures_util::future::FutureExt;
use harness::check::{Check, Judgement, Level};
use harness::plan::{Need, Outline, Tool, Transport};
use harness::run::stage::Holder;
use harness::run::{Scenario, Setup, Stage};
use harness::transcript::What;
use harness::transcript::history::{Call, History, Outcome};
use harness::wire::{self, Target};
use serde_json::{Value, json};

use super::EVERY_TRANSPORT;
use crate::words::reply_text;

/// The name of calls whose text is longer than buffers are.
const LONG: &str = "long text";

/// The name of a request whose body has a segment of its own.
const APART: &str = "head and body apart";

/// The name of a request whose body is cut within characters.
const SPLIT: &str = "body cut within characters";

/// How the words begin that count what came back of a long text.
const CAME_BACK: &str = "characters that came back";

/// How long a long text is, in bytes: more than the buffers of servers, less than any of them refuses.
const LENGTH: usize = 80_000;

/// A character of three bytes, and one of four.
const CHARACTERS: [char; 2] = ['\u{4e16}', '\u{1f980}'];

/// A text with both.
const SHORT: &str = "a \u{4e16} b \u{1f980} c";

/// What stands in a text that was cut within a character.
const REPLACEMENT: char = '\u{fffd}';

/// Text is whole, wherever it was cut on its way.
pub const TEXT_AT_ANY_OFFSET: Scenario = Scenario {
    outline: Outline {
        id: "session/text-at-any-offset",
        affinities: &[],
        transports: EVERY_TRANSPORT,
        needs: &[],
    },
    title: "text of three and four bytes per character stays whole over 80 kB, and a request may arrive in pieces",
    why: "A server that decodes each piece of a body by itself spoils a character at every buffer's edge, or refuses the request: users \
          who write Chinese or use emoji see it, and only in long texts. One that expects the body together with the head fails \
          behind some proxies.",
    spec: &[SPEC_ENCODING, SPEC_LENGTH],
    remedy: "hub: read the whole body, as many bytes as `Content-Length` says, and decode it then",
    guide: None,
    setup: Setup::ONE_REPLICA,
    checks: &[&TEXT_WHOLE, &BODY_AWAITED],
    drive: |stage| texts(stage).boxed(),
};

async fn texts(stage: &Stage) -> anyhow::Result<()> {
    let target = stage.straight()?;
    let Some(holder) = stage.open("a", &target).await else { return Ok(()) };
    let (mut sent, mut whole) = (0, 0);
    for character in CHARACTERS {
        // So that every place is within a character of one of the texts.
        for before in 0..character.len_utf8() {
            sent += 1;
            whole += usize::from(long_text(stage, &holder, &target, character, before).await);
        }
    }
    stage.counted("long texts that came back whole", whole, sent);
    let (method, params) = carrying(stage, SHORT);
    let session = &holder.session;
    let apart = session.raw(method, params.clone()).named(APART).pausing([0]);
    session.send(&target, apart).await;
    let split = session.raw(method, params).named(SPLIT);
    let cuts = within_characters(&split.body);
    session.send(&target, split.pausing(cuts)).await;
    session.end(&target).await;
    Ok(())
}

/// Sends a long text of this character, after so many others; whether it came back whole. Of one that did not, what came is counted.
async fn long_text(stage: &Stage, holder: &Holder, target: &Target, character: char, before: usize) -> bool {
    let text: String = "x".repeat(before) + &character.to_string().repeat(LENGTH / character.len_utf8());
    let has_echo = stage.offers(Need::Tool(Tool::Echo));
    let (method, params) = if has_echo || stage.transport() == Transport::Stateless {
        carrying(stage, &text)
    } else {
        // Most hubs repeat the name of a tool that they do not know.
        ("tools/call", json!({ "name": text, "arguments": {} }))
    };
    let said = match stage.ask(holder, target, LONG, method, params).await {
        wire::Outcome::Result(result) => result["content"][0]["text"].as_str().unwrap_or_default().to_owned(),
        wire::Outcome::Error { message, .. } => message,
        _ => return false,
    };
    let all = text.chars().count();
    let came = came_back(&text, &said, has_echo);
    if let Some(count) = came.filter(|count| *count < all) {
        let width = character.len_utf8();
        let what = format!("{CAME_BACK}, {width} bytes each, from byte {before} of a text on");
        stage.counted(&what, count, all);
    }
    came == Some(all)
}

/// A request that carries this text: as the argument of a tool that repeats it, else where any request may carry some.
fn carrying(stage: &Stage, text: &str) -> (&'static str, Value) {
    if stage.offers(Need::Tool(Tool::Echo)) {
        ("tools/call", stage.tool_call(Tool::Echo, &json!({ "text": text })))
    } else {
        (stage.small(), json!({ "_meta": { "hubcheck/text": text } }))
    }
}

/// How many characters of a text stand in an answer, up to the first that is another one; nothing where the answer need not
/// repeat it and shows no damage.
fn came_back(text: &str, said: &str, must_repeat: bool) -> Option<usize> {
    if said.contains(text) {
        return Some(text.chars().count());
    }
    if !must_repeat && !said.contains(REPLACEMENT) {
        return None;
    }
    let beginning: String = text.chars().take(8).collect();
    let from = said.find(&beginning).unwrap_or(said.len());
    Some(text.chars().zip(said[from..].chars()).take_while(|(own, other)| own == other).count())
}

/// The places in a body that are within a character: after its first byte.
fn within_characters(body: &[u8]) -> Vec<usize> {
    let begins = |byte: u8| byte >= 0b1100_0000;
    body.iter().enumerate().filter(|(_, byte)| begins(**byte)).map(|(at, _)| at + 1).collect()
}

// === checks ===

/// Where the encoding of messages is specified.
const SPEC_ENCODING: &str = "https://modelcontextprotocol.io/specification/2025-11-25/basic/transports";

/// Where it is specified how long a body is.
const SPEC_LENGTH: &str = "https://www.rfc-editor.org/rfc/rfc9112#section-6.3";

/// "JSON-RPC messages MUST be UTF-8 encoded.": <https://modelcontextprotocol.io/specification/2025-11-25/basic/transports>. A refusal of
/// the size, 413, is none of the text.
pub const TEXT_WHOLE: Check = Check {
    id: "text-whole",
    level: Level::Must,
    sentence: "JSON-RPC messages MUST be UTF-8 encoded (so no character is lost where a buffer or a segment ends)",
    source: SPEC_ENCODING,
    remedy: "hub: decode a body when all its bytes are there, not piece by piece; write answers as bytes, not as characters",
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        let long = history.probed_calls(LONG).filter(|call| !is_too_large(call));
        for call in long.chain(history.probed_calls(SPLIT)) {
            judgement.judged();
            if !matches!(call.outcome, Outcome::Answered { .. }) {
                judgement.breach("an answer to a text of any script", reply_text(history, call), call.sent);
            }
        }
        for call in history.probed_calls(SPLIT) {
            breach_of_text(&mut judgement, history, call);
        }
        for entry in history.entries() {
            if let What::Counted { what, count, of } = &entry.what
                && what.starts_with(CAME_BACK)
            {
                judgement.judged();
                let actual = format!("{what}: the first {count}, then others");
                judgement.breach(format!("all {of} characters"), actual, entry.place());
            }
        }
        judgement
    },
};

/// "If a valid Content-Length header field is present without Transfer-Encoding, its decimal value defines the expected message body
/// length in octets.": <https://www.rfc-editor.org/rfc/rfc9112#section-6.3>.
pub const BODY_AWAITED: Check = Check {
    id: "body-awaited",
    level: Level::Must,
    sentence: "If a valid Content-Length header field is present without Transfer-Encoding, its decimal value defines the expected \
               message body length in octets (whenever they arrive)",
    source: SPEC_LENGTH,
    remedy: "hub: read as many bytes as `Content-Length` says before the body is looked at; they may come after the head",
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for call in history.probed_calls(APART) {
            judgement.judged();
            if !matches!(call.outcome, Outcome::Answered { .. }) {
                judgement.breach(
                    "an answer, although the body came later",
                    reply_text(history, call),
                    call.sent,
                );
            } else {
                breach_of_text(&mut judgement, history, call);
            }
        }
        judgement
    },
};

// === helpers ===

/// Whether the hub refused a call for its size.
fn is_too_large(call: &Call<'_>) -> bool {
    matches!(call.outcome, Outcome::Refused { status: 413, .. })
}

/// Notes that a tool that repeats its text has not done so.
fn breach_of_text(judgement: &mut Judgement, history: &History<'_>, call: &Call<'_>) {
    let is_answered = matches!(call.outcome, Outcome::Answered { .. });
    let argument = history.transcript.header.echo.argument.as_str();
    let Some(text) = call.argument(argument).and_then(Value::as_str).filter(|_| is_answered) else { return };
    if !call.text().is_some_and(|said| said.contains(text)) {
        let actual = call.text().map_or_else(|| reply_text(history, call), |said| format!("{said:?}"));
        judgement.breach(format!("{text:?}"), actual, call.sent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_back_ends_at_the_first_other_character() {
        let text = "\u{4e16}".repeat(20);
        assert_eq!(came_back(&text, &format!("Unknown tool: {text}"), false), Some(20));
        let cut = format!("{}\u{fffd}\u{fffd}{}", "\u{4e16}".repeat(12), "\u{4e16}".repeat(7));
        assert_eq!(came_back(&text, &cut, true), Some(12));
        assert_eq!(came_back(&text, &cut, false), Some(12));
        assert_eq!(came_back(&text, "Unknown tool", false), None);
        assert_eq!(came_back(&text, "no text", true), Some(0));
    }

    #[test]
    fn a_body_is_cut_within_each_character() {
        let cuts = within_characters("a\u{4e16}b\u{1f980}".as_bytes());
        assert_eq!(cuts, [2, 6]);
        assert!(cuts.iter().all(|cut| !"a\u{4e16}b\u{1f980}".is_char_boundary(*cut)));
    }
}
