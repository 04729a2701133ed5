//! Does the steps of a case on a stage, and notes in the transcript what the model says of each. Asserts nothing.

use std::time::Duration;

use futures_util::future::join_all;
use harness::cluster::Condition;
use harness::plan::{Tool, Transport};
use harness::run::Stage;
use harness::run::stage::Holder;
use harness::wire::{Pending, Progress, Raw, Session, Target};
use scenarios::fuzz::{Must, Note};
use serde_json::{Value, json};

use crate::model::{Model, Reached};
use crate::post::Post;
use crate::step::{Case, Meanwhile, Step, Way};
use crate::twist::Twist;

/// How long a call is held: longer than a kill takes, and shorter than a replica has to end gracefully.
const HOLD: Duration = Duration::from_millis(700);

/// How long a call is held that is to be cancelled.
const LONG: Duration = Duration::from_secs(60);

/// How many calls run at most: each is waited for.
const RUNNING: usize = 4;

/// How many sessions there are at most.
const SESSIONS: usize = 6;

/// How often replicas are killed, and how often the cluster is scaled, at most: each takes seconds.
const KILLS: usize = 2;
const SCALES: usize = 2;

/// A case on its way.
struct Run<'s> {
    stage: &'s Stage,
    model: Model,
    holders: Vec<Holder>,
    running: Vec<Running>,
    /// How many requests have names so far.
    named: usize,
    /// The keys that calls were counted under.
    keys: Vec<String>,
    wanted: usize,
    /// The replicas that were killed and are not known to be back, and how often each had been restarted before.
    killed: Vec<(String, u32)>,
    kills: usize,
    scales: usize,
}

/// A call that runs.
struct Running {
    probe: String,
    session: usize,
    via: String,
    pending: Pending,
    must: Must,
    wire: Session,
}

/// Does every step, then looks at what is left.
pub(crate) async fn drive(stage: &Stage, case: &Case) -> anyhow::Result<()> {
    let replicas = stage.replicas();
    let mut run = Run {
        stage,
        model: Model::new(case.era, &replicas),
        holders: Vec::new(),
        running: Vec::new(),
        named: 0,
        keys: Vec::new(),
        wanted: replicas.len(),
        killed: Vec::new(),
        kills: 0,
        scales: 0,
    };
    for (nth, step) in case.steps.iter().enumerate() {
        stage.step(&format!("{}. {step:?}", nth + 1));
        run.step(step).await?;
    }
    run.finish().await
}

impl Run<'_> {
    async fn step(&mut self, step: &Step) -> anyhow::Result<()> {
        match step {
            Step::Open(way) => self.open(*way).await,
            Step::Call(session, way) => {
                if let Some(session) = self.session(*session).await {
                    self.call(session, *way).await;
                }
            }
            Step::Burst(way) => self.burst(*way).await,
            Step::Hold(session, way) => {
                if let Some(session) = self.session(*session).await {
                    self.hold(session, *way).await;
                }
            }
            Step::Cancel(call, way) => self.cancel(*call, *way).await,
            Step::Repeat(session, way) => {
                if let Some(session) = self.session(*session).await {
                    self.repeat(session, *way).await;
                }
            }
            Step::Finish(call) => {
                if !self.running.is_empty() {
                    let call = call % self.running.len();
                    wait_for(self.running.remove(call)).await;
                }
            }
            Step::Listen(session, way) => {
                if let Some(session) = self.session(*session).await {
                    let (_, target) = self.target(Some(session), *way);
                    self.holders[session].session.listen(&target).await;
                }
            }
            Step::Post(session, way, post) => {
                if let Some(session) = self.session(*session).await {
                    self.post(session, *way, post).await;
                }
            }
            Step::Twist(session, way, twists) => {
                if let Some(session) = self.session(*session).await {
                    self.twist(session, *way, twists).await;
                }
            }
            Step::End(session, way) => {
                if let Some(session) = self.session(*session).await {
                    self.end(session, *way).await;
                }
            }
            Step::Kill(replica, meanwhile) => self.kill(*replica, *meanwhile).await?,
            Step::Scale(count, meanwhile) => self.scale(*count, *meanwhile).await?,
            Step::Settle => self.settle().await?,
        }
        Ok(())
    }

    // === names, ways and notes ===

    fn name(&mut self, what: &str) -> String {
        self.named += 1;
        format!("{}-{what}", self.named)
    }

    fn note(&self, of: &str, must: Must) {
        note(self.stage, of, must);
    }

    /// Where a request of a session goes.
    fn target(&self, session: Option<usize>, way: Way) -> (Reached, Target) {
        let owner = session.and_then(|session| self.model.owner(session));
        let others = || self.model.replicas().filter(|replica| Some(*replica) != owner);
        let replica = match way {
            Way::Owner => owner.or_else(|| self.model.replicas().next()),
            Way::Other => others().last(),
            Way::Service => None,
        };
        let aimed = replica.and_then(|replica| Some((replica, self.stage.at(replica).ok()?)));
        match aimed {
            Some((replica, target)) => (Reached::Replica(replica.to_owned()), target),
            None => (Reached::Service, self.stage.service()),
        }
    }

    /// The session of this number; the first step that needs one opens one.
    async fn session(&mut self, number: usize) -> Option<usize> {
        if self.holders.is_empty() {
            self.open(Way::Owner).await;
        }
        (!self.holders.is_empty()).then(|| number % self.holders.len())
    }

    // === what clients do ===

    async fn open(&mut self, way: Way) {
        if self.holders.len() >= SESSIONS {
            return;
        }
        let (reached, target) = self.target(None, way);
        let client = self.stage.client("client").await;
        if let Some(must) = self.model.opening(&reached) {
            self.note(client.name(), must);
        }
        if let Some(holder) = self.stage.open_as(client, "client", &target).await {
            self.model.opened(holder.owner.clone());
            self.holders.push(holder);
        }
    }

    async fn call(&mut self, session: usize, way: Way) {
        let echo = self.echo(session, way);
        echo.send().await;
    }

    /// A call to `echo`, with the note of what must become of it.
    fn echo(&mut self, session: usize, way: Way) -> Echo {
        let (reached, target) = self.target(Some(session), way);
        let probe = self.name("echo");
        let text = format!("{probe} of {}", self.holders[session].client.name());
        let params = self.stage.tool_call(Tool::Echo, &json!({ "text": text }));
        self.note(&probe, self.model.call(session, &reached, text));
        let wire = self.holders[session].session.clone();
        let raw = wire.raw("tools/call", params).named(probe.clone());
        Echo { probe, session, reached, target, raw, wire }
    }

    fn echoes(&mut self, way: Way) -> Vec<Echo> {
        (0..self.holders.len()).map(|session| self.echo(session, way)).collect()
    }

    async fn burst(&mut self, way: Way) {
        let echoes = self.echoes(way);
        join_all(echoes.iter().map(Echo::send)).await;
    }

    async fn hold(&mut self, session: usize, way: Way) {
        if self.running.len() >= RUNNING {
            wait_for(self.running.remove(0)).await;
        }
        // Who carries it must be known: it may be killed.
        let (Reached::Replica(via), target) = self.target(Some(session), way) else { return };
        let probe = self.name("tally");
        let params = json!({ "key": probe, "hold_ms": u64::try_from(HOLD.as_millis()).unwrap_or(0) });
        let params = self.stage.tool_call(Tool::Tally, &params);
        let must = self.model.call(session, &Reached::Replica(via.clone()), "1".to_owned());
        self.note(&probe, must.clone());
        let wire = self.holders[session].session.clone();
        let raw = wire.raw_asking("tools/call", params, Progress::Asked).named(probe.clone());
        let Some(mut pending) = wire.send_held(&target, raw, HOLD).await else { return };
        self.keys.push(probe.clone());
        if matches!(must, Must::Answer(_)) {
            // From here on it needs its owner only, whoever passed it on: the model counts on that.
            pending.underway(self.stage.timeouts().answer).await;
            self.running.push(Running { probe, session, via, pending, must, wire });
        } else {
            pending.outcome().await;
        }
    }

    async fn cancel(&mut self, call: usize, way: Way) {
        let count = self.running.len();
        let Some(call) = call.checked_rem(count) else { return };
        let running = self.running.remove(call);
        let (reached, target) = self.target(Some(running.session), way);
        let probe = self.name("cancellation");
        self.note(&probe, self.model.notification(running.session, &reached));
        self.note(&running.probe, Must::Stop);
        let which = json!({ "requestId": running.pending.id() });
        let wire = &self.holders[running.session].session;
        wire.send(&target, wire.raw_notification("notifications/cancelled", which).named(probe)).await;
        wait_for(Running { must: Must::Stop, ..running }).await;
    }

    /// The first call runs until it is cancelled: were it over, its id would be free.
    async fn repeat(&mut self, session: usize, way: Way) {
        let (reached, target) = self.target(Some(session), way);
        if self.stage.transport() == Transport::Stateless || !self.model.is_answered(session, &reached) {
            return;
        }
        let (first, second, last) = (self.name("first"), self.name("second"), self.name("cancellation"));
        let params = json!({ "key": first, "hold_ms": u64::try_from(LONG.as_millis()).unwrap_or(0) });
        let params = self.stage.tool_call(Tool::Tally, &params);
        let holder = self.holders[session].clone();
        let wire = &holder.session;
        self.note(&first, Must::Stop);
        let raw = wire.raw_asking("tools/call", params, Progress::Asked).named(first);
        let Some(mut pending) = wire.send_held(&target, raw, LONG).await else { return };
        pending.progressed(self.stage.timeouts().answer).await;
        self.note(&second, Must::Refuse);
        let again = json!({ "jsonrpc": "2.0", "id": pending.id(), "method": "ping" });
        let raw = wire.raw("ping", Value::Null).carrying(again.to_string()).named(second);
        holder.client.exchange(&target, raw).await;
        self.note(&last, Must::Accept);
        let which = json!({ "requestId": pending.id() });
        wire.send(&target, wire.raw_notification("notifications/cancelled", which).named(last)).await;
        if self.stage.transport() == Transport::Streamable {
            pending.outcome().await;
        }
    }

    async fn post(&mut self, session: usize, way: Way, post: &Post) {
        let (reached, target) = self.target(Some(session), way);
        let probe = self.name("post");
        self.note(&probe, self.model.odd(session, &reached));
        let holder = &self.holders[session];
        let raw = post.raw(&holder.session, self.named).named(probe);
        holder.client.exchange(&target, raw).await;
    }

    async fn twist(&mut self, session: usize, way: Way, twists: &[Twist]) {
        let (reached, target) = self.target(Some(session), way);
        let probe = self.name("twisted");
        let holder = &self.holders[session];
        let mut raw = holder.session.raw("tools/list", json!({})).named(probe.clone());
        let mut must = self.model.odd(session, &reached);
        for twist in twists {
            let Some(twisted) = twist.of(raw.clone(), &holder.session) else { continue };
            raw = twisted;
            if twist.is_of_no_session() {
                must = self.model.unknown(&reached);
            }
        }
        self.note(&probe, must);
        holder.client.exchange(&target, raw).await;
    }

    async fn end(&mut self, session: usize, way: Way) {
        let (reached, target) = self.target(Some(session), way);
        let holder = self.holders[session].clone();
        for running in self.running.iter_mut().filter(|running| running.session == session) {
            running.must = Must::Stop;
            note(self.stage, &running.probe, Must::Stop);
        }
        if let Some(must) = self.model.closing(session, &reached) {
            self.note(holder.client.name(), must);
        }
        holder.session.end(&target).await;
        if self.model.ended(session, &reached) && self.stage.transport() == Transport::Sse {
            // The end of a stream is not answered: the hub hears of it a moment later.
            self.stage.until_refused(&holder.session, &target, self.stage.timeouts().answer).await;
        }
    }

    // === what becomes of replicas ===

    async fn kill(&mut self, replica: usize, meanwhile: Meanwhile) -> anyhow::Result<()> {
        let up = self.model.replicas().filter(|replica| self.model.is_up(replica));
        let up: Vec<String> = up.map(str::to_owned).collect();
        let Some(which) = replica.checked_rem(up.len()).filter(|_| self.kills < KILLS) else {
            return Ok(());
        };
        self.kills += 1;
        let killed = &up[which];
        let restarts = self.stage.cluster().replica(killed)?.restarts;
        let echoes = self.echoes_amid(meanwhile);
        let (done, _) =
            tokio::join!(self.stage.cluster().kill(killed), join_all(echoes.iter().map(Echo::send)));
        done?;
        self.excuse(&echoes, std::slice::from_ref(killed));
        let is_owed = |running: &&mut Running| running.must != Must::Stop;
        for running in self.running.iter_mut().filter(is_owed) {
            if let Some(must) = self.model.running_at_kill(running.session, &running.via, killed) {
                running.must = must;
                note(self.stage, &running.probe, running.must.clone());
            }
        }
        self.model.killed(killed);
        self.killed.push((killed.clone(), restarts));
        Ok(())
    }

    async fn scale(&mut self, count: usize, meanwhile: Meanwhile) -> anyhow::Result<()> {
        if count == self.wanted || self.scales >= SCALES {
            return Ok(());
        }
        self.scales += 1;
        self.wanted = count;
        let before = self.stage.told_to_go();
        let echoes = self.echoes_amid(meanwhile);
        let (done, _) =
            tokio::join!(self.stage.cluster().scale(count), join_all(echoes.iter().map(Echo::send)));
        done?;
        let told = self.stage.told_to_go();
        let going: Vec<String> = told.into_iter().filter(|replica| !before.contains(replica)).collect();
        self.excuse(&echoes, &going);
        for replica in &going {
            self.model.told_to_go(replica);
        }
        Ok(())
    }

    fn echoes_amid(&mut self, meanwhile: Meanwhile) -> Vec<Echo> {
        match meanwhile {
            Meanwhile::Nothing => Vec::new(),
            Meanwhile::Calls => self.echoes(Way::Other),
        }
    }

    /// Calls that needed one of these, or may have, are owed an end. All others are owed what they were.
    fn excuse(&self, echoes: &[Echo], going: &[String]) {
        let needs_one = |echo: &&Echo| {
            let is_carried = match &echo.reached {
                Reached::Replica(replica) => going.contains(replica),
                Reached::Service => !going.is_empty(),
            };
            is_carried
                || self.model.owner(echo.session).is_some_and(|owner| going.iter().any(|gone| gone == owner))
        };
        for echo in echoes.iter().filter(needs_one) {
            self.note(&echo.probe, Must::End);
        }
    }

    async fn settle(&mut self) -> anyhow::Result<()> {
        if self.model.is_calm() && self.model.replicas().count() == self.wanted {
            return Ok(());
        }
        let told = self.stage.told_to_go();
        for (replica, more_than) in std::mem::take(&mut self.killed) {
            // Until its end is noticed, a replica that was killed counts as ready.
            if !told.contains(&replica) {
                self.stage.wait(Condition::Restarted { replica, more_than }).await?;
            }
        }
        self.stage.wait(Condition::Ready(self.wanted)).await?;
        self.model.settled(&self.stage.replicas());
        Ok(())
    }

    // === the end ===

    /// Everything that runs comes to its end, the cluster to rest; then every session is asked along every way, and a new one is
    /// opened at each replica.
    async fn finish(mut self) -> anyhow::Result<()> {
        self.stage.step("the end");
        for running in std::mem::take(&mut self.running) {
            wait_for(running).await;
        }
        self.settle().await?;
        for way in [Way::Owner, Way::Other, Way::Service] {
            self.burst(way).await;
        }
        let replicas = self.stage.replicas();
        for replica in &replicas {
            let reached = Reached::Replica(replica.clone());
            let (client, target) = (self.stage.client("new").await, self.stage.at(replica)?);
            if let Some(must) = self.model.opening(&reached) {
                self.note(client.name(), must);
            }
            let Some(holder) = self.stage.open_as(client, "new", &target).await else { continue };
            self.model.opened(holder.owner.clone());
            self.holders.push(holder);
            self.call(self.holders.len() - 1, Way::Owner).await;
        }
        if !self.keys.is_empty() {
            self.stage.read_tallies(&self.keys, None).await?;
        }
        Ok(())
    }
}

/// A call to `echo` that is ready to be sent.
struct Echo {
    probe: String,
    session: usize,
    reached: Reached,
    target: Target,
    raw: Raw,
    wire: Session,
}

impl Echo {
    async fn send(&self) {
        self.wire.send(&self.target, self.raw.clone()).await;
    }
}

// === helpers ===

fn note(stage: &Stage, of: &str, must: Must) {
    stage.step(&Note { of: of.to_owned(), must }.to_string());
}

/// Waits for what becomes of a call. One that was called off over HTTP+SSE is never told of again.
async fn wait_for(running: Running) {
    let Running { pending, must, wire, .. } = running;
    if must == Must::Stop && wire.transport() == Transport::Sse {
        return;
    }
    pending.outcome().await;
}
