//! Response headers that must come once.

use crate::check::{Check, Judgement, Level};
use crate::transcript::history::Head;

/// The headers that a client acts on and that are no lists. `WWW-Authenticate` is a list: it may come on several lines.
const SINGLE: &[&str] = &[
    "content-type",
    "content-length",
    "mcp-session-id",
    "mcp-protocol-version",
    "location",
    "retry-after",
    "access-control-allow-origin",
];

/// "a sender MUST NOT generate multiple field lines with the same name in a message (whether in the headers or trailers) ..
/// unless that field's definition allows multiple field line values to be recombined as a comma-separated list":
/// <https://www.rfc-editor.org/rfc/rfc9110#section-5.3>. Clients that join repeated lines send `id, id` back, and get 404.
pub(super) const SINGLE_HEADERS: Check = Check {
    id: "single-headers",
    level: Level::Must,
    sentence: "A sender MUST NOT generate multiple field lines with the same name in a message, unless that field's definition \
               allows a comma-separated list (`Mcp-Session-Id` and `Content-Type` come once)",
    source: "https://www.rfc-editor.org/rfc/rfc9110#section-5.3",
    remedy: "set the header in one place only; a proxy that copies headers must compare their names without case",
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for head in history.exchanges.values().filter_map(|exchange| exchange.head) {
            judgement.judged();
            for name in SINGLE {
                let values = values(&head, name);
                if values.len() > 1 {
                    let actual = format!("{} of them: `{}`", values.len(), values.join("`, `"));
                    judgement.breach(format!("one `{name}` in the answer"), actual, head.at);
                }
            }
        }
        judgement
    },
};

/// The values of a header: one for each line, and for each repetition that something on the way joined into one line.
fn values<'h>(head: &'h Head<'_>, name: &str) -> Vec<&'h str> {
    let lines = head.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
    lines.flat_map(|(_, value)| repeated(value).unwrap_or_else(|| vec![value])).collect()
}

/// The parts of a value that is the same text several times, with commas between.
fn repeated(value: &str) -> Option<Vec<&str>> {
    let parts: Vec<&str> = value.split(',').map(str::trim).collect();
    let first = *parts.first()?;
    (parts.len() > 1 && !first.is_empty() && parts.iter().all(|part| *part == first)).then_some(parts)
}

#[cfg(test)]
mod tests {
    use crate::check::{Strictness, Verdict, judge};
    use crate::plan::Offers;
    use crate::transcript::{Connection, Entry, ExchangeId, Header, Path, Request, Transcript, What};

    fn verdict(headers: &[(&str, &str)]) -> Verdict {
        let exchange = ExchangeId(1);
        let request = Request {
            exchange,
            client: "a".to_owned(),
            probe: None,
            path: Path::Service,
            tls: false,
            method: "GET".to_owned(),
            target: "/mcp".to_owned(),
            headers: Vec::new(),
            body: None,
            connection: Connection::Fresh,
        };
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let entries = [What::Request(request), What::Head { exchange, status: 200, headers }];
        let entries = (1..).zip(entries).map(|(seq, what)| Entry { seq, at_us: 0, what }).collect();
        let transcript = Transcript { header: Header::made_by_hand("local", None), entries };
        judge(&transcript, &[], &Offers::default(), Strictness::Ordinary).verdict
    }

    #[test]
    fn what_is_no_list_comes_once() {
        assert_eq!(verdict(&[("mcp-session-id", "a"), ("content-type", "text/plain")]), Verdict::Pass);
        assert_eq!(verdict(&[("mcp-session-id", "a"), ("mcp-session-id", "a")]), Verdict::Fail);
        assert_eq!(verdict(&[("mcp-session-id", "a"), ("mcp-session-id", "b")]), Verdict::Fail);
        assert_eq!(verdict(&[("content-type", "text/plain"), ("content-type", "text/html")]), Verdict::Fail);
        assert_eq!(verdict(&[("mcp-session-id", "a, a")]), Verdict::Fail, "joined on the way");
    }

    #[test]
    fn lists_may_come_on_several_lines() {
        assert_eq!(verdict(&[("www-authenticate", "Bearer"), ("www-authenticate", "Basic")]), Verdict::Pass);
        assert_eq!(verdict(&[("vary", "origin"), ("vary", "origin"), ("set-cookie", "a=1")]), Verdict::Pass);
        assert_eq!(verdict(&[("mcp-session-id", "a,b")]), Verdict::Pass, "a comma is visible ASCII");
        assert_eq!(verdict(&[("location", "/a?x=1,2")]), Verdict::Pass);
    }
}
