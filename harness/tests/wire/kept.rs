//! The connection that a session's POSTs may share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use harness::plan::Transport;
use harness::transcript::End;
use harness::wire::{NOTHING_WRITTEN, Outcome};
use serde_json::{Value, json};

use crate::fake::{Conn, Fake, answered, client, ends, finished, lines, result_of};

/// Answers `per_connection` requests on each connection, then closes it.
async fn serve(mut conn: Conn, per_connection: usize, closed: Arc<AtomicUsize>) {
    for _ in 0..per_connection {
        let Some(request) = conn.request().await else {
            return;
        };
        conn.write(match request.body.get("id") {
            Some(_) => answered("200 OK", "", &result_of(&request.body)),
            None => "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n".to_owned(),
        })
        .await;
    }
    drop(conn);
    closed.fetch_add(1, Ordering::SeqCst);
}

async fn hub(ip: &str, per_connection: usize) -> (Fake, Arc<AtomicUsize>) {
    let closed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&closed);
    (Fake::start(ip, move |conn| serve(conn, per_connection, Arc::clone(&count))).await, closed)
}

#[tokio::test]
async fn posts_share_one_connection_from_initialize_on() {
    let (fake, _) = hub("127.43.1.1", 100).await;
    let (client, recorder) = client("127.43.1.2");
    let target = fake.target();
    let session = client.keeping_connections().open(Transport::Streamable, &target).await.unwrap();
    let calls = (0..4).map(|n| {
        let (session, target) = (&session, &target);
        async move { session.call(target, "echo", json!({ "n": n })).await }
    });
    for outcome in futures_util::future::join_all(calls).await {
        assert!(matches!(outcome, Outcome::Result(_)), "{outcome:?}");
    }
    assert_eq!(fake.accepted(), 1);
    let lines = lines(&finished(&recorder).await);
    assert_eq!(lines[0], "POST /mcp fresh");
    assert_eq!(lines[1..], ["POST /mcp kept"; 5]);
}

#[tokio::test]
async fn a_dropped_connection_is_followed_by_a_fresh_one() {
    let (fake, _) = hub("127.43.2.1", 100).await;
    let (client, recorder) = client("127.43.2.2");
    let target = fake.target();
    let session = client.open(Transport::Streamable, &target).await.unwrap();
    session.keep_connection(true);
    for _ in 0..2 {
        session.request(&target, "ping", Value::Null).await;
    }
    session.drop_connection();
    for _ in 0..2 {
        session.request(&target, "ping", Value::Null).await;
    }
    session.keep_connection(false);
    session.request(&target, "ping", Value::Null).await;
    let fresh = "POST /mcp fresh";
    let kept = "POST /mcp kept";
    let lines = lines(&finished(&recorder).await);
    assert_eq!(lines, [fresh, fresh, fresh, kept, fresh, kept, fresh]);
    assert_eq!(fake.accepted(), 5);
}

#[tokio::test]
async fn a_connection_that_the_hub_closed_is_visible_and_replaced() {
    let (fake, closed) = hub("127.43.3.1", 2).await;
    let (client, recorder) = client("127.43.3.2");
    let target = fake.target();
    let session = client.keeping_connections().open(Transport::Streamable, &target).await.unwrap();
    while closed.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    // The client's side of the runtime has to see the FIN, which has arrived.
    tokio::time::timeout(std::time::Duration::from_millis(100), std::future::pending::<()>())
        .await
        .unwrap_err();
    let outcome = session.request(&target, "ping", Value::Null).await;
    assert!(matches!(outcome, Outcome::Result(_)), "{outcome:?}");
    let entries = finished(&recorder).await;
    let expected = ["POST /mcp fresh", "POST /mcp kept", "POST /mcp kept", "POST /mcp fresh"];
    assert_eq!(lines(&entries), expected);
    assert_eq!(ends(&entries)[2], End::Cut { why: NOTHING_WRITTEN.to_owned() });
    assert_eq!(fake.accepted(), 2);
}

/// The request was written, so it may have been executed: it is not sent again.
#[tokio::test]
async fn a_request_that_was_written_is_never_sent_again() {
    let fake = Fake::start("127.43.4.1", |mut conn| async move {
        for _ in 0..2 {
            let Some(request) = conn.request().await else {
                return;
            };
            conn.write(match request.body.get("id") {
                Some(_) => answered("200 OK", "", &result_of(&request.body)),
                None => "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n".to_owned(),
            })
            .await;
        }
        conn.request().await;
    })
    .await;
    let (client, recorder) = client("127.43.4.2");
    let target = fake.target();
    let session = client.keeping_connections().open(Transport::Streamable, &target).await.unwrap();
    let outcome = session.request(&target, "ping", Value::Null).await;
    assert!(matches!(outcome, Outcome::Ended(End::Cut { .. })), "{outcome:?}");
    assert_eq!(fake.accepted(), 1);
    assert_eq!(lines(&finished(&recorder).await).len(), 3);
}

/// A connection that the hub announced to close is not kept, so nothing is recorded as cut.
#[tokio::test]
async fn a_connection_that_the_hub_announced_to_close_is_not_kept() {
    let fake = Fake::start("127.43.5.1", |mut conn| async move {
        let Some(request) = conn.request().await else { return };
        conn.write(match request.body.get("id") {
            Some(_) => answered("200 OK", "Connection: close\r\n", &result_of(&request.body)),
            None => "HTTP/1.1 202 Accepted\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_owned(),
        })
        .await;
    })
    .await;
    let (client, recorder) = client("127.43.5.2");
    let target = fake.target();
    let session = client.keeping_connections().open(Transport::Streamable, &target).await.unwrap();
    assert!(session.request(&target, "ping", Value::Null).await.result().is_some());
    let entries = finished(&recorder).await;
    assert_eq!(lines(&entries), ["POST /mcp fresh"; 3]);
    assert_eq!(ends(&entries), vec![End::Complete; 3]);
}
