//! Everything that happened in a cell, on the wire and in the cluster, in order.
//!
//! A transcript is append-only: the wire and the cluster record what they saw, and checks judge it afterwards.
//! Its JSONL form is versioned, so that a verdict can be recomputed from a file (`hubcheck check FILE`).
//! Nothing here does IO or judges.

mod body;
mod fault;
mod header;
pub mod history;
mod jsonl;
pub mod measured;
pub mod normal;
pub mod notes;
pub mod probed;
mod recorder;
pub(crate) mod secret;
mod symptom;

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

pub use body::{BODY_KEPT, Body};
pub use fault::Fault;
pub use header::{Echo, Header};
pub use jsonl::ReadError;
pub use recorder::{Recorder, Tap};
pub use secret::Secret;
pub use symptom::{Symptom, Told};

/// The version of the JSONL form. A reader refuses a file of another version.
pub const FORMAT: u32 = 1;

/// A finished recording of one cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transcript {
    /// What was run, on what.
    pub header: Header,
    /// What happened, in order.
    pub entries: Vec<Entry>,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its place in the transcript, from 1; findings point at it.
    pub seq: u32,
    /// When, in microseconds since the recording began.
    pub at_us: u64,
    /// What.
    pub what: What,
}

/// Numbers the exchanges of a transcript, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ExchangeId(pub u32);

/// The kinds of things that happen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum What {
    // On the wire.
    /// A client sent a request: the first entry of an exchange, recorded before its connection is tried.
    Request(Request),
    /// The connection of an exchange was made.
    Connected {
        /// The exchange.
        exchange: ExchangeId,
        /// The client's end: joins the exchange with what the balancer tells in [`What::Routed`].
        from: SocketAddr,
    },
    /// The head of the answer arrived.
    Head {
        /// The exchange.
        exchange: ExchangeId,
        /// The HTTP status.
        status: u16,
        /// The headers in their order, names in lower case.
        headers: Vec<(String, String)>,
    },
    /// One SSE frame arrived.
    Frame {
        /// The exchange.
        exchange: ExchangeId,
        /// The frame.
        frame: Frame,
    },
    /// The whole of a body that is not an event stream arrived.
    Body {
        /// The exchange.
        exchange: ExchangeId,
        /// The body.
        body: Body,
    },
    /// So much of an event stream came beyond what is kept.
    LeftOut {
        /// The exchange.
        exchange: ExchangeId,
        /// How many frames.
        frames: u64,
        /// How many bytes of text they had.
        bytes: u64,
    },
    /// The exchange is over: its last entry.
    End {
        /// The exchange.
        exchange: ExchangeId,
        /// How it ended.
        how: End,
    },

    // Of sessions.
    /// A session (or, in the stateless era, a conversation) was opened.
    Session {
        /// The client that holds it.
        client: String,
        /// The id that the hub gave, when it gave one.
        id: Option<String>,
        /// The replica that owns it, when that can be told.
        owner: Option<String>,
    },
    /// A client tried to open a session and got none.
    NoSession {
        /// The client.
        client: String,
        /// What came instead.
        why: String,
    },
    /// The client made up a session id that no replica issued.
    UnknownId {
        /// The client.
        client: String,
        /// The id.
        id: String,
    },
    /// The client ended its session, by closing its stream or by DELETE.
    SessionEnded {
        /// The client.
        client: String,
        /// The session's id.
        id: Option<String>,
    },
    /// A client is given the part it plays; snapshots know it by that name only, and leave out a `spare`.
    Role {
        /// The client.
        client: String,
        /// The part.
        role: String,
    },

    // In the cluster.
    /// The balancer gave a connection to a replica.
    Routed {
        /// The client's end of the connection.
        from: SocketAddr,
        /// The replica that got it.
        replica: String,
    },
    /// A pod changed.
    Pod {
        /// Its name.
        pod: String,
        /// How, in Kubernetes' own words.
        change: PodChange,
    },
    /// When the process of a pod's container ended, as the runtime of its node says: the kubelet and the API tell of it
    /// later. Follows what they tell.
    Exited {
        /// The pod.
        pod: String,
        /// In microseconds since the recording began.
        at_us: u64,
    },
    /// What the machine was doing: a wait for a processor, or at its end the whole cell.
    Pressure {
        /// For how long the harness itself waited for a processor; of a cell, the longest such wait.
        waited_ms: u64,
        /// Within which time before this entry.
        within_ms: u64,
        /// Of a whole cell: for which share of it some process of the machine waited for a processor.
        stalled_percent: Option<u8>,
    },
    /// SIGTERM is about to be sent to the main process of a pod's container.
    Sigterm {
        /// The pod.
        pod: String,
        /// The main process.
        main: ProcessSeen,
        /// Whether it is PID 1, as in every pod: the kernel then has no default action for the signal.
        is_pid_1: bool,
        /// The first of the processes below it, parents before children.
        below: Vec<ProcessSeen>,
    },
    /// How many processes a pod's container had.
    Processes {
        /// The pod.
        pod: String,
        /// When, in the scenario's words.
        when: String,
        /// How many ran.
        running: usize,
        /// How many had ended and were not waited for by their parent.
        unreaped: usize,
    },
    /// A Kubernetes Event.
    Event {
        /// `Kind/name` of what it is about.
        object: String,
        /// Its reason, such as `Killing`.
        reason: String,
        /// Its message.
        message: String,
    },
    /// The Service's ready endpoints changed to these pods.
    Endpoints {
        /// Names of the pods that receive new connections, sorted.
        ready: Vec<String>,
    },
    /// A line that a replica printed.
    Log {
        /// The pod.
        pod: String,
        /// The line, without its end.
        line: String,
    },

    // By the harness.
    /// The harness did something to the cluster.
    Fault(Fault),
    /// The harness waited for a condition.
    Awaited {
        /// The condition, in words that hold on every backend.
        condition: String,
        /// How long it took, in milliseconds.
        took_ms: u64,
        /// `None` when it came true; otherwise what was last seen.
        unmet: Option<String>,
    },
    /// The harness waited for the cluster to tell what is wrong.
    Symptom {
        /// What should be told.
        symptom: Symptom,
        /// What the message has to name, so that its reader knows what to mend.
        naming: Vec<String>,
        /// How long it took, in milliseconds.
        took_ms: u64,
        /// What was told; `None` when nothing was, within the limit.
        told: Option<Told>,
        /// What was last seen instead.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        instead: Option<String>,
    },
    /// Something took so long, which is worth telling whatever the verdict is.
    Measured {
        /// What.
        what: String,
        /// How long it took, in milliseconds.
        took_ms: u64,
        /// How long it may take, in milliseconds, where something says so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit_ms: Option<u64>,
    },
    /// So many of so many did, which is worth telling whatever the verdict is.
    Counted {
        /// What they did.
        what: String,
        /// How many did it.
        count: usize,
        /// How many there were.
        of: usize,
    },
    /// A part of the scenario begins.
    Step {
        /// What it is.
        name: String,
    },
    /// The probability that this cell passes by luck although the hub is broken.
    Luck {
        /// What the luck would be.
        of: String,
        /// The probability.
        probability: f64,
    },
    /// What the scenario is about did not come about, in a way that the hub may choose: checks that had nothing to look at are not
    /// judged, for this reason.
    NotBroughtAbout {
        /// What was seen.
        reason: String,
    },
    /// The harness could not go on; the verdict is inconclusive.
    Broken {
        /// Why.
        reason: String,
    },
}

/// The first entry of an exchange.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// The exchange it begins.
    pub exchange: ExchangeId,
    /// The client that sends it.
    pub client: String,
    /// The name that the scenario gave it, by which checks find it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<String>,
    /// How it travels.
    pub path: Path,
    /// Whether it travels over TLS: then the server's URLs begin with `https`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tls: bool,
    /// `GET`, `POST`, `DELETE`, ..
    pub method: String,
    /// Path and query.
    pub target: String,
    /// The headers in their order, names in lower case unless the scenario spells them otherwise.
    pub headers: Vec<(String, String)>,
    /// The body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Body>,
    /// Whether it reuses a connection.
    pub connection: Connection,
}

/// A process of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessSeen {
    /// Its command line, not too long.
    pub command: String,
    /// Whether it does something of its own on SIGTERM, rather than leave that to the kernel.
    pub heeds_sigterm: bool,
}

/// How a request travels.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Path {
    /// Through the Service, which picks a replica.
    Service,
    /// Straight to this replica.
    Replica(String),
}

/// Whether a request has a connection of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Connection {
    /// Made for this request.
    Fresh,
    /// Used by earlier requests of the same client.
    Kept,
}

/// One unit of an event stream: what stands between two empty lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// The comment lines, without the colon and one space after it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub comments: Vec<String>,
    /// The last `event` field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// All `data` fields, joined by newlines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// The last valid `id` field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The last valid `retry` field, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<u64>,
}

/// How an exchange ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "kebab-case")]
pub enum End {
    /// The answer was complete.
    Complete,
    /// The client closed it.
    ClosedByClient,
    /// No connection could be made.
    Refused {
        /// What the operating system said.
        why: String,
    },
    /// The connection broke before the answer was complete.
    Cut {
        /// What was seen.
        why: String,
    },
    /// What came is not HTTP, or not what its headers say.
    Malformed {
        /// What was seen.
        why: String,
    },
    /// The client's limit passed; it closed the connection.
    TimedOut {
        /// What had not happened: `connect`, `head`, `body`.
        waiting_for: String,
        /// The limit, in milliseconds.
        limit_ms: u64,
    },
}

/// How a pod changed, in Kubernetes' own words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum PodChange {
    /// It exists.
    Created,
    /// Its container is waiting.
    Waiting {
        /// Such as `CrashLoopBackOff` or `CreateContainerConfigError`.
        reason: String,
        /// The message beside the reason.
        message: String,
    },
    /// Its container runs.
    Running {
        /// How often it was restarted before.
        restarts: u32,
    },
    /// It passed its readiness probe.
    Ready,
    /// It no longer passes.
    NotReady,
    /// Its container ended.
    Terminated {
        /// `Completed`, `Error` or `OOMKilled`.
        reason: String,
        /// The exit code; 128 + the signal's number for a signal.
        exit_code: i32,
        /// How the memory limit was enforced, when that was the reason: `cgroup` or `watcher`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
    /// It is being deleted.
    Terminating,
    /// It is gone.
    Deleted,
}

// === impl Frame ===

impl Frame {
    /// The event's type; `message` when the field is absent or empty, as the SSE standard says.
    pub fn event_type(&self) -> &str {
        self.event.as_deref().filter(|event| !event.is_empty()).unwrap_or("message")
    }
}

/// `service` or `replica NAME`.
impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Service => f.write_str("service"),
            Path::Replica(name) => write!(f, "replica {name}"),
        }
    }
}
