//! What a hub costs: `cargo bench -p hub` prints each figure with its bar. Never a test.
//!
//! `cargo bench -p hub -- calls` (or `memory`, `start`) prints a part. A figure that depends on the machine (calls per second) has no bar; a ratio is measured by turns in one run.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use support::{ACCEPT, Hub, JSON, LIMIT, Stream, call, free_address, initialize, sse_session};

const SESSIONS: usize = 1000;
const CALLERS: usize = 100;
const ROUND: Duration = Duration::from_millis(700);
const ROUNDS: usize = 5;
const RUNS: usize = 5;
/// Callers that wait for each other. All in step would keep the two replicas from working at the same time.
const CROWD: usize = 10;

fn main() {
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("more open files");
    println!("{:<58}{:>12}{:>14}", "figure", "measured", "bar");
    let only: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let wanted = |part: &str| only.is_empty() || only.iter().any(|only| only == part);
    if wanted("memory") {
        memory();
    }
    if wanted("start") {
        row("start to first `endpoint` event, ms (median of 10)", start_up(), Some(Bar::Below(50.0)));
    }
    if wanted("calls") {
        throughput();
    }
}

fn memory() {
    let hub = Hub::start(&[]);
    hub.get("/healthz");
    let idle = resident(&hub);
    row("resident when idle, kB", idle, Some(Bar::Below(12_000.0)));
    drop(hub);
    row("per idle HTTP+SSE session, kB", http_sse_session(), Some(Bar::Below(60.0)));
    row("per Streamable session, kB", streamable_session(false), None);
    row("per Streamable session with its GET stream, kB", streamable_session(true), Some(Bar::Below(90.0)));
}

fn throughput() {
    let (direct, forwarded) = calls(1);
    row("one caller: echo calls/s, direct", direct.per_second, None);
    row("one caller: echo calls/s, forwarded", forwarded.per_second, None);
    let runs: Vec<_> = (0..RUNS).map(|_| calls(CALLERS)).collect();
    let (direct, forwarded): (Vec<_>, Vec<_>) = runs.iter().copied().unzip();
    for (way, ways) in [("direct", direct), ("forwarded", forwarded)] {
        let typical_way = typical(&ways);
        row(&format!("100 callers: echo calls/s, {way}"), typical_way.per_second, None);
        for (who, cost) in ["client", "owner", "other replica"].iter().zip(typical_way.cost) {
            row(&format!("100 callers: {who}, µs of processor per call, {way}"), cost, None);
        }
    }
    let ratios = runs.iter().map(|(direct, forwarded)| forwarded.per_second / direct.per_second).collect();
    row("100 callers: forwarded against direct", median(ratios), Some(Bar::Above(0.7)));
}

enum Bar {
    Below(f64),
    Above(f64),
}

fn row(what: &str, measured: f64, bar: Option<Bar>) {
    let (bar, verdict) = match bar {
        Some(Bar::Below(bar)) => (format!("< {bar}"), measured < bar),
        Some(Bar::Above(bar)) => (format!(">= {bar}"), measured >= bar),
        None => (String::new(), true),
    };
    let verdict = if bar.is_empty() {
        ""
    } else if verdict {
        "ok"
    } else {
        "NOT"
    };
    println!("{what:<58}{measured:>12.2}{bar:>10} {verdict}");
}

/// Resident memory in kB.
fn resident(hub: &Hub) -> f64 {
    hub.resident() as f64
}

fn growth(per: usize, hub: &Hub, before: f64) -> f64 {
    (resident(hub) - before) / per as f64
}

fn http_sse_session() -> f64 {
    let hub = Hub::start(&[]);
    drop(sse_session(&hub));
    let before = resident(&hub);
    let mut poster = Caller::new(hub.address);
    let streams: Vec<_> = (0..SESSIONS)
        .map(|_| {
            let (mut stream, path) = sse_session(&hub);
            poster.ask("POST", &path, &[], &initialize(1));
            stream.answer(1);
            poster.ask("POST", &path, &[], &initialized());
            stream
        })
        .collect();
    let grown = growth(SESSIONS, &hub, before);
    drop(streams);
    grown
}

fn streamable_session(with_stream: bool) -> f64 {
    let hub = Hub::start(&[]);
    hub.initialize();
    let before = resident(&hub);
    let mut poster = Caller::new(hub.address);
    let streams: Vec<_> = (0..SESSIONS)
        .map(|_| {
            let id = poster.initialize();
            poster.ask("POST", "/mcp", &[("Mcp-Session-Id", &id)], &initialized());
            with_stream.then(|| Stream::open(hub.address, "/mcp", &[ACCEPT, ("Mcp-Session-Id", &id)]))
        })
        .collect();
    let grown = growth(SESSIONS, &hub, before);
    drop(streams);
    grown
}

fn start_up() -> f64 {
    let once = |_| {
        let address = free_address();
        let begun = Instant::now();
        let mut child = support::command(address, &[], &[]).spawn().expect("a hub");
        while TcpStream::connect(address).is_err() {
            std::thread::yield_now();
        }
        let mut stream = Stream::open(address, "/sse", &[]);
        stream.data().expect("an endpoint");
        let took = begun.elapsed().as_secs_f64() * 1000.0;
        child.kill().and_then(|()| child.wait()).expect("an end");
        took
    };
    median((0..10).map(once).collect())
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// What a way to the owner brings, and costs.
#[derive(Clone, Copy)]
struct Way {
    per_second: f64,
    /// Processor time per call in µs: of this client, of the owner, and of the other replica.
    cost: [f64; 3],
}

/// The medians of some rounds.
fn typical(ways: &[Way]) -> Way {
    let of = |figure: fn(&Way) -> f64| median(ways.iter().map(figure).collect());
    Way { per_second: of(|w| w.per_second), cost: [of(|w| w.cost[0]), of(|w| w.cost[1]), of(|w| w.cost[2])] }
}

/// Calls at the owner and through another replica, by turns, with the same client and the same bytes.
fn calls(callers: usize) -> (Way, Way) {
    let (owner, other) = (Hub::start(&[]), Hub::start(&[]));
    let echo = call(2, "echo", json!({"text": "x"})).to_string();
    let mut sessions: Vec<_> = (0..callers)
        .map(|_| {
            let mut direct = Caller::new(owner.address);
            let session = direct.initialize();
            let request = request("POST", "/mcp", &[("Mcp-Session-Id", &session)], &echo);
            ([direct, Caller::new(other.address)], request)
        })
        .collect();
    let processes = [std::process::id(), owner.child.id(), other.child.id()];
    let mut round = |through: usize| {
        let (begun, before) = (Instant::now(), processes.map(processor_time));
        let mut done = 0.0;
        std::thread::scope(|scope| {
            let crowds: Vec<_> = sessions
                .chunks_mut(CROWD)
                .map(|crowd| scope.spawn(move || ask_for(ROUND, crowd, through)))
                .collect();
            for crowd in crowds {
                done += crowd.join().expect("answers");
            }
        });
        let per_second = done / begun.elapsed().as_secs_f64();
        let after = processes.map(processor_time);
        Way { per_second, cost: [0, 1, 2].map(|who| (after[who] - before[who]) / done) }
    };
    round(0);
    round(1);
    let (direct, forwarded): (Vec<_>, Vec<_>) = (0..ROUNDS).map(|_| (round(0), round(1))).unzip();
    (typical(&direct), typical(&forwarded))
}

/// Calls of some sessions, each with one in flight, and how many were answered.
fn ask_for(time: Duration, crowd: &mut [([Caller; 2], Vec<u8>)], through: usize) -> f64 {
    let begun = Instant::now();
    let mut done = 0.0;
    while begun.elapsed() < time {
        for (callers, request) in &mut *crowd {
            callers[through].socket.write_all(request).expect("a connection");
        }
        for (callers, _) in &mut *crowd {
            assert!(callers[through].echoes(), "an echo");
            done += 1.0;
        }
    }
    done
}

/// How long a process has run, in µs.
fn processor_time(process: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("a running process");
    let after_name = text.rsplit(") ").next().unwrap_or_default();
    let ticks: f64 =
        after_name.split(' ').skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    ticks * 1_000_000.0 / rustix::param::clock_ticks_per_second() as f64
}

fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: hub\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers.iter().chain(&[JSON[0], ACCEPT]) {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    request.push_str(body);
    request.into_bytes()
}

fn initialized() -> Value {
    json!({"jsonrpc": "2.0", "method": "notifications/initialized"})
}

/// One kept connection.
struct Caller {
    socket: TcpStream,
    buffer: Vec<u8>,
}

impl Caller {
    fn new(to: SocketAddr) -> Self {
        let socket = TcpStream::connect(to).expect("a hub");
        socket.set_nodelay(true).expect("an option");
        socket.set_read_timeout(Some(LIMIT)).expect("an option");
        Self { socket, buffer: vec![0; 16 * 1024] }
    }

    fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], message: &Value) {
        let request = request(method, path, headers, &message.to_string());
        self.socket.write_all(&request).expect("a connection");
    }

    /// Reads the chunked answer to an echo; whether it is one. As cheap as it can be: the client is not what is measured.
    fn echoes(&mut self) -> bool {
        let mut read = 0;
        while !self.buffer[..read].ends_with(b"\r\n0\r\n\r\n") {
            match self.socket.read(&mut self.buffer[read..]) {
                Ok(0) | Err(_) => return false,
                Ok(more) => read += more,
            }
        }
        self.buffer.starts_with(b"HTTP/1.1 200")
            && self.buffer[..read].windows(3).any(|text| text == b"\"x\"")
    }

    fn receive(&mut self) -> String {
        let mut read = 0;
        loop {
            read += self.socket.read(&mut self.buffer[read..]).expect("an answer");
            let text = String::from_utf8_lossy(&self.buffer[..read]);
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                continue;
            };
            let declared = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let done = match declared {
                Some(length) => body.len() >= length.parse::<usize>().expect("a number"),
                None => body.ends_with("0\r\n\r\n"),
            };
            if done {
                return text.into_owned();
            }
        }
    }

    fn ask(&mut self, method: &str, path: &str, headers: &[(&str, &str)], message: &Value) -> String {
        self.send(method, path, headers, message);
        self.receive()
    }

    fn initialize(&mut self) -> String {
        let answer = self.ask("POST", "/mcp", &[], &initialize(1));
        let id = answer.lines().find_map(|line| line.strip_prefix("mcp-session-id: "));
        id.expect("a session").to_owned()
    }
}
