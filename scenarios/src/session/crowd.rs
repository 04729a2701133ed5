//! Clients that misbehave, many at a time, and what that costs a client that does not.

pub mod checks;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::{FutureExt, join_all, select};
use futures_util::stream::{StreamExt, iter};
use harness::check::HUB_CONTRACT;
use harness::plan::{Need, Outline, Tool, Transport};
use harness::run::stage::Holder;
use harness::run::{Scenario, Setup, Stage};
use harness::timeouts::CLOSING;
use harness::transcript::normal::SPARE;
use harness::wire::{Client, HalfSaid, Outcome, Pending, Progress, Raw, Session, Target};
use serde_json::{Value, json};

use super::EVERY_TRANSPORT;

/// The name of requests of the clients that behave.
const OTHERS: &str = "others";

/// Between two requests of the others.
const BEAT: Duration = Duration::from_millis(300);

/// How many addresses a crowd comes from.
const ADDRESSES: usize = 10;

// === a client that does not read ===

/// What is counted of the client that does not read.
const UNREAD: &str = "requests of a client that reads no answer";

/// How much text each of its requests carries, in bytes: less than any hub in the field refuses.
const LONG: usize = 80_000;

/// How many of them: on one stream their answers are far more than what systems keep for a reader.
const MANY_LONG: usize = 100;

/// Between two requests of the others meanwhile: a busy hub takes its time until it has written all that is taken.
const FILLED: Duration = Duration::from_secs(1);

/// For so long its client leaves them unread at least: longer than the others ask.
const UNREAD_FOR: Duration = Duration::from_secs(60);

/// How many requests are sent at a time.
const SENT_AT_ONCE: usize = 10;

/// Where each answer has a connection of its own, it has to be longer than what systems keep for one: a hub may refuse this one.
const VERY_LONG: usize = 1_000_000;

/// How many progress notifications are asked for there.
const MUCH_PROGRESS: u64 = 20_000;

/// One client that does not read is not everybody's trouble.
pub const SLOW_READER: Scenario = Scenario {
    outline: Outline { id: "session/slow-reader", affinities: &[], transports: EVERY_TRANSPORT, needs: &[] },
    title: "one client that does not read its answers does not stop the others",
    why: "A laptop is closed while an answer is on its way. In a hub that writes to all streams under one lock, or in one loop that waits \
          for each write, every other user waits until that client's connection times out.",
    spec: &[HUB_CONTRACT],
    remedy: "hub: give every stream a task and a bounded queue of its own; write to no client while a lock is held that others need",
    guide: None,
    setup: Setup::ONE_REPLICA,
    checks: &[&checks::SLOW_READER_ALONE],
    drive: |stage| slow_reader(stage).boxed(),
};

/// What the client that does not read holds open.
#[derive(Default)]
struct Unread {
    session: Option<Session>,
    calls: Vec<Pending>,
}

async fn slow_reader(stage: &Stage) -> anyhow::Result<()> {
    let target = stage.straight()?;
    let Some(other) = stage.open("a", &target).await else { return Ok(()) };
    let (client, attention) = stage.client(SPARE).await.inattentive();
    let mut unread = Unread::default();
    stage.step("a client asks for much and reads no answer");
    if let Ok(session) = client.open(stage.transport(), &target).await {
        session.listen(&target).await;
        attention.stop();
        unread.session = Some(session.clone());
        let asking = ask_much(stage, &session, &target, &mut unread.calls);
        // A hub that is stuck takes no more.
        drop(select(asking.boxed(), stage.pause(stage.timeouts().answer).boxed()).await);
    }
    stage.counted(UNREAD, unread.calls.len(), wanted(stage));
    others(stage, &other, &target, FILLED).await;
    // Until here nothing was read.
    drop((unread, attention));
    other.session.end(&target).await;
    Ok(())
}

/// How many requests the client that does not read sends.
fn wanted(stage: &Stage) -> usize {
    large_requests(stage).len()
}

async fn ask_much(stage: &Stage, session: &Session, target: &Target, calls: &mut Vec<Pending>) {
    let sending = large_requests(stage).into_iter();
    let sending =
        sending.map(|large| session.start(target, large.method, large.params, UNREAD_FOR, large.progress));
    let mut sending = iter(sending).buffered(SENT_AT_ONCE);
    while let Some(call) = sending.next().await {
        calls.push(call);
    }
}

/// A request whose answer is long.
#[derive(Clone)]
struct Large {
    method: &'static str,
    params: Value,
    progress: Progress,
}

/// Requests whose answers are long.
fn large_requests(stage: &Stage) -> Vec<Large> {
    let has_echo = stage.offers(Need::Tool(Tool::Echo));
    let is_stateless = stage.transport() == Transport::Stateless;
    let large = |length: usize| {
        let text = "x".repeat(length);
        let (method, params) = if has_echo {
            ("tools/call", stage.tool_call(Tool::Echo, &json!({ "text": text })))
        } else if is_stateless {
            // There the name of a tool stands in a header, too.
            (stage.small(), json!({}))
        } else {
            // Most hubs repeat the name that they do not know.
            ("tools/call", json!({ "name": text, "arguments": {} }))
        };
        Large { method, params, progress: Progress::No }
    };
    if stage.transport() == Transport::Sse {
        return (0..MANY_LONG).map(|_| large(LONG)).collect();
    }
    let mut requests = Vec::new();
    if stage.offers(Need::Tool(Tool::Count)) {
        let params = stage.tool_call(Tool::Count, &json!({ "n": MUCH_PROGRESS, "interval_ms": 0 }));
        let much = Large { method: "tools/call", params, progress: Progress::Asked };
        requests.extend([much.clone(), much]);
    }
    requests.extend((0..8).map(|_| large(LONG)));
    requests.extend((0..2).map(|_| large(VERY_LONG)));
    requests
}

// === clients that vanish ===

/// What is counted of clients that vanish.
const VANISHED: &str = "clients that opened a session or a stream and vanished";

/// So many vanish while a stream of theirs is open.
const STREAMS: usize = 250;

/// So many vanish in the middle of a request.
const HALVES: usize = 50;

/// So many at a time.
const AT_ONCE: usize = 20;

/// How long clients come and vanish at most.
const COMING: Duration = Duration::from_secs(20);

/// How long the call takes in which a client vanishes where there are no sessions.
const HOLD: Duration = Duration::from_secs(5);

/// Clients that vanish leave nothing behind.
pub const VANISHING_CLIENTS: Scenario = Scenario {
    outline: Outline {
        id: "session/vanishing-clients",
        affinities: &[],
        transports: EVERY_TRANSPORT,
        needs: &[],
    },
    title: "after 300 clients that vanished without a word, the next one is served",
    why: "Clients crash, phones lose their network, scanners come by: nobody says goodbye. A hub that keeps a thread, a permit or a \
          connection for each of them serves nobody after some days.",
    spec: &[HUB_CONTRACT],
    remedy: "hub: free what belongs to a connection when the connection ends, whatever the session's state; bound what one session may keep",
    guide: None,
    setup: Setup::ONE_REPLICA,
    checks: &[&checks::SERVES_AFTER_VANISHED],
    drive: |stage| vanishing(stage).boxed(),
};

async fn vanishing(stage: &Stage) -> anyhow::Result<()> {
    let target = stage.straight()?;
    let crowd = crowd(stage).await;
    stage.step("clients open sessions and streams, and vanish");
    let is_refused = AtomicBool::new(false);
    let vanished = AtomicUsize::new(0);
    let coming = iter((0..STREAMS + HALVES).zip(crowd.iter().cycle())).for_each_concurrent(
        AT_ONCE,
        |(number, client)| {
            let (is_refused, vanished, target) = (&is_refused, &vanished, &target);
            async move {
                if is_refused.load(Ordering::Relaxed) {
                    return;
                }
                // Every second one by a reset, as a process that is killed with unread bytes.
                let client = if number % 2 == 0 { client.unrecorded() } else { client.resetting() };
                let has_come = if number < STREAMS {
                    comes_and_goes(stage, client, target).await
                } else {
                    client.half_say(target, request(stage, &client), |length| length - 8).await.is_some()
                };
                if has_come {
                    vanished.fetch_add(1, Ordering::Relaxed);
                } else {
                    // The others would only wait for the same.
                    is_refused.store(true, Ordering::Relaxed);
                }
            }
        },
    );
    // A hub that takes long for each of them has enough with fewer; the report says how many came.
    drop(select(coming.boxed(), stage.pause(COMING).boxed()).await);
    stage.counted(VANISHED, vanished.into_inner(), STREAMS + HALVES);
    stage.pause(CLOSING).await;
    if let Some(other) = stage.open("a", &target).await {
        stage.ask(&other, &target, OTHERS, stage.small(), json!({})).await;
        other.session.end(&target).await;
    }
    Ok(())
}

/// A request of which half is said: where the era posts to one path, one with a body.
fn request(stage: &Stage, client: &Client) -> Raw {
    let get = client.get(stage.transport());
    if stage.transport() == Transport::Sse {
        return get;
    }
    let post = Raw { method: "POST".to_owned(), ..get }.with("content-type", "application/json");
    post.carrying(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#)
}

/// A client that opens what its era has, and is gone when this returns; false when it got nothing.
async fn comes_and_goes(stage: &Stage, client: Client, target: &Target) -> bool {
    let Ok(session) = client.open(stage.transport(), target).await else { return false };
    if stage.transport() != Transport::Stateless {
        session.listen(target).await;
        return true;
    }
    let role = SPARE.to_owned();
    let holder = Holder { role, client, session, by_chance: false, owner: None };
    match stage.hold(&holder, target, HOLD).await {
        Some(call) => drop(call),
        None => drop(holder.session.start(target, stage.small(), json!({}), HOLD, Progress::No).await),
    }
    true
}

// === heads that never end ===

/// What is counted of heads that never end.
const ENDLESS: &str = "clients that send the head of a request byte by byte";

/// How many there are at once.
const HEADS: usize = 100;

/// Between two bytes of each.
const BYTE: Duration = Duration::from_millis(100);

/// Clients that never finish the head of a request do not stop the others.
pub const ENDLESS_HEADS: Scenario = Scenario {
    outline: Outline {
        id: "session/endless-heads",
        affinities: &[],
        transports: EVERY_TRANSPORT,
        needs: &[],
    },
    title: "100 clients that never finish the head of a request do not stop the others",
    why: "A slow phone and an attacker look alike here. A hub with a thread or a worker for each connection has none left for its users.",
    spec: &[HUB_CONTRACT],
    remedy: "hub: wait for heads without a worker for each, and give up after 10 s; ingress: let it buffer requests",
    guide: None,
    setup: Setup::ONE_REPLICA,
    checks: &[&checks::SERVES_BESIDE_HEADS],
    drive: |stage| endless_heads(stage).boxed(),
};

async fn endless_heads(stage: &Stage) -> anyhow::Result<()> {
    let target = stage.straight()?;
    let crowd = crowd(stage).await;
    stage.step("clients send the heads of requests byte by byte");
    let begun = join_all((0..HEADS).zip(crowd.iter().cycle()).map(|(_, client)| {
        let request = client.get(stage.transport()).with("x-hubcheck", "x".repeat(2000));
        client.half_say(&target, request, |length| length - 2000)
    }));
    let mut heads: Vec<HalfSaid> = begun.await.into_iter().flatten().collect();
    stage.counted(ENDLESS, heads.len(), HEADS);
    let trickle = async {
        loop {
            stage.pause(BYTE).await;
            join_all(heads.iter_mut().map(|head| head.go_on(1))).await;
        }
    };
    let served = async {
        if let Some(other) = stage.open("a", &target).await {
            others(stage, &other, &target, BEAT).await;
            other.session.end(&target).await;
        }
    };
    drop(select(served.boxed(), trickle.map(|never: ()| never).boxed()).await);
    Ok(())
}

// === what they share ===

/// Clients of which nothing is told, from a few addresses.
async fn crowd(stage: &Stage) -> Vec<Client> {
    let mut crowd = Vec::new();
    for _ in 0..ADDRESSES {
        crowd.push(stage.client(SPARE).await);
    }
    crowd
}

/// A client with a session asks three times, after a pause each, and another one opens a session. Nothing more is asked after a
/// silence: each would take as long, and say the same.
async fn others(stage: &Stage, other: &Holder, target: &Target, beat: Duration) {
    for _ in 0..3 {
        stage.pause(beat).await;
        if stage.ask(other, target, OTHERS, stage.small(), json!({})).await == Outcome::Silent {
            return;
        }
    }
    if let Some(late) = stage.open("late", target).await {
        stage.ask(&late, target, OTHERS, stage.small(), json!({})).await;
        late.session.end(target).await;
    }
}
