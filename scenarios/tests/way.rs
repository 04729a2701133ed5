//! What stands between a client and a hub is named once, as what it is, with the line that mends it and exit code 1; cells behind it
//! do not apply. Servers of raw bytes play the proxies and the hubs.

#[path = "cli/support.rs"]
#[expect(dead_code, reason = "this file uses its own part of it")]
mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use self::support::{RunningHub, told, told_in};

#[test]
fn a_server_that_wants_to_know_the_caller_is_told_with_the_flag() {
    let addr =
        saying("401 Unauthorized", "www-authenticate: Bearer realm=\"x\"\r\n", "{\"error\":\"no token\"}");
    let told = run(&addr, &[]);
    assert_found(
        &told,
        "survey/usable",
        &["401 Unauthorized", "WWW-Authenticate: Bearer", "--header 'Authorization=Bearer TOKEN'"],
    );
    let told = run(&addr, &["--header", "Authorization=Bearer wrong"]);
    assert_found(&told, "survey/usable", &["the `Authorization` that was given is not accepted"]);
}

#[test]
fn a_redirect_is_told_with_where_it_leads() {
    let told = run(&saying("308 Permanent Redirect", "location: https://mcp.example.com/mcp\r\n", ""), &[]);
    assert_found(&told, "survey/usable", &["308 Permanent Redirect to `https://mcp.example.com/mcp`"]);
}

#[test]
fn a_page_is_told_from_a_hub() {
    let head = "content-type: text/html\r\n";
    let told = run(&saying("200 OK", head, "<html><title>Shop</title>welcome</html>"), &[]);
    assert_found(
        &told,
        "survey/usable",
        &["an HTML page (`Shop`)", "`--sse-path` and `--mcp-path` say where"],
    );
    let told =
        run(&saying("200 OK", head, "<html><title>Sign in</title><input type=\"password\"></html>"), &[]);
    assert_found(&told, "survey/usable", &["a login page", "--header"]);
}

#[test]
fn a_host_that_is_refused_is_named() {
    let addr = server(|request| match request.to_ascii_lowercase().contains("host: localhost") {
        true => answer("406 Not Acceptable", "", "no"),
        false => answer("403 Forbidden", "", "Access is only allowed at localhost:8931"),
    });
    let told = run(&addr, &[]);
    assert_found(&told, "survey/usable", &[&format!("refuses the Host `{addr}`"), "allowed hosts"]);
}

#[test]
fn a_limit_is_waited_for_as_it_says_and_then_told() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let addr = server(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        answer("429 Too Many Requests", "retry-after: 1\r\n", "slow down")
    });
    let told = run(&addr, &["--ready-timeout", "3"]);
    assert_found(
        &told,
        "survey/usable",
        &["429 Too Many Requests slow down, `Retry-After: 1`", "rate limit"],
    );
    let asked = asked.load(Ordering::SeqCst);
    assert!((6..=9).contains(&asked), "3 transports, each asked once a second: {asked}\n{told}");
}

#[test]
fn a_hub_that_is_still_starting_is_waited_for() {
    let hub = RunningHub::started();
    let (to, seen) = (hub.addr.clone(), AtomicUsize::new(0));
    let addr = relay(move |client| {
        if seen.fetch_add(1, Ordering::SeqCst) < 5 {
            let _ = client.write_all(&answer("503 Service Unavailable", "", "starting"));
            return None;
        }
        Some(to.clone())
    });
    let told = run(&addr, &["unknown-session@streamable"]);
    assert!(told.starts_with("exit code: 0") && told.contains("1 passed"), "{told}");
}

#[test]
fn an_endpoint_of_another_origin_is_one_finding_and_bars_its_transport() {
    let hub = foreign_endpoint();
    let began = Instant::now();
    let told = run(&hub, &["--transport", "sse"]);
    assert_found(&told, "survey/usable", &["leads to http://inner:8000", "as a path"]);
    assert!(told.contains("needs a usable way to the hub: see survey/usable@sse"), "{told}");
    assert!(told.contains("1 failed") && began.elapsed() < Duration::from_secs(20), "{told}");
}

#[test]
fn the_survey_leaves_its_transcript_and_says_where() {
    let folder = tempfile::tempdir().expect("a folder");
    let addr = saying("401 Unauthorized", "", "");
    let url = format!("http://{addr}");
    let report = folder.path().join("report.json");
    let json = format!("json={}", report.display());
    let told = told_in(folder.path(), &["run", "--url", &url, "--evidence", "e", "--report", &json]);
    let line = told.lines().find_map(|line| line.trim().strip_prefix("transcript: ")).expect("a transcript");
    let transcript = std::fs::read_to_string(folder.path().join(line)).expect("it is there");
    assert!(transcript.lines().next().expect("a header").contains("\"scenario\":\"survey\""), "{transcript}");
    assert!(transcript.contains("\"status\":401"), "{transcript}");
    let report = std::fs::read_to_string(report).expect("a report");
    let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
    let cells = report["cells"].as_array().expect("cells");
    let survey = cells.iter().find(|cell| cell["scenario"] == "survey/usable").expect("the survey's finding");
    assert_eq!(
        (&survey["verdict"], &survey["findings"][0]["check"]),
        (&"fail".into(), &"unauthorised".into())
    );
    assert!(
        cells.len() > 10 && cells.iter().filter(|cell| cell["verdict"] != "not-applicable").count() == 1,
        "{report}"
    );
}

#[test]
fn nothing_that_listens_is_wrong_input() {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
    let told = run(&free.to_string(), &[]);
    assert!(told.starts_with("exit code: 2") && told.contains("Connection refused"), "{told}");
}

#[test]
fn a_service_that_leads_nowhere_is_told_from_its_manifests() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |service: &str| {
        let manifests = format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: hub}}\nspec:\n  selector: {{matchLabels: {{app: hub}}}}\n  \
             template:\n    metadata: {{labels: {{app: hub}}}}\n    spec:\n      containers: [{{name: hub, image: 'hub:1', \
             ports: [{{containerPort: 8000, name: http}}]}}]\n---\napiVersion: v1\nkind: Service\nmetadata: {{name: hub}}\nspec: \
             {service}\n"
        );
        std::fs::write(folder.path().join("hub.yaml"), manifests).expect("a file");
        let server = "hub:1=python3 -m http.server {port} --bind {host}";
        told_in(
            folder.path(),
            &["run", "--manifests", "hub.yaml", "--image-command", server, "--ready-timeout", "20"],
        )
    };
    let told = run("{selector: {app: other}, ports: [{port: 80, targetPort: http}]}");
    assert_found(&told, "survey/service", &["the Service selects no pod", "`spec.selector: {app: hub}`"]);
    let told = run("{selector: {app: hub}, ports: [{port: 80, targetPort: web}]}");
    assert_found(&told, "survey/service", &["`web`", "is no port of the container", "`targetPort: http`"]);
    let told = run("{selector: {app: hub}, ports: [{port: 80, targetPort: 9}]}");
    assert_found(&told, "survey/service", &["`9`", "is no port of the container"]);
}

/// Exactly one finding, of the survey, and no cell ran.
#[track_caller]
fn assert_found(told: &str, scenario: &str, words: &[&str]) {
    assert!(told.starts_with("exit code: 1"), "{told}");
    assert_eq!(told.matches(" FAIL ").count(), 1, "{told}");
    assert!(told.contains(scenario), "{told}");
    for words in words {
        assert!(told.contains(words), "`{words}` in {told}");
    }
}

fn run(addr: &str, args: &[&str]) -> String {
    let url = format!("http://{addr}");
    told(&[&["run", "--url", &url][..], args].concat())
}

fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\n{headers}connection: close\r\ncontent-length: {length}\r\n\r\n{body}")
        .into_bytes()
}

fn saying(status: &str, headers: &str, body: &str) -> String {
    let answer = answer(status, headers, body);
    server(move |_| answer.clone())
}

/// A server that answers each request so, by what its head says.
fn server(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> String {
    listening(move |mut client| {
        let request = request(&mut client);
        let _ = client.write_all(&answer(&request));
    })
}

/// A server in front of another one, to which it passes a connection on when it is told where that is.
fn relay(to: impl Fn(&mut TcpStream) -> Option<String> + Send + Sync + 'static) -> String {
    listening(move |mut client| {
        let mut first = [0; 65536];
        let length = client.read(&mut first).unwrap_or_default();
        let Some(addr) = to(&mut client) else { return };
        let mut hub = TcpStream::connect(addr).expect("the hub is there");
        let _ = hub.write_all(&first[..length]);
        let (mut from, mut back) =
            (client.try_clone().expect("a socket"), hub.try_clone().expect("a socket"));
        thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut hub);
            let _ = hub.shutdown(std::net::Shutdown::Write);
        });
        let _ = std::io::copy(&mut back, &mut client);
        let _ = client.shutdown(std::net::Shutdown::Both);
    })
}

/// An HTTP+SSE server that calls itself by a name of its own.
fn foreign_endpoint() -> String {
    listening(|mut client| {
        if !request(&mut client).starts_with("GET /sse") {
            let _ = client.write_all(&answer("404 Not Found", "", ""));
            return;
        }
        let _ = client.write_all(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\nevent: endpoint\ndata: \
              http://inner:8000/messages?session_id=1\n\n",
        );
        // Open until the client has seen enough.
        let _ = client.read(&mut [0]);
    })
}

/// A server that does this with every connection, until the test ends; its address.
fn listening(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("some port is free");
    let addr = listener.local_addr().expect("it has an address").to_string();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let serve = Arc::clone(&serve);
            thread::spawn(move || serve(client));
        }
    });
    addr
}

/// The head of a request, and its body taken off the wire.
fn request(client: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") && matches!(client.read(&mut byte), Ok(1)) {
        bytes.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&bytes).into_owned();
    let lower = head.to_ascii_lowercase();
    let length =
        lower.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next()?.parse().ok());
    let _ = client.read_exact(&mut vec![0; length.unwrap_or(0)]);
    head
}
