//! The relay, as a client of it sees it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;

/// A relay that ends with this.
struct Relay {
    process: Child,
    addr: SocketAddr,
}

impl Relay {
    fn started() -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_relay"))
            .arg("127.0.0.1:0")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the relay starts");
        let mut line = String::new();
        let out = process.stdout.take().expect("it has an output");
        BufReader::new(out).read_line(&mut line).expect("it says where it listens");
        Self { process, addr: line.trim().parse().expect("an address") }
    }

    /// A connection through it, after its first line.
    fn connect(&self, to: SocketAddr) -> (TcpStream, String) {
        let mut stream = TcpStream::connect(self.addr).expect("the relay takes connections");
        writeln!(stream, "{to}").expect("it reads");
        let mut line = Vec::new();
        let mut byte = [0];
        while byte != *b"\n" {
            stream.read_exact(&mut byte).expect("it answers");
            line.extend(byte);
        }
        (stream, String::from_utf8_lossy(&line).trim_end().to_owned())
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_connection_is_made_anew_and_its_end_is_passed_on() {
    let relay = Relay::started();
    let server = TcpListener::bind("127.0.0.1:0").expect("some port is free");
    let (mut client, said) = relay.connect(server.local_addr().expect("it has an address"));
    let (mut connection, from) = server.accept().expect("it is connected");
    assert_eq!(said, format!("+{from}"));
    client.write_all(b"hi").expect("the relay takes it");
    client.shutdown(std::net::Shutdown::Write).expect("it has an end");
    let mut heard = String::new();
    connection.read_to_string(&mut heard).expect("the end comes");
    assert_eq!(heard, "hi");
    connection.write_all(b"hello").expect("the other direction is open");
    drop(connection);
    let mut heard = String::new();
    client.read_to_string(&mut heard).expect("an end, and no reset");
    assert_eq!(heard, "hello");
}

/// A server may answer what it does not read: `413`, for one.
#[test]
fn an_answer_that_came_before_a_reset_is_passed_on() {
    let relay = Relay::started();
    for _ in 0..20 {
        let server = TcpListener::bind("127.0.0.1:0").expect("some port is free");
        let (mut client, _) = relay.connect(server.local_addr().expect("it has an address"));
        let refusing = thread::spawn(move || {
            let (mut connection, _) = server.accept().expect("it is connected");
            connection.read_exact(&mut [0; 10]).expect("it is asked");
            connection.write_all(b"413").expect("it answers");
            // What is left unread makes this a reset.
        });
        // It may take no more before all is sent.
        let _ = client.write_all(&vec![0; 8 << 20]);
        let mut answer = [0; 3];
        client.read_exact(&mut answer).expect("the answer comes first");
        assert_eq!(&answer, b"413");
        refusing.join().expect("it has answered");
        let after = client.read(&mut [0; 1]);
        assert!(after.as_ref().map_or(true, |length| *length == 0), "{after:?}");
    }
}

#[test]
fn nobody_there_is_told() {
    let relay = Relay::started();
    let nobody = TcpListener::bind("127.0.0.1:0").and_then(|taken| taken.local_addr()).expect("a free port");
    assert!(relay.connect(nobody).1.starts_with("-Connection refused"));
}
