//! Single exchanges: what servers do to them, and how that is recorded.

use std::time::{Duration, Instant};

use bytes::Bytes;
use harness::transcript::{Body, End, What};
use harness::wire::{Client, Dialect, REDACTED, Raw};
use tokio::net::TcpSocket;

use crate::fake::{self, Conn, Fake, bodies, client, client_with, ends, finished, frames, short, target};

fn get(target: &str) -> Raw {
    Raw::new("GET", target)
}

fn post(body: impl Into<Bytes>) -> Raw {
    Raw::new("POST", "/mcp").with("content-type", "application/json").carrying(body)
}

async fn end_of(client: &Client, says: impl Into<Vec<u8>>) -> End {
    let fake = Fake::saying("127.42.1.1", says).await;
    client.exchange(&fake.target(), get("/")).await.end
}

#[tokio::test]
async fn each_way_to_end_is_told_apart() {
    let (client, recorder) = client_with("127.42.1.2", short(), Dialect::default());
    let ok = "HTTP/1.1 200 OK\r\n";
    for complete in [
        "Content-Length: 2\r\n\r\nhi",
        "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        "Connection: close\r\n\r\nhi",
        "Content-Length: 0\r\n\r\n",
    ] {
        assert_eq!(end_of(&client, format!("{ok}{complete}")).await, End::Complete, "{complete:?}");
    }
    for cut in [
        "",
        "HTTP/1.1 200 O",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhi",
    ] {
        let end = end_of(&client, cut).await;
        assert!(matches!(end, End::Cut { .. }), "{cut:?}: {end:?}");
    }
    for garbage in [
        "SSH-2.0-OpenSSH_9.2\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "HTTP/1.1 abc\r\n\r\n",
        "HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhi\r\n",
    ] {
        let end = end_of(&client, garbage).await;
        assert!(matches!(end, End::Malformed { .. }), "{garbage:?}: {end:?}");
    }
    finished(&recorder).await;
}

#[tokio::test]
async fn a_reset_is_a_cut() {
    let (client, _) = client("127.42.2.2");
    let fake = Fake::start("127.42.2.1", |mut conn| async move {
        conn.request().await;
        conn.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi").await;
        conn.stream.set_zero_linger().unwrap();
    })
    .await;
    let answer = client.exchange(&fake.target(), get("/")).await;
    assert!(matches!(answer.end, End::Cut { .. }), "{:?}", answer.end);
    assert_eq!(answer.status, Some(200));
}

#[tokio::test]
async fn a_refused_connection_is_an_entry() {
    let (client, recorder) = client("127.42.3.2");
    let socket = TcpSocket::new_v4().unwrap();
    // Bound, so that nobody else listens there.
    socket.bind("127.42.3.1:0".parse().unwrap()).unwrap();
    let answer = client.exchange(&target(socket.local_addr().unwrap()), get("/")).await;
    assert!(matches!(&answer.end, End::Refused { why } if why.contains("refused")), "{:?}", answer.end);
    let entries = finished(&recorder).await;
    assert_eq!(entries.len(), 2);
}

#[tokio::test]
async fn a_source_that_this_machine_lacks_breaks_the_cell() {
    let (client, recorder) = client("203.0.113.7");
    let fake = Fake::saying("127.42.3.1", "").await;
    assert!(matches!(client.exchange(&fake.target(), get("/")).await.end, End::Refused { .. }));
    assert!(finished(&recorder).await.iter().any(|entry| matches!(entry.what, What::Broken { .. })));
}

#[tokio::test]
async fn silence_ends_at_the_limit_and_says_what_was_missing() {
    let (client, recorder) = client_with("127.42.4.2", short(), Dialect::default());
    for (says, missing) in [
        ("", "head"),
        ("HTTP/1.1 200 OK\r\n", "head"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi", "body"),
    ] {
        let fake = Fake::start("127.42.4.1", move |mut conn| async move {
            conn.request().await;
            conn.write(says).await;
            conn.closed().await;
        })
        .await;
        let began = Instant::now();
        let end = client.exchange(&fake.target(), get("/")).await.end;
        assert_eq!(end, End::TimedOut { waiting_for: missing.to_owned(), limit_ms: 600 });
        assert!(began.elapsed() < Duration::from_secs(3));
    }
    finished(&recorder).await;
}

/// A hub that sends without a pause must not outrun the limits.
#[tokio::test]
async fn a_flood_ends() {
    let (client, _) = client_with("127.42.5.2", short(), Dialect::default());
    async fn flood(mut conn: Conn, head: &str, piece: &str) {
        use tokio::io::AsyncWriteExt;
        conn.request().await;
        conn.write(head).await;
        while conn.stream.write_all(piece.as_bytes()).await.is_ok() {}
    }
    let body = Fake::start("127.42.5.1", |conn| flood(conn, "HTTP/1.1 200 OK\r\n\r\n", "xxxxxxxx")).await;
    let end = client.exchange(&body.target(), get("/")).await.end;
    assert!(matches!(end, End::ClosedByClient | End::TimedOut { .. }), "{end:?}");

    let piece = "6\r\ndata: \r\n";
    let line = Fake::start("127.42.5.1", move |conn| flood(conn, fake::STREAM, piece)).await;
    let end = client.exchange(&line.target(), post("{}")).await.end;
    assert!(matches!(end, End::Malformed { .. } | End::TimedOut { .. }), "{end:?}");
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let (client, recorder) = client("127.42.6.2");
    let fake =
        Fake::saying("127.42.6.1", "HTTP/1.1 307 T\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n").await;
    let answer = client.exchange(&fake.target(), get("/sse/")).await;
    assert_eq!((answer.status, answer.header("location")), (Some(307), Some("/other")));
    assert_eq!(fake.accepted(), 1);
    finished(&recorder).await;
}

#[tokio::test]
async fn a_dialect_s_header_is_sent_and_not_recorded() {
    let secret = || ("Authorization".to_owned(), "Bearer top-secret".to_owned());
    let dialect = Dialect { headers: vec![secret()], ..Dialect::default() };
    let (client, recorder) = client_with("127.42.7.2", short(), dialect);
    let fake = Fake::start("127.42.7.1", |mut conn| async move {
        let seen = conn.request().await.unwrap();
        let is_there = seen.header("authorization") == Some("Bearer top-secret");
        conn.write(format!("HTTP/1.1 {} X\r\nContent-Length: 0\r\n\r\n", if is_there { 200 } else { 401 }))
            .await;
    })
    .await;
    assert_eq!(client.exchange(&fake.target(), get("/")).await.status, Some(200));
    let entries = finished(&recorder).await;
    assert!(!format!("{entries:?}").contains("top-secret"));
    let request = fake::requests(&entries).remove(0);
    let names: Vec<_> = request.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["host", "user-agent", "authorization"]);
    assert_eq!(request.headers[2].1, REDACTED);
}

#[tokio::test]
async fn a_probe_s_own_headers_win() {
    let (client, recorder) = client("127.42.8.2");
    let fake = Fake::saying("127.42.8.1", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let mut raw = post("not json");
    raw.headers.push(("Host".to_owned(), "evil.example".to_owned()));
    client.exchange(&fake.target(), raw).await;
    let request = fake::requests(&finished(&recorder).await).remove(0);
    let hosts: Vec<_> = request.headers.iter().filter(|(name, _)| name == "host").collect();
    assert_eq!(hosts, [&("host".to_owned(), "evil.example".to_owned())]);
    assert_eq!(request.body, Some(Body::Text("not json".to_owned())));
}

#[tokio::test]
async fn what_cannot_be_written_is_told_and_not_sent() {
    let (client, recorder) = client("127.42.9.2");
    let fake = Fake::saying("127.42.9.1", "").await;
    let answer = client.exchange(&fake.target(), get("/a b")).await;
    assert!(matches!(answer.end, End::Malformed { .. }));
    assert_eq!(fake.accepted(), 0);
    finished(&recorder).await;
}

#[tokio::test]
async fn a_get_that_opens_a_stream_is_closed_after_its_head() {
    let (client, recorder) = client("127.42.10.2");
    let fake = Fake::start("127.42.10.1", |mut conn| async move {
        conn.request().await;
        conn.write(fake::STREAM).await;
        conn.closed().await;
    })
    .await;
    let answer = client.exchange(&fake.target(), get("/sse")).await;
    assert_eq!((answer.status, answer.end), (Some(200), End::ClosedByClient));
    finished(&recorder).await;
}

#[tokio::test]
async fn the_frames_of_an_answer_are_returned_and_recorded() {
    let (client, recorder) = client("127.42.11.2");
    let says = format!("{}d\r\nevent: x\nid: 1\n\r\n9\r\ndata: y\n\n\r\n0\r\n\r\n", fake::STREAM);
    let says = says.replace("d\r\nevent", "f\r\nevent");
    let fake = Fake::saying("127.42.11.1", says).await;
    let answer = client.exchange(&fake.target(), post("{}")).await;
    assert_eq!(answer.end, End::Complete);
    assert_eq!(answer.frames[0].data.as_deref(), Some("y"));
    assert_eq!(frames(&finished(&recorder).await), answer.frames);
}

#[tokio::test]
async fn long_bodies_are_read_and_kept_short() {
    let (client, recorder) = client("127.42.12.2");
    let body = "x".repeat(100_000);
    let says = format!("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{body}");
    let fake = Fake::saying("127.42.12.1", says).await;
    client.exchange(&fake.target(), post(body)).await;
    let entries = finished(&recorder).await;
    let request = fake::requests(&entries).remove(0);
    for body in [request.body.unwrap(), bodies(&entries).remove(0)] {
        assert!(matches!(body, Body::Long { length: 100_000, .. }));
    }
}

/// A hub that refuses a large body need not read it.
#[tokio::test]
async fn an_answer_that_comes_before_the_body_is_written_is_read() {
    let (client, recorder) = client("127.42.14.2");
    let fake = Fake::start("127.42.14.1", |mut conn| async move {
        conn.head().await;
        conn.write("HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno").await;
        // The client stops writing and closes; reading on avoids a reset that would race with the answer.
        conn.closed().await;
    })
    .await;
    let answer = client.exchange(&fake.target(), post("x".repeat(20_000_000))).await;
    assert_eq!((answer.status, answer.end), (Some(413), End::Complete));
    finished(&recorder).await;
}

#[tokio::test]
async fn a_dropped_exchange_is_closed_by_the_client() {
    let (client, recorder) = client("127.42.13.2");
    let fake = Fake::start("127.42.13.1", |mut conn| async move { conn.closed().await }).await;
    let target = fake.target();
    let exchange = client.exchange(&target, get("/"));
    assert!(tokio::time::timeout(Duration::from_millis(50), exchange).await.is_err());
    assert_eq!(ends(&finished(&recorder).await), [End::ClosedByClient]);
}
