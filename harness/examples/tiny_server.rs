//! A server that does what tests of the cluster need of a container, good and bad.
//!
//! Listens at HOST:PORT and answers every connection once: `/readyz`, `/healthz`, `/name`, `/allocate/MIB`,
//! `/sick` (healthz fails from then on), `/busy` (readyz fails from then on), `/hang` (answers nothing until the client ends),
//! `/unread` (closes with a reset).

use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

static SICK: AtomicBool = AtomicBool::new(false);
static BUSY: AtomicBool = AtomicBool::new(false);

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let mut anywhere = false;
    let mut deaf = false;
    let mut fixed: Option<u16> = None;
    let mut args = args.iter().map(String::as_str);
    while let Some(arg) = args.next() {
        match arg {
            // Ends with the code that follows.
            "--exit" => {
                say("about to end");
                return ExitCode::from(args.next().and_then(|code| code.parse().ok()).unwrap_or(1));
            }
            // Ends when this variable is missing.
            "--needs" => {
                let name = args.next().unwrap_or_default();
                match env::var(name) {
                    Ok(value) => say(&format!("{name} is {value}")),
                    Err(_) => {
                        say(&format!("{name} is missing"));
                        return ExitCode::FAILURE;
                    }
                }
            }
            // Leaves a process behind that nobody knows the parent of.
            "--litter" => litter(),
            // SIGTERM does nothing.
            "--stubborn" => stay_stubborn(),
            // Has no handler for SIGTERM.
            "--deaf" => deaf = true,
            // Ignores HOST.
            "--loopback" => anywhere = true,
            // Listens at this port of every address, whatever HOST and PORT say.
            "--port" => fixed = args.next().and_then(|port| port.parse().ok()),
            // Becomes ready that many milliseconds after it started.
            "--ready-after" => {
                let ms = args.next().and_then(|ms| ms.parse().ok()).unwrap_or(0);
                BUSY.store(true, Ordering::SeqCst);
                thread::spawn(move || {
                    wait(Duration::from_millis(ms));
                    BUSY.store(false, Ordering::SeqCst);
                });
            }
            _ => {}
        }
    }
    if !deaf {
        end_on_sigterm();
    }
    let host = if anywhere { "127.0.0.1".to_owned() } else { env::var("HOST").unwrap_or_default() };
    let port: u16 = env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(8000);
    let (host, port) = fixed.map_or((host, port), |fixed| ("0.0.0.0".to_owned(), fixed));
    let listener = match TcpListener::bind((host.as_str(), port)) {
        Ok(listener) => listener,
        Err(error) => {
            say(&format!("cannot listen at {host}:{port}: {error}"));
            return ExitCode::FAILURE;
        }
    };
    say(&format!("listening at {host}:{port}"));
    for stream in listener.incoming().flatten() {
        thread::spawn(move || answer(stream));
    }
    ExitCode::SUCCESS
}

fn answer(mut stream: TcpStream) {
    let mut line = String::new();
    // Read by the byte up to here, so that the rest can stay in the socket.
    let mut reader = BufReader::with_capacity(
        1,
        match stream.try_clone() {
            Ok(stream) => stream,
            Err(_) => return,
        },
    );
    if reader.read_line(&mut line).is_err() {
        return;
    }
    if line.starts_with("GET /unread") {
        // Closes with the rest of the request unread.
        let mut beginning = [0; 1];
        let _ = stream.peek(&mut beginning);
        return;
    }
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut header = String::new();
    while reader.read_line(&mut header).is_ok_and(|length| length > 2) {
        header.clear();
    }
    let (status, body) = match path.as_str() {
        "/readyz" if BUSY.load(Ordering::SeqCst) => (503, "still busy".to_owned()),
        "/healthz" if SICK.load(Ordering::SeqCst) => (500, "I am sick".to_owned()),
        "/sick" => (200, SICK.swap(true, Ordering::SeqCst).to_string()),
        "/busy" => (200, BUSY.swap(true, Ordering::SeqCst).to_string()),
        "/name" => (200, env::var("POD_NAME").unwrap_or_default()),
        "/peer" => (200, stream.peer_addr().map(|peer| peer.ip().to_string()).unwrap_or_default()),
        "/hang" => {
            let mut rest = [0; 1];
            let _ = stream.read(&mut rest);
            return;
        }
        _ => match path.strip_prefix("/allocate/").and_then(|mib| mib.parse::<usize>().ok()) {
            Some(mib) => {
                // Written to, so that the pages are really there.
                let kept: &'static mut [u8] = Box::leak(vec![1; mib << 20].into_boxed_slice());
                (200, format!("{}", kept.iter().step_by(4096).map(|byte| usize::from(*byte)).sum::<usize>()))
            }
            None => (200, "ok".to_owned()),
        },
    };
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let _ = stream.write_all((head + &body).as_bytes());
}

/// A grandchild in a session of its own whose parent ended.
fn litter() {
    let orphan = "setsid sh -c 'while :; do sleep 1000; done' & setsid sleep 1000 & exit 0";
    let _ = Command::new("sh").args(["-c", orphan]).stdin(Stdio::null()).status();
}

/// Ends with the code that a shell gives to an end by SIGTERM: as PID 1 a process must do that itself.
#[cfg(unix)]
fn end_on_sigterm() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    let terminated = {
        let _inside = runtime.enter();
        signal(SignalKind::terminate())
    };
    let Ok(mut terminated) = terminated else { return };
    thread::spawn(move || {
        runtime.block_on(terminated.recv());
        std::process::exit(143);
    });
}

#[cfg(not(unix))]
fn end_on_sigterm() {}

#[cfg(not(unix))]
fn stay_stubborn() {}

/// Runs itself from a shell that ignores SIGTERM: an ignored signal stays ignored.
#[cfg(unix)]
fn stay_stubborn() {
    use std::os::unix::process::CommandExt;
    let own = env::current_exe().unwrap_or_default();
    let args: Vec<String> =
        env::args().skip(1).filter(|arg| arg != "--stubborn").chain(["--deaf".to_owned()]).collect();
    let script = "trap '' TERM; exec \"$0\" \"$@\"";
    let error = Command::new("sh").args(["-c", script]).arg(own).args(args).exec();
    say(&format!("cannot become stubborn: {error}"));
}

fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn wait(time: Duration) {
    let (_hold, never) = mpsc::channel::<()>();
    let _ = never.recv_timeout(time);
}
