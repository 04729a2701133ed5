//! No tool of a stranger's hub is called because of its name: only one that takes what is sent, and that the hub marks as read-only or
//! the user names.

#[path = "cli/support.rs"]
#[expect(dead_code, reason = "this file uses its own part of it")]
mod support;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

use self::support::told;

/// The tools of a hub whose names are ours, and whose meaning is not.
const TOOLS: [&str; 5] = ["ask", "work", "allocate", "echo", "whoami"];

/// The only revision that it speaks.
const VERSION: &str = "2025-11-25";

#[test]
fn tools_that_only_have_our_names_are_never_called() {
    let hub = Hub::started(false);
    let told = hub.run(&["session", "streamable", "routing"]);
    assert_eq!(hub.called(), BTreeSet::new(), "{told}");
    assert!(
        told.contains("needs a call that reports progress (`--call 'NAME {..}'`, or tool count)"),
        "{told}"
    );
    assert!(told.contains("a call that reports progress ("), "the last line says what to offer: {told}");
    let line = "not called, because the hub does not mark them as read-only (`readOnlyHint`): `whoami`, `echo`, `allocate`; if calls do \
                no harm, add `--tool whoami --tool echo --tool allocate`";
    assert_eq!(told.matches(line).count(), 1, "{told}");
    assert!(!told.contains(" FAIL ") && !told.contains(" UNSURE "), "{told}");
}

#[test]
fn the_tool_that_the_user_names_is_called_by_its_own_argument() {
    let hub = Hub::started(false);
    let told = hub.run(&["--tool", "echo", "session/arguments", "session/text-at-any-offset"]);
    assert_eq!(hub.called(), BTreeSet::from(["echo".to_owned()]), "{told}");
    assert_eq!(told.matches(" PASS ").count(), 2, "{told}");
}

#[test]
fn a_tool_that_is_marked_as_read_only_is_called() {
    let hub = Hub::started(true);
    let told = hub.run(&["session/arguments"]);
    assert_eq!(hub.called(), BTreeSet::from(["echo".to_owned()]), "{told}");
    assert_eq!(told.matches(" PASS ").count(), 1, "{told}");
}

#[test]
fn the_name_of_an_unknown_tool_tells_answers_apart() {
    let hub = Hub::started(false);
    let told = hub.run(&["session/neighbours", "session/arguments", "session/cancel"]);
    assert_eq!(hub.called(), BTreeSet::new(), "{told}");
    assert_eq!(told.matches(" PASS ").count(), 3, "{told}");
}

#[test]
fn a_call_that_the_user_names_is_sent_as_it_stands() {
    let hub = Hub::started(false);
    let told = hub.run(&["--call", r#"work {"task": "sweep"}"#, "session/string-ids"]);
    assert_eq!(hub.called(), BTreeSet::from(["work".to_owned()]), "{told}");
    assert!(told.contains("tools of the hub that are called: `work` (`--call`)"), "{told}");
    assert!(!told.contains("at most 200 times"), "the user named it: {told}");
}

#[test]
fn a_call_that_fails_is_not_used() {
    let hub = Hub::started(false);
    let told = hub.run(&["--call", "work", "session/string-ids"]);
    assert!(
        told.contains("`--call work` is not used: the hub answered it with an error, or not at all"),
        "{told}"
    );
}

#[test]
fn a_tool_that_is_marked_as_read_only_is_called_within_a_limit_that_the_run_tells() {
    let hub = Hub::started(true);
    let told = hub.run(&["session/string-ids"]);
    assert!(
        told.contains("tools that the hub marks as read-only are called at most 200 times in this run"),
        "{told}"
    );
}

#[test]
fn a_call_of_a_tool_that_there_is_not_names_the_nearest() {
    let hub = Hub::started(false);
    let told = hub.run(&["--call", "wrok", "session/string-ids"]);
    assert!(told.starts_with("exit code: 2"), "{told}");
    assert!(
        told.contains("error: `--call wrok`: the hub lists no such tool; the nearest is `work`"),
        "{told}"
    );
    assert_eq!(hub.called(), BTreeSet::new(), "{told}");
}

#[test]
fn a_call_that_cannot_be_read_is_told_before_anything_starts() {
    let told = told(&["run", "--call", "search {\"query\":", "ping"]);
    assert!(told.starts_with("exit code: 2"), "{told}");
    assert!(told.contains("error: `--call search {\"query\":`: its arguments are no JSON"), "{told}");
    let told = support::told(&["run", "--call", "@there-is-no-such-file", "ping"]);
    assert!(told.starts_with("exit code: 2") && told.contains("`--call @there-is-no-such-file`"), "{told}");
}

#[test]
fn a_long_list_of_tools_is_read_by_the_survey_and_by_no_cell_that_is_not_about_it() {
    let hub = Hub::with(Shown { more: 2000, ..Shown::default() });
    let told = hub.run(&["session", "routing"]);
    let lists = hub.shown.lists.load(Ordering::Relaxed);
    assert!((1..=2).contains(&lists), "tools/list was asked {lists} times: {told}");
    assert!(told.matches(" PASS ").count() > 5, "{told}");
}

/// A hub of Streamable HTTP without sessions, which notes the tools that are called.
struct Hub {
    addr: String,
    shown: Arc<Shown>,
}

/// What a hub shows, and what was asked of it.
#[derive(Default)]
struct Shown {
    is_read_only: bool,
    /// How many tools it has beside [`TOOLS`].
    more: usize,
    lists: AtomicUsize,
    called: Mutex<BTreeSet<String>>,
}

impl Hub {
    fn started(is_read_only: bool) -> Self {
        Self::with(Shown { is_read_only, ..Shown::default() })
    }

    fn with(shown: Shown) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("some port is free");
        let addr = listener.local_addr().expect("it has an address").to_string();
        let shown = Arc::new(shown);
        let noted = Arc::clone(&shown);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let noted = Arc::clone(&noted);
                thread::spawn(move || serve(client, &noted));
            }
        });
        Self { addr, shown }
    }

    fn run(&self, args: &[&str]) -> String {
        let url = format!("http://{}/mcp", self.addr);
        told(&[&["run", "--url", &url, "--transport", "streamable"][..], args].concat())
    }

    /// Which of its tools were called.
    fn called(&self) -> BTreeSet<String> {
        self.shown.called.lock().expect("no handler panics").clone()
    }
}

/// Answers one request.
fn serve(mut client: TcpStream, shown: &Shown) {
    let mut reader = BufReader::new(client.try_clone().expect("a socket"));
    let mut first = String::new();
    let mut length = 0;
    let mut is_known_version = true;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or_default() == 0 || line.trim().is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').unwrap_or_default();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().unwrap_or_default();
        }
        if name.eq_ignore_ascii_case("mcp-protocol-version") {
            is_known_version = value.trim() == VERSION;
        }
        if first.is_empty() {
            first = line;
        }
    }
    let mut body = vec![0; length];
    let _ = reader.read_exact(&mut body);
    let answer = match serde_json::from_slice::<Value>(&body) {
        _ if !first.starts_with("POST") => head("405 Method Not Allowed", ""),
        Err(_) => head("400 Bad Request", ""),
        Ok(message) if message["jsonrpc"] != "2.0" => head("400 Bad Request", ""),
        Ok(_) if !is_known_version => head("400 Bad Request", ""),
        Ok(message) if message["id"].is_null() || message["method"].is_null() => head("202 Accepted", ""),
        Ok(message) => head("200 OK", &answer(&message, shown).to_string()),
    };
    let _ = client.write_all(answer.as_bytes());
}

fn head(status: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

fn answer(message: &Value, shown: &Shown) -> Value {
    let params = &message["params"];
    let result = match message["method"].as_str() {
        Some("initialize") => json!({
            "protocolVersion": VERSION,
            "capabilities": { "tools": {} },
            "serverInfo": { "name": "a stranger", "version": "1" },
        }),
        Some("ping") => json!({}),
        Some("tools/list") => {
            shown.lists.fetch_add(1, Ordering::Relaxed);
            let more = (0..shown.more).map(|number| listed(&format!("tool-{number}"), false));
            let own = TOOLS.iter().map(|name| listed(name, shown.is_read_only));
            json!({ "tools": own.chain(more).collect::<Vec<_>>() })
        }
        Some("tools/call") => {
            let name = params["name"].as_str().unwrap_or_default();
            if !TOOLS.contains(&name) {
                return error(message, -32602, &format!("Unknown tool: {name}"));
            }
            shown.called.lock().expect("no handler panics").insert(name.to_owned());
            let task = || params["arguments"]["task"].as_str().filter(|_| params["name"] == "work");
            match params["arguments"]["message"].as_str().or_else(task) {
                Some(said) => json!({ "content": [{ "type": "text", "text": format!("Echo: {said}") }] }),
                None => json!({ "content": [{ "type": "text", "text": "no message" }], "isError": true }),
            }
        }
        _ => return error(message, -32601, "Method not found"),
    };
    json!({ "jsonrpc": "2.0", "id": message["id"], "result": result })
}

fn error(message: &Value, code: i64, text: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": message["id"], "error": { "code": code, "message": text } })
}

/// A tool; of them `echo` alone may be marked as read-only.
fn listed(name: &str, is_read_only: bool) -> Value {
    let text = json!({ "type": "string" });
    let (properties, required) = match name {
        "ask" => (json!({ "question": text }), json!(["question"])),
        "work" => (json!({ "task": text }), json!(["task"])),
        "allocate" => (json!({ "mib": { "type": "integer" } }), json!(["mib"])),
        "echo" => (json!({ "message": text }), json!(["message"])),
        _ => (json!({}), json!([])),
    };
    json!({
        "name": name,
        "inputSchema": { "type": "object", "properties": properties, "required": required },
        "annotations": { "readOnlyHint": is_read_only && name == "echo" },
    })
}
