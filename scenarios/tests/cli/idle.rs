//! A proxy that ends a stream on which nothing was said for a while.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use super::support::{RunningHub, told};

/// How long this proxy waits for the next byte: longer than a run is silent by itself.
const PATIENCE: Duration = Duration::from_secs(5);

#[test]
fn a_proxy_that_ends_silent_streams_is_found_by_a_longer_silence() {
    let hub = RunningHub::started();
    let url = format!("http://{}/sse", proxy(hub.addr.clone()));
    let run = ["run", "--url", &url, "--transport", "sse", "idle-stream"];
    let short = told(&run);
    assert!(short.starts_with("exit code: 0"), "{short}");
    let long = told(&[&run[..], &["--idle", "8"]].concat());
    assert!(long.starts_with("exit code: 1"), "{long}");
    assert!(long.contains("(idle-stream-survives, hub contract)") && long.contains("--idle 8"), "{long}");
}

/// Where the proxy listens; it goes with the process.
fn proxy(to: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("some port is free");
    let addr = listener.local_addr().expect("it has an address");
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(&to) else { continue };
            let (Ok(client_too), Ok(server_too)) = (client.try_clone(), server.try_clone()) else { continue };
            thread::spawn(move || drop(io::copy(&mut &client_too, &mut &server_too)));
            thread::spawn(move || back(server, &client));
        }
    });
    addr
}

fn back(mut server: TcpStream, mut client: &TcpStream) {
    let mut chunk = [0; 4096];
    let _ = server.set_read_timeout(Some(PATIENCE));
    while let Ok(length @ 1..) = server.read(&mut chunk) {
        if client.write_all(&chunk[..length]).is_err() {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}
