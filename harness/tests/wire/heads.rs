//! What a scenario may change about a request as HTTP: spelling, the user's headers, and encodings.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use harness::transcript::{Body, End};
use harness::wire::{Dialect, Raw, Spelling};

use crate::fake::{Fake, bodies, client, client_with, ends, finished, frames, requests, short};

fn post() -> Raw {
    Raw::new("POST", "/mcp").with("content-type", "application/json").carrying("{\"Name: x\":1}")
}

#[tokio::test]
async fn header_names_are_spelled_as_asked_and_recorded_so() {
    let dialect =
        Dialect { headers: vec![("authorization".to_owned(), "Bearer t".to_owned())], ..Dialect::default() };
    let (client, recorder) = client_with("127.42.30.2", short(), dialect);
    let fake = Fake::start("127.42.30.1", |mut conn| async move {
        let seen = conn.head().await.unwrap();
        let names: Vec<String> = seen.headers.into_iter().map(|(name, _)| name).collect();
        let body = names.join(" ");
        conn.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())).await;
    })
    .await;
    for (spelling, expected) in [
        (Spelling::Lower, "host user-agent content-type authorization content-length"),
        (Spelling::Title, "Host User-Agent Content-Type Authorization Content-Length"),
        (Spelling::Upper, "HOST USER-AGENT CONTENT-TYPE AUTHORIZATION CONTENT-LENGTH"),
    ] {
        let answer = client.exchange(&fake.target(), post().spelled(spelling)).await;
        assert_eq!(answer.body, Body::Text(expected.to_owned()));
        let request = requests(&recorder.entries()).pop().unwrap();
        let names: Vec<&str> = request.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names.join(" "), expected);
    }
    finished(&recorder).await;
}

#[tokio::test]
async fn a_header_of_the_user_can_be_withheld() {
    let headers = [("Authorization", "Bearer t"), ("x-gateway", "g")];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let (client, recorder) = client_with("127.42.30.4", short(), Dialect { headers, ..Dialect::default() });
    let fake = Fake::start("127.42.30.3", |mut conn| async move {
        let seen = conn.request().await.unwrap();
        let status = match (seen.header("authorization"), seen.header("x-gateway")) {
            (None, Some("g")) => 200,
            _ => 400,
        };
        conn.write(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n")).await;
    })
    .await;
    let answer = client.exchange(&fake.target(), post().withholding("authorization")).await;
    assert_eq!(answer.status, Some(200));
    let request = requests(&finished(&recorder).await).remove(0);
    assert_eq!(request.header("authorization"), None);
}

#[tokio::test]
async fn a_compressed_stream_is_read_as_it_is_flushed() {
    let (client, recorder) = client("127.42.30.6");
    let fake = Fake::start("127.42.30.5", |mut conn| async move {
        conn.request().await;
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\n\r\n";
        conn.write(head).await;
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(b"data: 1\n\n").unwrap();
        encoder.flush().unwrap();
        let told = std::mem::take(encoder.get_mut());
        conn.write(told).await;
        // The client closes as soon as it has read that.
        conn.closed().await;
    })
    .await;
    let request = Raw::new("POST", "/mcp").with("accept-encoding", "gzip");
    let target = fake.target();
    let reading = client.exchange(&target, request);
    let told = async {
        while frames(&recorder.entries()).is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        answer = reading => panic!("the stream has no end: {answer:?}"),
        () = told => {}
    }
    assert_eq!(frames(&finished(&recorder).await)[0].data.as_deref(), Some("1"));
}

#[tokio::test]
async fn of_an_unknown_encoding_only_the_time_is_known_and_what_was_not_asked_for_stays() {
    let (client, recorder) = client("127.42.30.8");
    let fake = Fake::saying(
        "127.42.30.7",
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: br\r\nContent-Length: 4\r\n\r\n\x01\x02\n\n",
    )
    .await;
    let request = || Raw::new("POST", "/mcp");
    client.exchange(&fake.target(), request().with("accept-encoding", "gzip, br")).await;
    let entries = finished(&recorder).await;
    assert_eq!(frames(&entries)[0].comments, ["4 bytes of br"]);
    assert_eq!(ends(&entries), [End::Complete]);
    let fake = Fake::saying(
        "127.42.30.9",
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nhi",
    )
    .await;
    client.exchange(&fake.target(), request()).await;
    assert_eq!(bodies(&finished(&recorder).await), [Body::Text("hi".to_owned())]);
}
