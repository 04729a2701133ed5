//! A transcript without what varies from run to run and from backend to backend: the form of snapshots.
//!
//! Each client's exchanges stand in that client's own order, then what the harness did to the cluster and the
//! reasons of its controllers' events. Volatile values get names in typed data, before anything is rendered.
//! Left out: times, comments, counts and messages of events, polls (a wait is one line), spare clients.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::hash::{BuildHasher, Hasher, RandomState};

use serde_json::Value;

use super::history::{Exchange, History};
use super::{Body, Connection, End, Fault, Frame, Path, Symptom, Told, Transcript, What};

/// The role of a client that was opened only to find one that reaches the wanted replica.
pub const SPARE: &str = "spare";

/// Reasons of events by which a controller of a real cluster corrects itself when two write at once.
const BACKGROUND: [&str; 2] = ["FailedToUpdateEndpoint", "FailedToUpdateEndpointSlices"];

/// With what a stream is resumed.
const LAST_EVENT_ID: &str = "last-event-id";

/// The headers of a request that are told.
const HEADERS: &[&str] = &["mcp-session-id", "mcp-protocol-version", "mcp-method", "mcp-name", LAST_EVENT_ID];

/// Those of a probe, which may be about any of them.
const PROBE_HEADERS: &[&str] = &[
    "origin",
    "x-forwarded-proto",
    "accept",
    "content-type",
    "mcp-session-id",
    "mcp-protocol-version",
    "mcp-method",
    "mcp-name",
    LAST_EVENT_ID,
];

/// From so many bytes on only the length of a string is told.
const LONG_TEXT: usize = 1024;

/// Marks a payload or key as a client's own, in a form that snapshots know by the part the client plays.
pub fn own_mark(client: &str) -> String {
    format!("of client `{client}`")
}

/// What tells the keys of one cell from those of every other; snapshots leave it out.
pub fn cell_mark() -> String {
    // Two of these hashers never begin alike: their keys are random.
    let number = RandomState::new().build_hasher().finish() >> 32;
    format!("{MARK_BEGINS}{number:08x})")
}

/// How a [`cell_mark`] begins; eight hexadecimal digits and `)` follow.
const MARK_BEGINS: &str = " (cell ";

/// A text without the marks of cells.
fn without_cell_marks(text: &str) -> String {
    let mut parts = text.split(MARK_BEGINS);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let is_mark = |(digits, _): &(&str, &str)| {
            digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        match part.split_once(')').filter(is_mark) {
            Some((_, rest)) => out.push_str(rest),
            None => {
                out.push_str(MARK_BEGINS);
                out.push_str(part);
            }
        }
    }
    out
}

/// Renders the normalised form.
pub fn normalise(transcript: &Transcript) -> String {
    let history = History::new(transcript);
    let mut names = Names::new(&history);
    let mut out = format!("cell: {}\n", transcript.header.cell);
    let mut sections: Vec<(Vec<String>, String)> = Vec::new();
    for (role, client) in names.clients() {
        let section = client_section(&history, &client, &mut names);
        match sections.last_mut() {
            // Many clients that do the same are said once.
            Some((roles, text)) if *text == section => roles.push(role),
            _ => sections.push((vec![role], section)),
        }
    }
    for (roles, section) in sections {
        let _ = match roles.as_slice() {
            [role] => write!(out, "\nclient {role}\n{section}"),
            [first, .., last] => {
                write!(out, "\n{} clients alike, {first} to {last}\n{section}", roles.len())
            }
            [] => Ok(()),
        };
    }
    let cluster = cluster_section(&history, &mut names);
    if !cluster.is_empty() {
        let _ = write!(out, "\ncluster\n{cluster}");
    }
    out
}

/// Stable names for volatile values.
struct Names {
    /// Client to role, for those that have one.
    roles: BTreeMap<String, String>,
    /// Every client, in order of appearance.
    order: Vec<String>,
    /// Session id to the client that holds it and its number there.
    sessions: Vec<(String, String, usize)>,
    /// Made-up session ids.
    unknown: Vec<(String, usize)>,
    /// Every pod that there was.
    pods: BTreeSet<String>,
    /// Pods in order of mention, as `replica-a`, `replica-b`, ..
    mentioned: Vec<String>,
}

/// Whose body is rendered: decides how sessions and replicas in it are called.
struct Reader<'a> {
    client: &'a str,
    aimed: bool,
}

// === impl Names ===

impl Names {
    fn new(history: &History<'_>) -> Self {
        let mut names = Self {
            roles: BTreeMap::new(),
            order: Vec::new(),
            sessions: Vec::new(),
            unknown: Vec::new(),
            pods: BTreeSet::new(),
            mentioned: Vec::new(),
        };
        for entry in history.entries() {
            match &entry.what {
                What::Role { client, role } => {
                    names.roles.insert(client.clone(), role.clone());
                }
                What::Request(request) if !names.order.contains(&request.client) => {
                    names.order.push(request.client.clone());
                }
                What::UnknownId { id, .. } => names.unknown.push((id.clone(), names.unknown.len() + 1)),
                What::Pod { pod, .. } => {
                    names.pods.insert(pod.clone());
                }
                _ => {}
            }
        }
        for session in &history.sessions {
            if let Some(id) = session.id {
                let held = names.sessions.iter().filter(|(_, client, _)| client == session.client).count();
                names.sessions.push((id.to_owned(), session.client.to_owned(), held + 1));
            }
        }
        // Ids that a hub gave to a probe belong to no session that a scenario holds.
        for exchange in history.exchanges.values() {
            let client = &exchange.request.client;
            let given = exchange.head.and_then(|head| head.header("mcp-session-id").map(str::to_owned));
            if let Some(id) = given.filter(|id| names.sessions.iter().all(|(known, ..)| known != id)) {
                let held = names.sessions.iter().filter(|(_, holder, _)| holder == client).count();
                names.sessions.push((id, client.clone(), held + 1));
            }
        }
        names
    }

    /// Role and client of everyone who plays a part: those with a role by its name, then the others in order.
    fn clients(&self) -> Vec<(String, String)> {
        let mut cast: Vec<(String, String)> =
            self.roles.iter().map(|(client, role)| (role.clone(), client.clone())).collect();
        cast.sort();
        let others = self.order.iter().filter(|client| !self.roles.contains_key(*client));
        cast.extend(others.map(|client| (client.clone(), client.clone())));
        cast.retain(|(role, _)| role != SPARE);
        cast
    }

    fn replica(&mut self, pod: &str) -> String {
        let idx = self.mentioned.iter().position(|known| known == pod).unwrap_or_else(|| {
            self.mentioned.push(pod.to_owned());
            self.mentioned.len() - 1
        });
        let letter = char::from(b'a' + u8::try_from(idx % 26).unwrap_or(0));
        format!("<replica-{letter}>")
    }

    fn text(&mut self, text: &str, reader: &Reader<'_>) -> String {
        let mut text = without_cell_marks(text);
        for (id, client, number) in &self.sessions {
            if text.contains(id.as_str()) {
                let name = if client == reader.client {
                    format!("<session-{number}>")
                } else {
                    format!("<session-{number} of {}>", self.roles.get(client).unwrap_or(client))
                };
                text = text.replace(id.as_str(), &name);
            }
        }
        for (id, number) in &self.unknown {
            text = text.replace(id.as_str(), &format!("<unknown-session-{number}>"));
        }
        if text.contains("of client `") {
            // The part a client plays may be told only later, by what became of its replica.
            for (client, role) in &self.roles {
                text = text.replace(&own_mark(client), &format!("of client <{role}>"));
            }
        }
        for pod in self.pods.clone() {
            if text.contains(&pod) {
                let name = if reader.aimed { self.replica(&pod) } else { "<replica>".to_owned() };
                text = text.replace(&pod, &name);
            }
        }
        text
    }

    fn value(&mut self, value: &Value, reader: &Reader<'_>) -> Value {
        match value {
            Value::String(text) if text.len() > LONG_TEXT => Value::from(format!("<{} bytes>", text.len())),
            Value::String(text) => Value::String(self.text(text, reader)),
            Value::Array(items) => items.iter().map(|item| self.value(item, reader)).collect(),
            Value::Object(fields) => fields
                .iter()
                .map(|(key, field)| {
                    let field = match (key.as_str(), field) {
                        // The versions of client and hub change with every release.
                        ("version", Value::String(_)) => Value::from("<version>"),
                        _ => self.value(field, reader),
                    };
                    (self.text(key, reader), field)
                })
                .collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }
}

// === rendering ===

fn client_section(history: &History<'_>, client: &str, names: &mut Names) -> String {
    let mut out = String::new();
    for exchange in in_own_order(history, client) {
        let aimed = matches!(exchange.request.path, Path::Replica(_));
        write_exchange(&mut out, history, exchange, &Reader { client, aimed }, names);
    }
    out
}

/// A client's exchanges as it meant them: requests of one session that it sent at once may be recorded in any order, but
/// it numbered them. They change places among themselves only.
fn in_own_order<'h, 't>(history: &'h History<'t>, client: &str) -> Vec<&'h Exchange<'t>> {
    let mut own: Vec<&Exchange<'t>> =
        history.exchanges.values().filter(|exchange| exchange.request.client == client).collect();
    let number = |exchange: &Exchange<'_>| {
        let message = exchange.request.message()?;
        message.get("method")?;
        message.get("id")?.as_i64()
    };
    let numbered: Vec<usize> = (0..own.len()).filter(|idx| number(own[*idx]).is_some()).collect();
    let same_session = |left: &usize, right: &usize| {
        let (left, right) = (own[*left].request, own[*right].request);
        left.target == right.target && left.header("mcp-session-id") == right.header("mcp-session-id")
    };
    let sessions: Vec<Vec<usize>> = numbered.chunk_by(same_session).map(<[usize]>::to_vec).collect();
    for session in sessions {
        let mut sorted: Vec<&Exchange<'t>> = session.iter().map(|idx| own[*idx]).collect();
        sorted.sort_by_key(|exchange| number(exchange));
        for (idx, exchange) in session.into_iter().zip(sorted) {
            own[idx] = exchange;
        }
    }
    own
}

fn write_exchange(
    out: &mut String,
    history: &History<'_>,
    exchange: &Exchange<'_>,
    reader: &Reader<'_>,
    names: &mut Names,
) {
    let request = exchange.request;
    let path = match &request.path {
        Path::Service => "service".to_owned(),
        Path::Replica(pod) => names.replica(pod),
    };
    let kept = match request.connection {
        Connection::Fresh => "",
        Connection::Kept => ", kept connection",
    };
    let probe = request.probe.as_deref().map(|probe| format!("  [{probe}]")).unwrap_or_default();
    let target = names.text(&request.target, reader);
    let _ = writeln!(out, "  {} {target} via {path}{kept}{probe}", request.method);
    let told: &[&str] = if request.probe.is_some() { PROBE_HEADERS } else { HEADERS };
    for header in told {
        if let Some(value) = request.header(header) {
            let text =
                if *header == LAST_EVENT_ID { "<event>".to_owned() } else { names.text(value, reader) };
            let _ = writeln!(out, "    {header}: {text}");
        }
    }
    if let Some(body) = &request.body {
        let _ = writeln!(out, "    > {}", body_text(body, reader, names));
    }
    if let Some(head) = exchange.head {
        let media = head.header("content-type").map(|value| format!(" {value}")).unwrap_or_default();
        let _ = writeln!(out, "    {}{media}", head.status);
        for header in ["mcp-session-id", "retry-after", "allow", "location"] {
            if let Some(value) = head.header(header) {
                let _ = writeln!(out, "    {header}: {}", names.text(value, reader));
            }
        }
    }
    let mut frames: Vec<(i64, String)> =
        exchange.frames.iter().filter_map(|(_, frame)| frame_text(frame, reader, names)).collect();
    // Answers to calls that run at once may come in any order: told by request, not by arrival.
    frames.sort_by_key(|(id, _)| *id);
    if matches!(exchange.end, Some((_, End::ClosedByClient))) && exchange.request.method == "POST" {
        // How much more came until the client went is luck.
        frames.truncate(1);
    }
    if request.header(LAST_EVENT_ID).is_some() {
        // So it is how much is left to tell, but for the answer.
        frames.drain(..frames.len().saturating_sub(1));
    }
    for (_, text) in frames {
        let _ = writeln!(out, "    < {text}");
    }
    if let Some((_, body)) = exchange.body {
        let text = body_text(body, reader, names);
        if !text.is_empty() {
            let _ = writeln!(out, "    < {text}");
        }
    }
    if let Some(end) = end_text(exchange, nobody_serves(history, exchange)) {
        let _ = writeln!(out, "    {end}");
    }
}

/// The frame's text, and the id of the request it is about: -1 for what comes before any.
fn frame_text(frame: &Frame, reader: &Reader<'_>, names: &mut Names) -> Option<(i64, String)> {
    let data = frame.data.as_deref().filter(|data| !data.is_empty())?;
    let Ok(message) = serde_json::from_str::<Value>(data) else {
        return Some((-1, format!("{}: {}", frame.event_type(), names.text(data, reader))));
    };
    let about = message.get("id").or_else(|| message.get("params")?.get("progressToken"));
    let about = about.and_then(Value::as_i64).unwrap_or(i64::MAX);
    Some((about, format!("{}: {}", frame.event_type(), names.value(&message, reader))))
}

fn body_text(body: &Body, reader: &Reader<'_>, names: &mut Names) -> String {
    match body {
        Body::Json(value) => names.value(value, reader).to_string(),
        Body::Text(text) if text.len() > LONG_TEXT => format!("{} bytes", text.len()),
        Body::Text(text) => names.text(text.trim_end(), reader),
        Body::Long { length, .. } => format!("{length} bytes"),
    }
}

/// Whether a request was sent through the Service while it had no endpoint. Where a client's way leads through a relay, the
/// refusal is seen as a connection that is cut before anything came.
fn nobody_serves(history: &History<'_>, exchange: &Exchange<'_>) -> bool {
    let before = history.entries().iter().take_while(|entry| entry.seq < exchange.at.seq);
    let ready = before.filter_map(|entry| match &entry.what {
        What::Endpoints { ready } => Some(ready),
        _ => None,
    });
    exchange.request.path == Path::Service
        && exchange.head.is_none()
        && ready.last().is_none_or(|ready| ready.is_empty())
}

fn end_text(exchange: &Exchange<'_>, nobody_serves: bool) -> Option<&'static str> {
    match exchange.end.map(|(_, end)| end) {
        Some(End::Complete) if exchange.is_event_stream() => Some("ended"),
        Some(End::Complete) | None => None,
        Some(End::ClosedByClient) => Some("closed by the client"),
        Some(End::Refused { .. }) => Some("refused"),
        Some(End::Cut { .. }) if nobody_serves => Some("refused"),
        Some(End::Cut { .. }) => Some("cut"),
        Some(End::Malformed { .. }) => Some("malformed"),
        Some(End::TimedOut { .. }) => Some("no answer"),
    }
}

fn cluster_section(history: &History<'_>, names: &mut Names) -> String {
    let mut out = String::new();
    let reader = Reader { client: "", aimed: true };
    for entry in history.entries() {
        let line = match &entry.what {
            What::Step { name } => format!("step: {name}"),
            What::Fault(fault) => fault_text(fault, names),
            What::Awaited { condition, unmet, .. } => {
                let result = if unmet.is_none() { "met" } else { "not met" };
                format!("await {}: {result}", names.text(condition, &reader))
            }
            What::Symptom { symptom, naming, told, .. } => symptom_text(*symptom, naming, told.as_ref()),
            What::Measured { what, .. } => format!("measured: {what}"),
            What::Counted { what, .. } => format!("counted: {what}"),
            What::Luck { of, probability } => format!("luck: {of}: {probability:.1e}"),
            What::NotBroughtAbout { reason } => format!("not brought about: {reason}"),
            What::Broken { .. } => "broken off".to_owned(),
            _ => continue,
        };
        let _ = writeln!(out, "  {line}");
    }
    let reasons = event_reasons(history);
    if !reasons.is_empty() {
        let _ = writeln!(out, "  events: {}", reasons.into_iter().collect::<Vec<_>>().join(", "));
    }
    out
}

fn fault_text(fault: &Fault, names: &mut Names) -> String {
    match fault {
        Fault::Kill { replica } => format!("kill {}", names.replica(replica)),
        Fault::Stop { replica } => format!("stop {}", names.replica(replica)),
        Fault::Continue { replica } => format!("continue {}", names.replica(replica)),
        Fault::Starve { replica } => format!("fill the memory of {}", names.replica(replica)),
        Fault::Delete { replica, grace_s } => {
            format!("delete {}, grace {grace_s} s", names.replica(replica))
        }
        Fault::Evict { replica, grace_s } => format!("evict {}, grace {grace_s} s", names.replica(replica)),
        Fault::Cordon { .. } => "cordon a node".to_owned(),
        Fault::Uncordon { .. } => "uncordon the node".to_owned(),
        Fault::Scale { from, to } => format!("scale from {from} to {to}"),
        Fault::Roll => "roll".to_owned(),
        Fault::Load { .. } => "load the image".to_owned(),
        Fault::Apply { change } => format!("apply: {change}"),
    }
}

/// What was told, without the words that differ between versions of Kubernetes.
fn symptom_text(symptom: Symptom, naming: &[String], told: Option<&Told>) -> String {
    let Some(told) = told else { return format!("await {symptom}: not told") };
    let teller = if told.pod.is_some() { "a pod" } else { "the deployment" };
    let named: Vec<String> = naming
        .iter()
        .filter(|name| told.message.contains(name.as_str()))
        .map(|name| format!("`{name}`"))
        .collect();
    let naming = if named.is_empty() { String::new() } else { format!(", naming {}", named.join(" and ")) };
    format!("await {symptom}: told by {teller}{naming}")
}

/// The reasons of what controllers tell, each once. A kubelet limits how many events about pods it sends (five a second, up
/// to Kubernetes 1.26) and keeps the others back, so that one may come after the cell's end: what matters of a pod stands in its changes and symptoms.
fn event_reasons(history: &History<'_>) -> BTreeSet<String> {
    let told_by_controllers = history.entries().iter().filter_map(|entry| match &entry.what {
        What::Event { object, reason, .. } if !object.starts_with("Pod/") => Some(reason),
        _ => None,
    });
    told_by_controllers.filter(|reason| !BACKGROUND.contains(&reason.as_str())).cloned().collect()
}
