//! How many replicas answer behind a URL, and what tells them apart.
//!
//! Nothing behind a URL is ours, so only answers can tell. A cell about several replicas that met one process proves
//! nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Place, Rig, target};
use crate::plan::{Need, Tool, Transport};
use crate::run::stage::clients_to_spread;
use crate::transcript::{Body, Entry, Path, Recorder, What};
use crate::wire::{Client, Outcome, Target};

/// How long replicas are looked for: a hub that is far away is not asked as often.
const LOOKING: Duration = Duration::from_secs(20);

/// Too many requests: a client that asks on may be locked out.
const TOO_MANY: u16 = 429;

/// A mark has at most one value for so many answers: one that is new in most answers names a request, not a replica.
const ANSWERS_PER_VALUE: usize = 3;

/// Words in names of headers and cookies that name a replica.
const TELLING: [&str; 18] = [
    "served",
    "server",
    "instance",
    "replica",
    "pod",
    "node",
    "host",
    "backend",
    "upstream",
    "worker",
    "machine",
    "container",
    "process",
    "route",
    "sticky",
    "affinity",
    "srv",
    "hub",
];

/// Words in names of headers and cookies that change with every answer.
const CHANGING: [&str; 6] = ["time", "timing", "date", "request", "trace", "session"];

/// Replicas that were seen to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// How many.
    count: usize,
    /// In how many sessions or requests they were looked for.
    sessions: usize,
    /// Which of both.
    unit: &'static str,
    /// What told them apart, or would have.
    by: Option<String>,
}

/// What one session showed.
#[derive(Clone, Debug, Default)]
struct Look {
    /// What may name the replica, and how it does, in the order of the answers.
    marks: Vec<(String, String)>,
    /// Whether another connection did not know the session.
    is_lost: bool,
}

impl Rig {
    /// Counts the replicas behind a URL, and notes how. Elsewhere they are ours, and need no counting.
    pub(super) async fn count_replicas(&mut self) {
        let Place::Url { address, .. } = &self.place else { return };
        let target = target(Path::Service, address.clone());
        let mut seen = self.look_for_replicas(&target).await;
        if seen.count < 2
            && let Some(found) = self.seen_by_pods(&target).await
        {
            seen = found;
        }
        if !self.replicas_are_asked {
            self.replicas = seen.count;
            self.offers.replicas = seen.count;
        }
        if seen.count > 1 {
            self.offers.has.insert(Need::ReplicasSeen);
        }
        let is_open = seen.count < 2 && !self.is_observing();
        let hint =
            if is_open { ", or give `--observe deployment/NAME` where the pods can be read" } else { "" };
        self.noted.push(format!("{seen}{hint}"));
    }

    /// Whether the user said how many replicas there are: then a cell about them is not decided when they were not seen.
    pub(in crate::run) fn replicas_are_asked(&self) -> bool {
        self.replicas_are_asked
    }

    async fn look_for_replicas(&self, target: &Target) -> Seen {
        let transports = [Transport::Streamable, Transport::Sse, Transport::Stateless];
        let spoken = transports.into_iter().find(|transport| self.offers.meets(Need::Speaks(*transport)));
        let Some(transport) = spoken else { return Seen::of(&[]) };
        let began = Instant::now();
        let mut looks = Vec::new();
        // One after another: then what a clock says changes once, and what names a replica comes back.
        for number in 0..clients_to_spread(self.replicas.max(2)) {
            if began.elapsed() > LOOKING {
                break;
            }
            match self.look_once(format!("count-{number}"), transport, target).await {
                Ok(look) => looks.push(look),
                Err(TOO_MANY) => break,
                Err(_) => {}
            }
        }
        Seen::of(&looks)
    }

    /// Opens a session and sends one request on it, over another connection.
    ///
    /// # Errors
    ///
    /// The status with which it was refused, 0 for none.
    async fn look_once(&self, name: String, transport: Transport, target: &Target) -> Result<Look, u16> {
        let recorder = Recorder::new([]);
        let (dialect, timeouts) = (Arc::clone(&self.dialect), Arc::clone(&self.timeouts));
        let client = Client::new(name, None, recorder.clone(), dialect, timeouts);
        let session = match client.open(transport, target).await {
            Ok(session) => session,
            Err(Outcome::Http { status: TOO_MANY, .. }) => return Err(TOO_MANY),
            Err(outcome) => {
                let look = Look::of(&recorder.entries());
                let is_lost = matches!(outcome, Outcome::Http { status: 400.., .. }) && look.has_begun();
                return if is_lost { Ok(Look { is_lost, ..look }) } else { Err(0) };
            }
        };
        let has_whoami = self.offers.meets(Need::Tool(Tool::Whoami));
        let answer = if has_whoami {
            session.request(target, "tools/call", self.tool_call(Tool::Whoami, &json!({}))).await
        } else {
            session.request(target, self.small(transport), json!({})).await
        };
        session.end(target).await;
        let mut look = Look::of(&recorder.entries());
        match answer {
            Outcome::Http { status: TOO_MANY, .. } => return Err(TOO_MANY),
            Outcome::Http { status: 400..500, .. } => look.is_lost = transport != Transport::Stateless,
            Outcome::Result(result) if has_whoami => {
                let name = result["content"][0]["text"].as_str().unwrap_or_default();
                let tool = self.tools.name(Tool::Whoami).unwrap_or_default();
                look.marks.push((format!("tool `{tool}`"), name.to_owned()));
            }
            _ => {}
        }
        Ok(look)
    }
}

// === impl Look ===

impl Look {
    /// What these entries of one client tell of the replicas that it met.
    fn of(entries: &[Entry]) -> Self {
        let mut marks = Vec::new();
        for entry in entries {
            match &entry.what {
                What::Head { headers, .. } => marks.extend(headers.iter().filter_map(of_header)),
                What::Body { body: Body::Json(message), .. } => of_greeting(message, &mut marks),
                What::Frame { frame, .. } => {
                    if frame.event.as_deref() == Some("endpoint") {
                        marks.push((BEGUN.to_owned(), String::new()));
                    }
                    let message = frame.data.as_deref().and_then(|data| serde_json::from_str(data).ok());
                    of_greeting(&message.unwrap_or_default(), &mut marks);
                }
                _ => {}
            }
        }
        Self { marks, is_lost: false }
    }

    /// Whether a session was begun, whatever came of it.
    fn has_begun(&self) -> bool {
        self.marks.iter().any(|(name, _)| name == BEGUN)
    }
}

/// The mark that every session has: it tells no replicas apart.
const BEGUN: &str = "a session";

/// What a header says of the replica, when it does.
fn of_header((name, value): &(String, String)) -> Option<(String, String)> {
    if name == "set-cookie" {
        let (cookie, value) = value.split(';').next()?.split_once('=')?;
        return is_telling(cookie).then(|| (format!("cookie `{cookie}`"), value.to_owned()));
    }
    is_telling(name).then(|| (format!("header `{name}`"), value.clone()))
}

fn is_telling(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    has(&TELLING) && !has(&CHANGING)
}

/// What the answer to `initialize` says of the server, value by value.
fn of_greeting(message: &Value, marks: &mut Vec<(String, String)>) {
    let result = &message["result"];
    if !result["protocolVersion"].is_string() {
        return;
    }
    marks.push((BEGUN.to_owned(), String::new()));
    for part in ["serverInfo", "_meta", "instructions"] {
        leaves(part, &result[part], marks);
    }
}

fn leaves(path: &str, value: &Value, found: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(key, value)| leaves(&format!("{path}.{key}"), value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| leaves(path, value, found)),
        Value::Null => {}
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            found.push((format!("`{path}` of `initialize`"), value.to_string()));
        }
    }
}

// === impl Seen ===

impl Seen {
    /// Replicas that so many requests reached.
    pub(super) fn of_requests(count: usize, requests: usize, by: String) -> Self {
        Self { count, sessions: requests, unit: "requests", by: Some(by) }
    }

    fn of(looks: &[Look]) -> Self {
        let mut values: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, value) in looks.iter().flat_map(|look| &look.marks) {
            values.entry(name).or_default().push(value);
        }
        let best =
            values.into_iter().map(|(name, values)| (told_apart(&values), name)).max_by_key(|(n, _)| *n);
        let (sessions, unit) = (looks.len(), "sessions");
        let is_lost = looks.iter().any(|look| look.is_lost);
        match best {
            Some((count @ 2.., name)) => Self { count, sessions, unit, by: Some(name.to_owned()) },
            _ if is_lost => {
                let by = "sessions that another connection did not know".to_owned();
                Self { count: 2, sessions, unit, by: Some(by) }
            }
            _ => Self { count: 1, sessions, unit, by: None },
        }
    }
}

/// How many replicas these values of one mark tell apart, in the order of the answers.
///
/// A value that comes back after another one is of something that stayed meanwhile: clocks and counters only go on.
fn told_apart(values: &[&str]) -> usize {
    let different = values.iter().collect::<BTreeSet<_>>().len();
    let runs = values.windows(2).filter(|pair| pair[0] != pair[1]).count() + 1;
    let is_of_replicas = runs > different && different * ANSWERS_PER_VALUE <= values.len();
    if is_of_replicas { different.max(1) } else { 1 }
}

/// One line of the report.
impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sessions, unit) = (self.sessions, self.unit);
        match (self.count, &self.by) {
            (count @ 2.., Some(by)) => write!(f, "{count} replicas seen in {sessions} {unit}, by {by}"),
            _ => write!(
                f,
                "one replica seen: in {sessions} {unit} no `whoami`, header, cookie or `serverInfo` told a second one, so \
                 nothing is said about several replicas; let the hub or its proxy send a header such as `X-Served-By`"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(name: &str, values: &[&str]) -> Vec<Look> {
        let look =
            |value: &&str| Look { marks: vec![(name.to_owned(), (*value).to_owned())], is_lost: false };
        values.iter().map(look).collect()
    }

    #[test]
    fn values_that_come_back_are_of_replicas() {
        assert_eq!(told_apart(&["a", "b", "a", "a", "b", "a"]), 2);
        assert_eq!(told_apart(&["a"; 21]), 1);
        assert_eq!(told_apart(&["1", "1", "1", "2", "2", "2"]), 1, "a clock");
        assert_eq!(told_apart(&["a", "b", "c", "d", "e", "a"]), 1, "new each time");
        assert_eq!(told_apart(&[]), 1);
    }

    #[test]
    fn the_report_says_how_they_were_told_apart() {
        let two = Seen::of(&looks("header `x-served-by`", &["a", "b", "a", "b", "b", "a"]));
        assert_eq!(two.to_string(), "2 replicas seen in 6 sessions, by header `x-served-by`");
        assert!(
            Seen::of(&looks("header `server`", &["uvicorn"; 21])).to_string().starts_with("one replica seen")
        );
        let lost = [Look { is_lost: true, ..Look::default() }, Look::default()];
        let lost = Seen::of(&lost);
        assert_eq!(
            (lost.count, lost.by.unwrap_or_default().as_str()),
            (2, "sessions that another connection did not know")
        );
    }

    #[test]
    fn headers_name_replicas_by_their_names() {
        let mark = |name: &str, value: &str| of_header(&(name.to_owned(), value.to_owned()));
        let found = |name: &str, value: &str| Some((name.to_owned(), value.to_owned()));
        assert_eq!(mark("x-served-by", "a"), found("header `x-served-by`", "a"));
        assert_eq!(mark("set-cookie", "SERVERID=s1; path=/"), found("cookie `SERVERID`", "s1"));
        for other in
            ["date", "x-request-id", "x-envoy-upstream-service-time", "mcp-session-id", "content-length"]
        {
            assert_eq!(mark(other, "a"), None, "{other}");
        }
    }

    #[test]
    fn a_greeting_may_name_the_instance() {
        let mut marks = Vec::new();
        let info = json!({ "name": "hub", "instance": { "started": 7 } });
        of_greeting(&json!({ "result": { "protocolVersion": "x", "serverInfo": info } }), &mut marks);
        let names: Vec<&str> = marks.iter().map(|(name, _)| name.as_str()).collect();
        let expected =
            [BEGUN, "`serverInfo.name` of `initialize`", "`serverInfo.instance.started` of `initialize`"];
        assert_eq!(names, expected);
    }
}
