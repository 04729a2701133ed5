//! Real hub processes, and a client that speaks HTTP/1.1 by hand over blocking sockets.

#![expect(
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    reason = "a test may fail, and each test binary, and the benchmark, uses a part of this"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// No answer of a hub may take longer in a test.
pub const LIMIT: Duration = Duration::from_secs(10);
pub const KEY: &str = "a session key for tests, 32 bytes or more";

/// An address that nothing else uses: tests run at the same time, and so may other runs of them.
///
/// It is not tried: a process that another test starts would inherit the listener for a moment, and the hub would find its port taken.
/// The port is below those that the system hands out by itself, or a connection of anybody could take it meanwhile.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let host = Ipv4Addr::new(127, high ^ 0x80, low, NEXT.fetch_add(1, Ordering::Relaxed));
    SocketAddr::from((host, 21_000))
}

/// A running hub; killed when dropped.
pub struct Hub {
    pub child: Child,
    pub address: SocketAddr,
    log: Arc<Mutex<String>>,
    reading: Option<std::thread::JoinHandle<()>>,
}

pub fn command(address: SocketAddr, args: &[&str], env: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hub"));
    command
        .env_clear()
        .env("SESSION_KEY", KEY)
        .envs(env.iter().copied())
        .args(["--host", &address.ip().to_string(), "--port", &address.port().to_string()])
        .args(args)
        .stderr(Stdio::piped());
    command
}

impl Hub {
    pub fn start(args: &[&str]) -> Self {
        Self::start_at(free_address(), args, &[])
    }

    pub fn start_at(address: SocketAddr, args: &[&str], env: &[(&str, &str)]) -> Self {
        let mut child = command(address, args, env).spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let first = lines.next().unwrap().unwrap();
        assert!(first.starts_with(&format!("listening on {address} as ")), "{first}");
        let reading = std::thread::spawn({
            let log = log.clone();
            move || {
                for line in lines.map_while(Result::ok) {
                    log.lock().unwrap().push_str(&format!("{line}\n"));
                }
            }
        });
        Self { child, address, log, reading: Some(reading) }
    }

    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// The ports of those who have a connection to it, in order.
    pub fn peers(&self) -> Vec<u16> {
        let IpAddr::V4(ip) = self.address.ip() else { panic!("no IPv4 address") };
        let here = format!("{:08X}:{:04X}", u32::from_le_bytes(ip.octets()), self.address.port());
        let mut peers: Vec<_> = std::fs::read_to_string("/proc/net/tcp")
            .unwrap()
            .lines()
            .filter_map(|line| {
                let mut columns = line.split_whitespace().skip(1);
                let (local, remote, state) = (columns.next()?, columns.next()?, columns.next()?);
                let (_, port) = remote.split_once(':')?;
                (local == here && state == "01").then(|| u16::from_str_radix(port, 16).unwrap())
            })
            .collect();
        peers.sort_unstable();
        peers
    }

    /// Resident memory in kB.
    pub fn resident(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// How many files, connections among them, it has open.
    pub fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// How it exited; its log is whole then.
    pub fn exited(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                if let Some(reading) = self.reading.take() {
                    reading.join().unwrap();
                }
                return status;
            }
            assert!(begun.elapsed() < LIMIT, "the hub did not exit:\n{}", self.log());
            std::thread::yield_now();
        }
    }

    pub fn get(&self, path: &str) -> Answer {
        exchange(self.address, "GET", path, &[], b"")
    }

    pub fn post(&self, path: &str, message: &Value) -> Answer {
        exchange(self.address, "POST", path, &JSON, message.to_string().as_bytes())
    }

    /// `/mcp` in a session.
    pub fn mcp(&self, session: &str, method: &str, message: &Value) -> Answer {
        let headers = [JSON[0], ACCEPT, ("Mcp-Session-Id", session)];
        exchange(self.address, method, "/mcp", &headers, message.to_string().as_bytes())
    }

    /// Initialises a Streamable session and answers its id.
    pub fn initialize(&self) -> String {
        let answer =
            exchange(self.address, "POST", "/mcp", &[JSON[0], ACCEPT], initialize(1).to_string().as_bytes());
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.header("mcp-session-id").unwrap()
    }

    /// A tool call without a session, of 2026-07-28.
    pub fn stateless(&self, tool: &str) -> Answer {
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool,
            "arguments": {}, "_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {}}}});
        let headers = [
            JSON[0],
            ACCEPT,
            ("MCP-Protocol-Version", "2026-07-28"),
            ("Mcp-Method", "tools/call"),
            ("Mcp-Name", tool),
        ];
        exchange(self.address, "POST", "/mcp", &headers, message.to_string().as_bytes())
    }

    /// Waits until `condition` holds.
    pub fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !condition(self) {
            assert!(begun.elapsed() < LIMIT, "not in time: {what}\n{}", self.log());
            std::thread::yield_now();
        }
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub const JSON: [(&str, &str); 1] = [("Content-Type", "application/json")];
pub const ACCEPT: (&str, &str) = ("Accept", "application/json, text/event-stream");

pub fn initialize(id: u64) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}})
}

pub fn call(id: u64, tool: &str, arguments: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": tool, "arguments": arguments,
        "_meta": {"progressToken": id}}})
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<String> {
        header(&self.head, name)
    }

    /// The text of the tool result in the body.
    pub fn text(&self) -> String {
        let data = self.body.lines().filter_map(|line| line.strip_prefix("data: ")).next_back();
        result_text(data.unwrap_or(&self.body))
    }
}

pub fn result_text(message: &str) -> String {
    let message: Value = serde_json::from_str(message).unwrap_or_else(|_| panic!("no JSON: {message}"));
    message["result"]["content"][0]["text"]
        .as_str()
        .unwrap_or_else(|| panic!("no text: {message}"))
        .to_owned()
}

fn header(head: &str, name: &str) -> Option<String> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(": ")?;
        key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

/// Connects, sends one request and leaves the answer unread.
pub fn send(to: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> TcpStream {
    let mut socket = TcpStream::connect(to).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    socket.set_nodelay(true).unwrap();
    let mut head =
        format!("{method} {path} HTTP/1.1\r\nHost: hub.test\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    socket.write_all(head.as_bytes()).unwrap();
    // A hub that refuses early may stop reading.
    let _ = socket.write_all(body);
    socket
}

pub fn exchange(to: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let headers = [headers, &[("Connection", "close")]].concat();
    read_answer(send(to, method, path, &headers, body))
}

pub fn read_answer(mut socket: TcpStream) -> Answer {
    let mut raw = Vec::new();
    socket.read_to_end(&mut raw).unwrap();
    let raw = String::from_utf8_lossy(&raw).into_owned();
    let (head, body) = raw.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {raw:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

/// An open SSE stream.
pub struct Stream {
    lines: BufReader<TcpStream>,
    pub head: String,
    last: String,
}

impl Stream {
    pub fn open(to: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Self {
        Self::of(send(to, "GET", path, headers, b""))
    }

    pub fn of(socket: TcpStream) -> Self {
        let mut stream = Self { lines: BufReader::new(socket), head: String::new(), last: String::new() };
        while let Some(line) = stream.line() {
            if line.is_empty() {
                break;
            }
            stream.head.push_str(&format!("{line}\r\n"));
        }
        stream
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.lines.read_line(&mut line).unwrap_or_else(|error| panic!("no line: {error}"));
        let line = line.trim_end().to_owned();
        if read > 0 && !line.is_empty() {
            self.last.clone_from(&line);
        }
        // The last chunk; a kept connection stays open after it.
        (read > 0 && line != "0").then_some(line)
    }

    /// The next event's data; `None` when the stream ended.
    pub fn data(&mut self) -> Option<String> {
        loop {
            // An event that says nothing but its id is there to resume after.
            if let Some(data) = self.line()?.strip_prefix("data: ").filter(|data| !data.trim().is_empty()) {
                return Some(data.to_owned());
            }
        }
    }

    /// The data of the answer to request `id`.
    pub fn answer(&mut self, id: u64) -> String {
        loop {
            let data = self.data().expect("an answer before the end of the stream");
            let message: Value = serde_json::from_str(&data).unwrap();
            if message["id"] == id && message.get("method").is_none() {
                return data;
            }
        }
    }

    /// Whether neither an event nor the end comes for that long.
    pub fn stays_open(self, time: Duration) -> bool {
        let mut socket = self.lines.into_inner();
        socket.set_read_timeout(Some(time)).unwrap();
        socket.read(&mut [0; 64]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    }

    /// Reads to the end; whether it ended with a proper last chunk.
    pub fn ends_cleanly(&mut self) -> bool {
        while self.line().is_some() {}
        self.last == "0"
    }
}

/// An HTTP+SSE session at `hub`: its stream and the path of its messages.
pub fn sse_session(hub: &Hub) -> (Stream, String) {
    let mut stream = Stream::open(hub.address, "/sse", &[]);
    let path = stream.data().unwrap();
    assert!(path.starts_with("/messages?session_id="), "{path}");
    (stream, path)
}
