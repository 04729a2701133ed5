//! Each obstacle, from the smallest transcript that shows it.

use serde_json::{Value, json};

use super::*;
use crate::transcript::{Connection, Entry, ExchangeId, Frame, Header, Path, Request, Transcript, What};

const CLIENT: &str = "survey";

/// A transcript of one client, made of whole exchanges.
#[derive(Default)]
struct Story {
    entries: Vec<Entry>,
    exchanges: u32,
    tls: bool,
    headers: Vec<(String, String)>,
}

/// What came of one request.
enum Came<'a> {
    Head(u16, &'a [(&'a str, &'a str)], &'a str),
    Bytes(u16, &'a [(&'a str, &'a str)], &'a [u8]),
    Stream(&'a [(&'a str, &'a str)]),
    End(End),
}

impl Story {
    fn push(&mut self, what: What) {
        let seq = u32::try_from(self.entries.len()).expect("a short story") + 1;
        self.entries.push(Entry { seq, at_us: u64::from(seq) * 1000, what });
    }

    fn exchange(mut self, method: &str, target: &str, message: Option<Value>, came: Came<'_>) -> Self {
        self.probe(None, method, target, message, came);
        self
    }

    fn named(
        mut self,
        probe: &str,
        method: &str,
        target: &str,
        message: Option<Value>,
        came: Came<'_>,
    ) -> Self {
        self.probe(Some(probe), method, target, message, came);
        self
    }

    fn probe(
        &mut self,
        probe: Option<&str>,
        method: &str,
        target: &str,
        message: Option<Value>,
        came: Came<'_>,
    ) {
        self.exchanges += 1;
        let exchange = ExchangeId(self.exchanges);
        let mut headers = self.headers.clone();
        if !headers.iter().any(|(name, _)| name == "host") {
            headers.push(("host".to_owned(), "hub.example".to_owned()));
        }
        self.push(What::Request(Request {
            exchange,
            client: CLIENT.to_owned(),
            probe: probe.map(str::to_owned),
            path: Path::Service,
            tls: self.tls,
            method: method.to_owned(),
            target: target.to_owned(),
            headers,
            body: message.map(Body::Json),
            connection: Connection::Fresh,
        }));
        let pairs = |headers: &[(&str, &str)]| {
            headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>()
        };
        let recorder = crate::transcript::Recorder::new([]);
        match came {
            Came::Head(status, headers, body) => {
                self.push(What::Head { exchange, status, headers: pairs(headers) });
                if !body.is_empty() {
                    self.push(What::Body { exchange, body: recorder.body(body.as_bytes()) });
                }
                self.push(What::End { exchange, how: End::Complete });
            }
            Came::Bytes(status, headers, body) => {
                self.push(What::Head { exchange, status, headers: pairs(headers) });
                self.push(What::Body { exchange, body: recorder.body(body) });
                self.push(What::End { exchange, how: End::Complete });
            }
            Came::Stream(events) => {
                let headers = pairs(&[("content-type", "text/event-stream")]);
                self.push(What::Head { exchange, status: 200, headers });
                for (event, data) in events {
                    let frame = Frame {
                        event: Some((*event).to_owned()),
                        data: Some((*data).to_owned()),
                        ..Frame::default()
                    };
                    self.push(What::Frame { exchange, frame });
                }
            }
            Came::End(how) => self.push(What::End { exchange, how }),
        }
    }

    /// A message on the first exchange, an event stream.
    fn message(mut self, data: &Value) -> Self {
        let frame = Frame { data: Some(data.to_string()), ..Frame::default() };
        self.push(What::Frame { exchange: ExchangeId(1), frame });
        self
    }

    fn over_tls(self) -> Self {
        Self { tls: true, ..self }
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn transcript(self, transport: Transport) -> Transcript {
        Transcript { header: Header::made_by_hand("local", Some(transport)), entries: self.entries }
    }
}

fn asked(transport: Transport) -> Asked<'static> {
    Asked { client: CLIENT, transport, since: 0, is_alone: true, is_url: false }
}

fn found_by(story: Story, asked: Asked<'_>) -> Obstacle {
    let transcript = story.transcript(asked.transport);
    obstacle(&History::new(&transcript), asked).expect("an obstacle")
}

fn streamable(story: Story) -> Obstacle {
    found_by(story, asked(Transport::Streamable))
}

fn sse(story: Story) -> Obstacle {
    found_by(story, asked(Transport::Sse))
}

fn initialize() -> Option<Value> {
    Some(json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {} }))
}

fn call(id: u32, method: &str) -> Option<Value> {
    Some(json!({ "jsonrpc": "2.0", "id": id, "method": method }))
}

fn result(id: u32) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "result": { "protocolVersion": "2025-11-25" } })
}

/// `POST /mcp (initialize)`, and this for it.
fn first(came: Came<'_>) -> Story {
    Story::default().exchange("POST", "/mcp", initialize(), came)
}

/// A session over Streamable HTTP that was opened with these headers, and a request on it.
fn second(headers: &[(&str, &str)], came: Came<'_>) -> Story {
    let opened = result(1).to_string();
    first(Came::Head(200, headers, &opened)).exchange("POST", "/mcp", call(2, "tools/list"), came)
}

#[track_caller]
fn assert_told(found: &Obstacle, id: &str, seen: &[&str], remedy: &str) {
    assert_eq!(found.id, id, "{found:?}");
    for words in seen {
        assert!(found.seen.contains(words), "`{words}` in: {}", found.seen);
    }
    assert!(found.remedy.contains(remedy), "`{remedy}` in: {}", found.remedy);
}

#[test]
fn a_caller_that_is_not_known_is_told_which_header_to_give() {
    let challenge = [("www-authenticate", "Bearer resource_metadata=\"x\"")];
    let found = streamable(first(Came::Head(401, &challenge, "{}")));
    assert_told(
        &found,
        "unauthorised",
        &["401 Unauthorized", "WWW-Authenticate: Bearer"],
        "--header 'Authorization=Bearer",
    );
    assert_eq!(found.kind, Kind::Lasting);
    let given = Story::default().with("authorization", "<redacted>");
    let found = streamable(given.exchange("POST", "/mcp", initialize(), Came::Head(401, &[], "")));
    assert_told(&found, "unauthorised", &["that was given is not accepted"], "check the token");
    let found = streamable(first(Came::Head(403, &[], "no")));
    assert_told(&found, "forbidden", &["403 Forbidden no"], "--header");
}

#[test]
fn a_host_that_is_refused_is_told_when_another_one_is_not() {
    let story = first(Came::Head(403, &[], "Access is only allowed at localhost:8931"))
        .with("host", "localhost:80")
        .named(LOCAL_HOST, "POST", "/mcp", initialize(), Came::Head(200, &[], &result(1).to_string()));
    assert_told(&streamable(story), "host-refused", &["refuses the Host `hub.example`"], "`hub.example`");
    let same = first(Came::Head(403, &[], "no")).with("host", "localhost").named(
        LOCAL_HOST,
        "POST",
        "/mcp",
        initialize(),
        Came::Head(403, &[], "no"),
    );
    assert_eq!(streamable(same).id, "forbidden", "another name changes nothing: it is not the Host");
    assert_eq!(streamable(first(Came::Head(421, &[], ""))).id, "host-refused");
    assert_eq!(streamable(first(Came::Head(403, &[], "Invalid Host: hub.example"))).id, "host-refused");
}

#[test]
fn a_rate_limit_is_told_with_its_pause() {
    let found = streamable(first(Came::Head(429, &[("retry-after", "17")], "slow down")));
    assert_told(&found, "rate-limited", &["429", "Retry-After: 17"], "rate limit");
    assert_eq!(found.kind, Kind::Limited(Some(17)));
    assert_eq!(streamable(first(Came::Head(429, &[], ""))).kind, Kind::Limited(None));
}

#[test]
fn pages_are_told_from_hubs() {
    let html = [("content-type", "text/html; charset=utf-8")];
    let page = "<!DOCTYPE html><title>My app</title>hello";
    assert_told(&streamable(first(Came::Head(200, &html, page))), "html-page", &["`My app`"], "--mcp-path");
    let login = "<html><title>Sign in</title><input type=\"password\">";
    let found = streamable(first(Came::Head(200, &html, login)));
    assert_told(&found, "login-page", &["a login page (`Sign in`)"], "--header");
    let found = streamable(first(Came::Head(302, &[("location", "/oauth2/authorize?x=1")], "")));
    assert_told(&found, "login-page", &["302 Found to `/oauth2/authorize?x=1`"], "--header");
    let found = sse(Story::default().exchange("GET", "/sse", None, Came::Head(200, &html, page)));
    assert_told(&found, "html-page", &["`GET /sse`"], "--sse-path");
}

#[test]
fn redirects_are_told_with_where_they_lead() {
    let to = |location: &str| streamable(first(Came::Head(307, &[("location", location)], "")));
    assert_told(
        &to("http://hub.example/mcp/"),
        "redirected",
        &["to `http://hub.example/mcp/`"],
        "give `--mcp-path /mcp/`",
    );
    assert_told(&to("https://hub.example/mcp"), "redirected", &[], "give `--url https://hub.example/mcp`");
    assert_told(&to("https://other.example/x"), "redirected", &[], "https://other.example/x");
    let by_url = Asked { is_url: true, ..asked(Transport::Streamable) };
    let found = found_by(first(Came::Head(307, &[("location", "/mcp/")], "")), by_url);
    assert_told(&found, "redirected", &[], "give `--url http://hub.example/mcp/`");
    let downgraded = Story::default().over_tls();
    let location = [("location", "http://hub.example/mcp/")];
    let found = streamable(downgraded.exchange("POST", "/mcp", initialize(), Came::Head(307, &location, "")));
    assert_told(&found, "redirected", &[], "X-Forwarded-Proto");
}

#[test]
fn bodies_that_no_client_can_read_are_told() {
    let json = result(1).to_string();
    let gzip = [("content-type", "application/json"), ("content-encoding", "gzip")];
    let found = streamable(first(Came::Bytes(200, &gzip, &[0x1f, 0x8b, 8, 0, 0])));
    assert_told(&found, "compressed", &["Content-Encoding: gzip"], "Accept-Encoding");
    let utf16: Vec<u8> = json.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_told(
        &streamable(first(Came::Bytes(200, &[], &utf16))),
        "not-unicode",
        &["not JSON in UTF-8"],
        "UTF-8",
    );
    let latin: Vec<u8> = [b"{\"id\":1,\"result\":\"", [0xe9].as_slice(), b"\"}"].concat();
    assert_told(
        &streamable(first(Came::Bytes(200, &[], &latin))),
        "not-unicode",
        &["it is no UTF-8"],
        "UTF-8",
    );
    let marked = format!("\u{feff}{json}");
    assert_told(
        &streamable(first(Came::Head(200, &[], &marked))),
        "not-unicode",
        &["byte order mark"],
        "UTF-8",
    );
    let found = streamable(first(Came::Head(204, &[], "")));
    assert_told(&found, "no-answer", &["204 No Content, without the JSON-RPC answer"], "--mcp-path");
}

#[test]
fn a_session_id_that_gets_lost_on_the_way_is_told_from_one_that_the_only_pod_forgot() {
    let missing = "Bad request: Mcp-Session-Id is missing";
    let found = streamable(second(&[], Came::Head(400, &[], missing)));
    assert_told(&found, "session-id-lost", &["the answer to `initialize` had no `Mcp-Session-Id`"], "proxy");
    assert!(found.has_begun);
    let id = [("mcp-session-id", "a1")];
    let found = streamable(second(&id, Came::Head(404, &[], "Could not find session")));
    assert_told(&found, FORGOTTEN, &["the only pod forgot its own session"], "several workers");
    let several = Asked { is_alone: false, ..asked(Transport::Streamable) };
    let found = found_by(second(&id, Came::Head(404, &[], "Could not find session")), several);
    assert_eq!(found.id, "not-served", "behind a URL it may be another replica that does not know it");
    let unrelated = streamable(second(&[], Came::Head(400, &[], "Parse error")));
    assert_eq!(unrelated.id, "not-served", "no word of a session");
}

fn stream(endpoint: &str) -> Story {
    Story::default().exchange("GET", "/hub/sse", None, Came::Stream(&[("endpoint", endpoint)]))
}

#[test]
fn an_endpoint_of_another_origin_is_told_whatever_comes_after_it() {
    let found = sse(stream("http://10.0.0.7:8000/messages?s=1"));
    assert_told(&found, "foreign-endpoint", &["http://10.0.0.7:8000", "http://hub.example"], "as a path");
    assert!(found.has_begun);
    let inner = Story::default().over_tls();
    let inner =
        inner.exchange("GET", "/sse", None, Came::Stream(&[("endpoint", "http://hub.example/messages?s=1")]));
    let transcript = inner.transcript(Transport::Sse);
    let found = foreign_endpoint(&History::new(&transcript), asked(Transport::Sse)).expect("an obstacle");
    assert_told(&found, "foreign-endpoint", &["http behind a proxy that speaks https"], "X-Forwarded-Proto");
    for own in ["/messages?s=1", "messages?s=1", "http://hub.example/messages?s=1", "http://hub.example:80/m"]
    {
        let transcript = stream(own).transcript(Transport::Sse);
        assert_eq!(foreign_endpoint(&History::new(&transcript), asked(Transport::Sse)), None, "{own}");
    }
}

#[test]
fn a_prefix_is_lost_when_the_message_is_answered_below_it() {
    let lost = || {
        let accepted = Came::Head(200, &[], "");
        stream("/messages?s=1").exchange("POST", "/messages?s=1", initialize(), accepted)
    };
    let found = sse(lost());
    assert_told(&found, "no-answer", &["no answer came on the event stream"], "proxy_buffering off");
    let tried =
        lost().named(PREFIXED, "POST", "/hub/messages?s=1", call(7, "initialize"), Came::Head(202, &[], ""));
    let found = sse(tried.message(&result(7)));
    assert_told(&found, "prefix-lost", &["left the prefix `/hub`", "`/hub/messages`"], "handle_path");
    assert_eq!(prefixes("/a/b/sse?x=/y"), ["/a/b", "/a"]);
    assert!(prefixes("/sse").is_empty());
}

#[test]
fn an_endpoint_where_nothing_is_served_is_no_forgotten_session() {
    let post = |status, body| {
        stream("/messages?s=1").exchange("POST", "/messages?s=1", initialize(), Came::Head(status, &[], body))
    };
    assert_eq!(sse(post(404, "Not Found")).id, "endpoint-not-served");
    assert_eq!(sse(post(404, "Could not find session")).id, FORGOTTEN);
    let redirected = [("location", "http://hub.example/messages/?s=1")];
    let story = stream("/messages?s=1").exchange(
        "POST",
        "/messages?s=1",
        initialize(),
        Came::Head(307, &redirected, ""),
    );
    assert_told(&sse(story), "redirected", &[], "slashes included");
}

#[test]
fn connections_and_silence_are_told_as_what_they_are() {
    let end = |how: End| streamable(first(Came::End(how)));
    let why = || "Connection refused (os error 111)".to_owned();
    let found = end(End::Refused { why: why() });
    assert_told(&found, "unreachable", &["hub.example: Connection refused"], "check the address");
    assert_eq!(found.kind, Kind::Unreachable);
    let timed_out = |waiting_for: &str| End::TimedOut { waiting_for: waiting_for.to_owned(), limit_ms: 7000 };
    assert_eq!(end(timed_out("connect")).kind, Kind::Unreachable);
    let found = end(timed_out("head"));
    assert_told(
        &found,
        "silence",
        &["`POST /mcp` (initialize) was not answered within 7000 ms"],
        "--ready-timeout",
    );
    assert_eq!(found.kind, Kind::Passing);
    assert_eq!(end(End::Cut { why: "reset".to_owned() }).id, "connection-broken");
    assert_eq!(end(End::Malformed { why: "invalid HTTP version".to_owned() }).id, "not-http");
    assert_eq!(end(End::Refused { why: "tls: received corrupt message".to_owned() }).id, "tls-fails");
    let found = streamable(first(Came::Head(400, &[], "Client sent an HTTP request to an HTTPS server.")));
    assert_told(&found, "tls-wanted", &[], "https://");
}

#[test]
fn what_may_pass_is_told_from_what_is_elsewhere() {
    for (status, kind) in [
        (500, Kind::Passing),
        (502, Kind::Passing),
        (503, Kind::Passing),
        (501, Kind::Elsewhere),
        (404, Kind::Elsewhere),
    ] {
        assert_eq!(streamable(first(Came::Head(status, &[], "x"))).kind, kind, "{status}");
    }
    assert!(
        Kind::Lasting > Kind::Passing
            && Kind::Passing > Kind::Elsewhere
            && Kind::Elsewhere > Kind::Unreachable
    );
}

#[test]
fn a_get_that_hangs_is_told_when_a_post_beside_it_is_answered() {
    let hung = || Came::End(End::TimedOut { waiting_for: "head".to_owned(), limit_ms: 7000 });
    let (first_answer, third, fourth) = (result(1).to_string(), result(3).to_string(), result(4).to_string());
    let hangs = |story: Story| {
        let transcript = story.transcript(Transport::Streamable);
        hangs(&History::new(&transcript), asked(Transport::Streamable))
    };
    let get = |came| first(Came::Head(200, &[], &first_answer)).exchange("GET", "/mcp", None, came);
    let beside = |story: Story, came| story.named(BESIDE, "POST", "/mcp", call(3, "ping"), came);
    let after = |story: Story, came| story.named(AFTER, "POST", "/mcp", call(4, "ping"), came);
    let found = hangs(beside(get(hung()), Came::Head(200, &[], &third))).expect("it hangs");
    assert_told(&found, "get-hangs", &["neither an event stream nor 405 within 7 s"], "405");
    assert!(!found.has_begun, "its POSTs are served");
    let locked = after(beside(get(Came::Stream(&[])), hung()), Came::Head(200, &[], &fourth));
    assert_told(&hangs(locked).expect("it locks"), "get-locks", &["while the GET stream was open"], "lock");
    assert_eq!(hangs(after(beside(get(hung()), hung()), hung())), None, "the hub hangs as a whole");
    assert_eq!(hangs(beside(get(Came::Head(405, &[], "")), Came::Head(200, &[], &third))), None);
}

#[test]
fn an_early_request_that_hangs_is_told_when_another_session_is_served() {
    let hung = || Came::End(End::TimedOut { waiting_for: "head".to_owned(), limit_ms: 7000 });
    let early = |came| stream("/m?s=1").named(EARLY, "POST", "/m?s=1", call(1, "tools/list"), came);
    let hangs = |story: Story| {
        let transcript = story.transcript(Transport::Sse);
        hangs(&History::new(&transcript), asked(Transport::Sse))
    };
    let after = |story: Story| {
        let story = story.named(AFTER, "POST", "/m?s=2", call(9, "ping"), Came::Head(202, &[], ""));
        story.message(&result(9))
    };
    assert_told(
        &hangs(after(early(hung()))).expect("it hangs"),
        "early-request-hangs",
        &["within 7 s"],
        "JSON-RPC error",
    );
    assert_eq!(hangs(early(hung())), None, "nothing shows that the hub lives");
    assert_eq!(
        hangs(after(early(Came::Head(202, &[], "")))),
        None,
        "accepted and never answered is another thing"
    );
}

#[test]
fn a_delete_that_hangs_is_told_when_what_comes_after_it_is_answered() {
    let hung = || Came::End(End::TimedOut { waiting_for: "head".to_owned(), limit_ms: 7000 });
    let (first_answer, later_answer) = (result(1).to_string(), result(3).to_string());
    let delete = |came| first(Came::Head(200, &[], &first_answer)).exchange("DELETE", "/mcp", None, came);
    let later = |story: Story, came| story.exchange("POST", "/mcp", call(3, "ping"), came);
    let hangs = |story: Story| {
        let transcript = story.transcript(Transport::Streamable);
        let history = History::new(&transcript);
        let asked = asked(Transport::Streamable);
        (delete_is_silent(&history, asked), delete_hangs(&history, asked))
    };
    let (is_silent, found) = hangs(later(delete(hung()), Came::Head(200, &[], &later_answer)));
    assert!(is_silent);
    assert_told(&found.expect("it hangs"), "delete-hangs", &["`DELETE /mcp`", "within 7 s"], "405");
    assert_eq!(hangs(later(delete(hung()), hung())), (true, None), "the hub hangs as a whole");
    let refused = later(delete(Came::Head(405, &[], "")), Came::Head(200, &[], &later_answer));
    assert_eq!(hangs(refused), (false, None));
}

#[test]
fn the_name_of_a_status_is_said_once() {
    let found = streamable(first(Came::Head(404, &[], "Not Found")));
    assert_eq!(found.seen, "`POST /mcp` (initialize) was answered 404 Not Found");
}
