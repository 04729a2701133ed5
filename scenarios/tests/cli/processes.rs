//! What runs while a command runs: it answers, and ends with it.
#![cfg(target_os = "linux")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use harness::timeouts::SLACK;

use super::support::{SOON, hubcheck, marked, pids_of_hub, told, until};

#[test]
fn ctrl_c_ends_every_replica_and_keeps_what_is_known() {
    let mark = format!("CTRL_C_{}", std::process::id());
    let folder = tempfile::tempdir().expect("a folder");
    let run = Command::new(env!("CARGO_BIN_EXE_hubcheck"))
        .args(["run", "--env", &format!("MARK={mark}"), "--jobs", "1"])
        .args(["stateless-any-replica", "owner-stopped@off-sse"])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("hubcheck starts");
    until("replicas run", Duration::from_secs(300), || marked(&mark) >= 4);
    let kill = Command::new("kill").args(["-INT", &run.id().to_string()]).status();
    assert!(kill.expect("kill runs").success());
    let output = run.wait_with_output().expect("hubcheck ends");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(130), "{told}");
    assert!(told.contains("warning: interrupted; every replica was ended"), "{told}");
    until("no replica is left", Duration::from_secs(2) + SLACK, || marked(&mark) == 0);
}

#[test]
fn a_served_hub_answers_until_ctrl_c() {
    let mark = format!("SERVE_{}", std::process::id());
    let listen = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let mut serve = Command::new(env!("CARGO_BIN_EXE_hubcheck"))
        .args(["serve", "--listen", &listen.to_string(), "--env", &format!("MARK={mark}")])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("hubcheck starts");
    let mut urls = BufReader::new(serve.stdout.take().expect("its output")).lines().map_while(Result::ok);
    for path in ["/sse", "/mcp"] {
        assert_eq!(urls.next(), Some(format!("http://{listen}{path}")));
    }
    let mut ready = TcpStream::connect(listen).expect("it listens");
    ready.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    ready.read_to_string(&mut answer).expect("it answers");
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    assert_eq!(told(&["serve", "--listen", &listen.to_string()]).lines().next(), Some("exit code: 2"));
    let kill = Command::new("kill").args(["-INT", &serve.id().to_string()]).status();
    assert!(kill.expect("kill runs").success());
    let output = serve.wait_with_output().expect("hubcheck ends");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{told}");
    let connections =
        told.lines().rev().take(2).filter_map(|line| line.rsplit(' ').next()?.parse::<u32>().ok());
    assert_eq!(connections.sum::<u32>(), 1, "{told}");
    assert_eq!(marked(&mark), 0, "it ends after its replicas");
}

#[test]
fn a_port_that_is_left_to_chance_is_printed_and_stays() {
    let mark = format!("PORT_0_{}", std::process::id());
    let mut serve = hubcheck(Path::new(env!("CARGO_TARGET_TMPDIR")), &["serve", "--listen", "127.0.0.1:0"])
        .args(["--replicas", "1", "--env", &format!("MARK={mark}")])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("hubcheck starts");
    let mut urls = BufReader::new(serve.stdout.take().expect("its output")).lines().map_while(Result::ok);
    let url = urls.next().expect("a URL");
    let addr = url.trim_start_matches("http://").trim_end_matches("/sse").to_owned();
    let is_ready = || -> std::io::Result<bool> {
        let mut hub = TcpStream::connect(&addr)?;
        hub.write_all(b"GET /readyz HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        hub.read_to_string(&mut answer)?;
        Ok(answer.starts_with("HTTP/1.0 200"))
    };
    assert!(is_ready().expect("it answers"), "{url}");
    // Without endpoints there is no listener; when they are back it is where it was.
    for pid in pids_of_hub(&mark) {
        let kill = Command::new("kill").args(["-KILL", &pid]).status();
        assert!(kill.expect("kill runs").success());
    }
    until("it is gone", SOON, || TcpStream::connect(&addr).is_err());
    until("it is back", SOON, || is_ready().unwrap_or(false));
    let kill = Command::new("kill").args(["-INT", &serve.id().to_string()]).status();
    assert!(kill.expect("kill runs").success());
    assert_eq!(serve.wait().expect("hubcheck ends").code(), Some(0));
}

/// Replicas behind a URL that do not know each other's sessions lose most of them before their tools are told.
#[test]
fn sessions_that_are_lost_behind_a_url_are_a_verdict_and_no_bad_command_line() {
    let mut serve = hubcheck(Path::new(env!("CARGO_TARGET_TMPDIR")), &["serve", "--listen", "127.0.0.1:0"])
        .args(["--env", "SESSIONS=memory"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("hubcheck starts");
    let url = BufReader::new(serve.stdout.take().expect("its output")).lines().map_while(Result::ok).next();
    let url = url.expect("a URL");
    let told = told(&["run", "--url", &url, "session-survives-any-replica"]);
    let kill = Command::new("kill").args(["-INT", &serve.id().to_string()]).status();
    assert!(kill.expect("kill runs").success());
    assert_eq!(serve.wait().expect("hubcheck ends").code(), Some(0));
    assert_eq!(told.lines().next(), Some("exit code: 1"), "{told}");
    assert!(told.contains("note 2 replicas seen"), "{told}");
    for transport in ["sse", "streamable"] {
        let is_judged = |line: &str| line.trim_start().starts_with("FAIL") && line.ends_with(transport);
        assert!(told.lines().any(is_judged), "{told}");
    }
}
