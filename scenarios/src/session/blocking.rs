//! A tool that runs, and what other clients notice of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::{FutureExt, join, join_all};
use harness::check::{Check, HUB_CONTRACT, Judgement, Level};
use harness::cluster::manifest::ProbeKind;
use harness::plan::{Need, Outline, Transport};
use harness::run::{Scenario, Setup, Stage};
use harness::transcript::history::{At, Call, History};
use harness::transcript::normal::SPARE;
use harness::wire::{Outcome, Raw};
use serde_json::{Value, json};

use super::EVERY_TRANSPORT;

/// The name of the call that takes its time.
const HELD: &str = "held";

/// The name of what another client asks meanwhile.
const MEANWHILE: &str = "meanwhile";

/// How the name of a question begins that a probe would ask; which probe, and how long it waits, follow.
const PROBE: &str = "path of the probe";

/// How long the call takes.
const HOLD: Duration = Duration::from_secs(4);

/// So long after it was sent the call runs, and so long before its end it still does: what was answered before may have come first,
/// and a process that was blocked answers all that waited in any order.
const RUNS: Duration = Duration::from_secs(1);

/// Between two questions of one client.
const BEAT: Duration = Duration::from_millis(250);

/// A tool that runs holds nobody up.
pub const TOOL_BLOCKS_OTHERS: Scenario = Scenario {
    outline: Outline {
        id: "session/tool-blocks-others",
        affinities: &[],
        transports: EVERY_TRANSPORT,
        needs: &[Need::SlowCall],
    },
    title: "while a tool runs for one client, the same process answers other clients and the kubelet's probes",
    why: "A tool that waits in the server's only event loop (`requests`, `time.sleep`, a database driver) stops every session, and the \
          kubelet too: the liveness probe fails, the pod restarts, and all its sessions are gone.",
    spec: &[HUB_CONTRACT],
    remedy: "hub: run what blocks in a thread (Python: `await anyio.to_thread.run_sync(..)`, or `async def` with an asynchronous client; \
             Node: a worker). Affinity and more replicas do not help",
    guide: None,
    setup: Setup::ONE_REPLICA,
    checks: &[&OTHERS_ANSWERED_MEANWHILE],
    drive: |stage| blocking(stage).boxed(),
};

async fn blocking(stage: &Stage) -> anyhow::Result<()> {
    let target = stage.straight()?;
    let Some(holder) = stage.open("a", &target).await else { return Ok(()) };
    let Some(other) = stage.open(SPARE, &target).await else { return Ok(()) };
    // A hub that is not ours has no manifests.
    let manifests = stage.cluster().manifests().await.ok();
    let asked = [ProbeKind::Readiness, ProbeKind::Liveness].into_iter().filter_map(|kind| {
        let asked = manifests.as_ref()?.asks_by_http(kind)?;
        (asked.timeout < HOLD).then_some((kind, asked))
    });
    let is_over = &AtomicBool::new(false);
    let running = async {
        let session = &holder.session;
        let held = stage.slow_call(HELD, HOLD).unwrap_or_default();
        let call = session.raw("tools/call", held).named(HELD);
        let began = Instant::now();
        if let Some(pending) = session.send_held(&target, call, stage.longest_call().max(HOLD)).await
            && matches!(pending.outcome().await, Outcome::Result(_) | Outcome::Error { .. })
            && began.elapsed() <= HOLD / 2
        {
            stage.not_brought_about(format!(
                "the tool that was to take {} ms was over after {} ms",
                HOLD.as_millis(),
                began.elapsed().as_millis()
            ));
        }
        is_over.store(true, Ordering::Relaxed);
    };
    let asking = async {
        let (method, params) = match stage.transport() {
            Transport::Stateless => (stage.small(), json!({})),
            Transport::Sse | Transport::Streamable => ("ping", Value::Null),
        };
        while !is_over.load(Ordering::Relaxed) {
            stage.ask(&other, &target, MEANWHILE, method, params.clone()).await;
            stage.pause(BEAT).await;
        }
    };
    let probing = join_all(asked.map(|(kind, asked)| {
        let (client, target) = (&other.client, &target);
        async move {
            let name = format!("{PROBE} ({kind}, timeoutSeconds {})", asked.timeout.as_secs());
            while !is_over.load(Ordering::Relaxed) {
                client.exchange(target, Raw::new("GET", &asked.path).named(&name)).await;
                stage.pause(BEAT).await;
            }
        }
    }));
    join(running, join(asking, probing)).await;
    holder.session.end(&target).await;
    other.session.end(&target).await;
    Ok(())
}

// === checks ===

/// Hub contract. What shows a process that is blocked is the order, and no clock: nothing is answered until the tool has ended.
pub const OTHERS_ANSWERED_MEANWHILE: Check = Check {
    id: "others-answered-meanwhile",
    level: Level::Contract,
    sentence: "While a tool runs for one client, the hub must answer other clients, and the probes of the kubelet.",
    source: HUB_CONTRACT,
    remedy: "hub: run what blocks in a thread (Python: `await anyio.to_thread.run_sync(..)`, or `async def` with an asynchronous client)",
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        let calls = history.probed_calls(HELD).filter_map(|call| Some((call, call.outcome.at()?)));
        // A tool that was over sooner held nobody up.
        for (call, over) in calls.filter(|(call, over)| call.sent.until(*over) > HOLD / 2) {
            judgement.judged();
            let answers = history.probed_calls(MEANWHILE).filter_map(|asked| asked.outcome.at());
            if !is_within(answers, call, over) {
                let actual = format!("none until the tool had ended, {}", took(call, over));
                judgement.breach("answers to another client while the tool runs", actual, call.sent);
            }
            for (name, heads) in probed(history) {
                judgement.judged();
                if !is_within(heads.into_iter(), call, over) {
                    let actual = format!("none until the tool had ended, {}", took(call, over));
                    judgement.breach(format!("answers at the {name} while the tool runs"), actual, call.sent);
                }
            }
        }
        judgement
    },
};

/// Whether one of these came while the call ran.
fn is_within(mut answers: impl Iterator<Item = At>, call: &Call<'_>, over: At) -> bool {
    answers.any(|at| call.sent.until(at) > RUNS && at.until(over) > RUNS)
}

fn took(call: &Call<'_>, over: At) -> String {
    format!("after {} ms", call.sent.until(over).as_millis())
}

/// The names of what was asked as a probe would, each with when it was answered.
fn probed<'h>(history: &'h History<'_>) -> Vec<(&'h str, Vec<At>)> {
    let mut probed: Vec<(&str, Vec<At>)> = Vec::new();
    for exchange in history.exchanges.values() {
        let Some(name) = exchange.request.probe.as_deref().filter(|name| name.starts_with(PROBE)) else {
            continue;
        };
        let at = exchange.head.map(|head| head.at);
        match probed.iter_mut().find(|(known, _)| *known == name) {
            Some((_, heads)) => heads.extend(at),
            None => probed.push((name, at.into_iter().collect())),
        }
    }
    probed
}
