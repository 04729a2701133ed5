//! A wire client's own address on a cluster's network: takes connections, and makes them anew from where it runs.
//!
//! A connection begins with a line that says where to, `10.0.0.7:30800\n`. The relay connects there and answers with
//! its own end of that connection, `+10.0.0.9:41234\n`, or with why there is none, `-Connection refused\n`. From then
//! on bytes pass both ways; an end becomes an end and a reset a reset, since clients tell them apart.
//!
//! Its first line of output is the address at which it listens.
//!
//! Synchronous and without a runtime: there is one process per client, and it must start at once.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::thread::Builder;
use std::time::Duration;

use socket2::SockRef;

/// Where it listens when nothing else is said.
const LISTEN: &str = "0.0.0.0:7000";
/// The longest first line.
const LINE: usize = 64;
/// How long a connection may take; the client's own limit is shorter.
const CONNECT: Duration = Duration::from_secs(10);
/// Enough for a thread that copies.
const STACK: usize = 128 * 1024;
const CHUNK: usize = 16 * 1024;

fn main() -> ExitCode {
    let listen = std::env::args().nth(1).unwrap_or_else(|| LISTEN.to_owned());
    let listener = match TcpListener::bind(&listen) {
        Ok(listener) => listener,
        Err(error) => {
            let _ = writeln!(io::stderr(), "relay: cannot listen on {listen}: {error}");
            return ExitCode::FAILURE;
        }
    };
    if let Ok(addr) = listener.local_addr() {
        let _ = writeln!(io::stdout(), "{addr}");
    }
    for client in listener.incoming().flatten() {
        // Without a thread the connection is dropped, and the client sees that.
        let _ = Builder::new().stack_size(STACK).spawn(move || serve(client));
    }
    ExitCode::SUCCESS
}

fn serve(mut client: TcpStream) {
    let _ = client.set_nodelay(true);
    let connected = wanted(&mut client).and_then(|to| TcpStream::connect_timeout(&to, CONNECT));
    let server = match connected.and_then(|server| Ok((server.local_addr()?, server))) {
        Ok((from, server)) => {
            let _ = server.set_nodelay(true);
            if writeln!(client, "+{from}").is_err() {
                return;
            }
            server
        }
        Err(error) => {
            let _ = writeln!(client, "-{error}");
            return;
        }
    };
    let (Ok(client_back), Ok(server_back)) = (client.try_clone(), server.try_clone()) else { return };
    let back = Builder::new().stack_size(STACK).spawn(move || pass(server_back, client_back));
    pass(client, server);
    if let Ok(back) = back {
        let _ = back.join();
    }
}

/// The address of the first line.
fn wanted(client: &mut TcpStream) -> io::Result<SocketAddr> {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < LINE {
        client.read_exact(&mut byte)?;
        if byte == *b"\n" {
            let text = String::from_utf8_lossy(&line);
            return text.parse().map_err(|_| io::Error::other(format!("`{text}` is no address")));
        }
        line.extend(byte);
    }
    Err(io::Error::other("the first line is too long"))
}

/// Copies one way until the end, which it passes on, or until one side breaks: then it breaks both.
fn pass(mut from: TcpStream, mut to: TcpStream) {
    let mut chunk = vec![0; CHUNK];
    let copied: io::Result<()> = (|| {
        loop {
            let length = from.read(&mut chunk)?;
            if length == 0 {
                return to.shutdown(Shutdown::Write);
            }
            to.write_all(&chunk[..length])?;
        }
    })();
    if copied.is_err() {
        for stream in [&from, &to] {
            // Closed with a reset when the last handle goes; the other direction is woken by the shutdown.
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
            let _ = stream.shutdown(Shutdown::Read);
        }
    }
}
