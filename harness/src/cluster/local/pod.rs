//! One pod: a task that plays the kubelet for its one container.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler, Probe};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::backoff::{Backoff, Restarts};
use super::launch::taken_port;
use super::output::Output;
use crate::cluster::companions::Resolver;
use crate::cluster::environment::{Configs, PodFields, environment, expand};
use crate::cluster::inside;
use crate::cluster::probe::{Answer, Purpose, Target};
use crate::cluster::process::{Launching, Process, Signal};
use crate::cluster::reach::Reach;
use crate::cluster::supervisor::{Door, Enforcer, Exit, News as Told, Order, Place};
use crate::transcript::ProcessSeen;

/// What a container has after SIGTERM when its preStop hook took the whole grace: `minimumGracePeriodInSeconds` of kubelets.
const LEAST_GRACE: Duration = Duration::from_secs(2);

/// What a pod tells the controller.
#[derive(Debug)]
pub(crate) enum News {
    Waiting {
        reason: String,
        message: String,
    },
    Running {
        restarts: u32,
        limited: Option<Enforcer>,
        main: u32,
    },
    /// SIGTERM is about to be sent.
    Sigterm {
        main: ProcessSeen,
        is_pid_1: bool,
        below: Vec<ProcessSeen>,
    },
    Ready,
    NotReady,
    Terminated {
        restarts: u32,
        reason: String,
        exit_code: i32,
        by: Option<Enforcer>,
        peak: Option<u64>,
    },
    Event {
        reason: &'static str,
        message: String,
    },
    Probed(String),
    Gone,
}

/// What the controller asks of a pod.
#[derive(Debug)]
pub(crate) enum Command {
    Signal(Signal, oneshot::Sender<io::Result<()>>),
    Delete { grace: Duration },
}

/// Everything a pod needs to run.
pub(crate) struct Pod {
    pub(crate) fields: PodFields,
    pub(crate) container: Container,
    /// The command, with `{host}` and `{port}`.
    pub(crate) argv: Vec<String>,
    pub(crate) cwd: Option<PathBuf>,
    pub(crate) supervisor: PathBuf,
    /// The memory limit in bytes.
    pub(crate) memory: Option<u64>,
    /// What the container's cgroups are called, when it may have any.
    pub(crate) cgroup: Option<String>,
    /// The namespaces of its container.
    pub(crate) place: Place,
    /// The port at which its server listens in a network of its own, whatever it is asked to.
    pub(crate) fixed_port: Option<u16>,
    pub(crate) grace: Duration,
    pub(crate) backoff: Backoff,
    pub(crate) reach: Reach,
    pub(crate) prober: std::net::IpAddr,
    /// The variables that tell of Services.
    pub(crate) links: Vec<(String, String)>,
    /// Where the companions are that the environment names.
    pub(crate) resolver: Arc<Resolver>,
    pub(crate) given_env: Vec<(String, String)>,
    pub(crate) configs: watch::Receiver<Configs>,
    pub(crate) output: Arc<Output>,
    pub(crate) news: Box<dyn Fn(News) + Send>,
    pub(crate) commands: UnboundedReceiver<Command>,
}

/// How a pause or a container's life ended.
enum Ended {
    /// The pod is deleted.
    Deleted,
    /// The container ended by itself, after so long.
    After(Duration),
}

/// The probes of a running container and what they said.
struct Probing {
    target: Target,
    tasks: JoinSet<()>,
    answers: UnboundedSender<Answer>,
    is_ready: Option<bool>,
    /// The failure of each probe that the last event told, so that one that repeats is told once.
    told: Vec<(Purpose, String)>,
}

/// A container that was asked to stop.
struct Stopping {
    deadline: Instant,
    is_deleted: bool,
    /// Ends when the preStop hook has.
    hook: JoinSet<()>,
    is_told: bool,
    is_killed: bool,
}

// === impl Pod ===

impl Pod {
    /// Lives until the pod is deleted.
    pub(crate) async fn run(mut self) {
        let mut restarts = Restarts::default();
        loop {
            let Some(env) = self.configured_env().await else { break };
            let Ended::After(ran) = self.run_container(env, restarts.count()).await else { break };
            if let Some(pause) = restarts.next_pause(&self.backoff, ran)
                && self.back_off(pause).await
            {
                break;
            }
        }
        (self.news)(News::Gone);
    }

    /// The container's environment, as soon as everything it refers to exists; `None` when deleted before.
    async fn configured_env(&mut self) -> Option<Vec<(String, String)>> {
        let mut told = None;
        loop {
            let configs = self.configs.borrow_and_update().clone();
            let error =
                match environment(&self.container, &self.fields, &configs, &self.links, &self.given_env) {
                    Ok(env) => return Some(self.resolver.environment(env)),
                    Err(error) => error,
                };
            if told.as_ref() != Some(&error) {
                let message = error.to_string();
                (self.news)(News::Event { reason: "Failed", message: format!("Error: {message}") });
                (self.news)(News::Waiting { reason: "CreateContainerConfigError".to_owned(), message });
                told = Some(error);
            }
            tokio::select! {
                changed = self.configs.changed() => changed.ok()?,
                deleted = deleted(&mut self.commands) => if deleted { return None },
            }
        }
    }

    /// Waits before the next restart; whether the pod was deleted meanwhile.
    async fn back_off(&mut self, pause: Duration) -> bool {
        let (container, pod) = (&self.container.name, &self.fields);
        let place = format!("{}_{}({})", pod.name, pod.namespace, pod.uid);
        (self.news)(News::Event {
            reason: "BackOff",
            message: format!("Back-off restarting failed container {container} in pod {place}"),
        });
        (self.news)(News::Waiting {
            reason: "CrashLoopBackOff".to_owned(),
            message: format!(
                "back-off {}s restarting failed container={container} pod={place}",
                pause.as_secs_f64()
            ),
        });
        let until = Instant::now() + pause;
        loop {
            tokio::select! {
                () = sleep_until(until) => return false,
                deleted = deleted(&mut self.commands) => if deleted { return true },
            }
        }
    }

    async fn run_container(&mut self, env: Vec<(String, String)>, restarts: u32) -> Ended {
        let _taken = taken_port(&env, &self.fields.host, self.fields.port);
        let launching = self.launching(env, restarts);
        let output = Arc::clone(&self.output);
        let mut process = match Process::start(&launching, move |line| output.push(&line)) {
            Ok(process) => process,
            Err(error) => {
                return self.cannot_start(&format!("{}: {error}", self.supervisor.display()), restarts);
            }
        };
        let (answers, mut answered) = unbounded_channel();
        let mut probing = self.probing(launching, answers);
        let mut stopping: Option<Stopping> = None;
        let mut began = Instant::now();
        let exit = loop {
            tokio::select! {
                told = process.news() => match told {
                    Some(Told::Started { limited, pid }) => {
                        began = Instant::now();
                        if self.place.is_pid_1() {
                            probing.target.place = Place::Beside(pid);
                        }
                        let limit = limited.map(|by| format!(", its memory limit is enforced by a {by}"));
                        let message =
                            format!("Started container {}{}", self.container.name, limit.unwrap_or_default());
                        (self.news)(News::Event { reason: "Started", message });
                        (self.news)(News::Running { restarts, limited, main: pid });
                        self.start_probes(&mut probing);
                    }
                    Some(Told::Failed(why)) => {
                        process.finish().await;
                        let is_deleted = stopping.is_some_and(|stopping| stopping.is_deleted);
                        return if is_deleted { Ended::Deleted } else { self.cannot_start(&why, restarts) };
                    }
                    Some(Told::Exited(exit)) => break exit,
                    None => {
                        process.abandon().await;
                        break Exit { code: 137, oom: None, peak: None };
                    }
                },
                Some(answer) = answered.recv(), if stopping.is_none() => {
                    if self.heed(&mut probing, &answer) {
                        let message =
                            format!("Container {} failed {} probe, will be restarted",
                                self.container.name, answer.purpose.to_string().to_lowercase());
                        (self.news)(News::Event { reason: "Killing", message });
                        let grace = answer.grace.unwrap_or(self.grace);
                        stopping = Some(self.stop(&probing.target, grace, false));
                    }
                }
                command = self.commands.recv() => match command {
                    Some(Command::Signal(signal, done)) => drop(done.send(process.signal(signal).await)),
                    Some(Command::Delete { grace }) => {
                        probing.tasks.abort_all();
                        stopping = Some(match stopping.take() {
                            Some(earlier) => earlier.hastened(grace),
                            None => {
                                let message = format!("Stopping container {}", self.container.name);
                                (self.news)(News::Event { reason: "Killing", message });
                                self.stop(&probing.target, grace, true)
                            }
                        });
                    }
                    // The controller is gone: dropping the process ends the container.
                    None => return Ended::Deleted,
                },
                Some(signal) = next_signal(stopping.as_mut()) => {
                    if signal == Signal::Term {
                        self.tell_who_is_told(process.pid());
                    }
                    drop(process.signal(signal).await);
                }
            }
        };
        drop(probing);
        process.finish().await;
        let reason = match &exit {
            Exit { oom: Some(_), .. } => "OOMKilled",
            Exit { code: 0, .. } => "Completed",
            Exit { .. } => "Error",
        };
        (self.news)(News::Terminated {
            restarts,
            reason: reason.to_owned(),
            exit_code: exit.code,
            by: exit.oom,
            peak: exit.peak,
        });
        match stopping {
            Some(stopping) if stopping.is_deleted => Ended::Deleted,
            _ => Ended::After(began.elapsed()),
        }
    }

    /// Tells which processes are there when SIGTERM comes: whoever does not end is among them.
    fn tell_who_is_told(&self, main: Option<u32>) {
        if let Some((main, below)) = main.and_then(inside::processes) {
            (self.news)(News::Sigterm { main, is_pid_1: self.place.is_pid_1(), below });
        }
    }

    /// What starts the container: the launch's command and the manifest's arguments.
    fn launching(&self, env: Vec<(String, String)>, restarts: u32) -> Launching {
        let variables: BTreeMap<String, String> = env.iter().cloned().collect();
        let port = self.fields.port.to_string();
        let argv =
            self.argv.iter().map(|word| word.replace("{host}", &self.fields.host).replace("{port}", &port));
        let args =
            self.container.args.iter().flatten().map(|arg| self.resolver.text(&expand(arg, &variables)));
        let order = Order {
            limit: self.memory,
            cgroup: self.cgroup.as_ref().map(|name| format!("{name}-{restarts}")),
            place: self.place,
            door: self
                .fixed_port
                .filter(|_| self.place == Place::Apart)
                .map(|fixed| Door { outside: self.reach.own(), fixed }),
            argv: argv.chain(args).map(Into::into).collect(),
        };
        Launching { supervisor: self.supervisor.clone(), order, env, cwd: self.cwd.clone() }
    }

    /// Tells that there is no container, in a container runtime's words.
    fn cannot_start(&self, why: &str, restarts: u32) -> Ended {
        let message = format!(
            "failed to create containerd task: failed to create shim task: OCI runtime create failed: \
             runc create failed: unable to start container process: {why}: unknown"
        );
        self.output.push(why);
        (self.news)(News::Event { reason: "Failed", message: format!("Error: {message}") });
        let reason = "StartError".to_owned();
        (self.news)(News::Terminated { restarts, reason, exit_code: 128, by: None, peak: None });
        (self.news)(News::Waiting { reason: "RunContainerError".to_owned(), message });
        Ended::After(Duration::ZERO)
    }

    fn probing(&self, exec: Launching, answers: UnboundedSender<Answer>) -> Probing {
        let target = Target {
            reach: self.reach.clone(),
            from: self.prober,
            exec,
            place: Place::Shared,
            container: self.container.clone(),
            started: Instant::now(),
        };
        Probing { target, tasks: JoinSet::new(), answers, is_ready: None, told: Vec::new() }
    }

    fn start_probes(&self, probing: &mut Probing) {
        match &self.container.startup_probe {
            Some(startup) => probing.start(Purpose::Startup, startup),
            None => self.start_lasting_probes(probing),
        }
    }

    fn start_lasting_probes(&self, probing: &mut Probing) {
        if let Some(liveness) = &self.container.liveness_probe {
            probing.start(Purpose::Liveness, liveness);
        }
        match &self.container.readiness_probe {
            Some(readiness) => probing.start(Purpose::Readiness, readiness),
            None => {
                probing.is_ready = Some(true);
                (self.news)(News::Ready);
            }
        }
    }

    /// Draws the conclusions from an answer; whether the container must be restarted.
    fn heed(&self, probing: &mut Probing, answer: &Answer) -> bool {
        let said = match &answer.said {
            Ok(said) | Err(said) => said,
        };
        (self.news)(News::Probed(format!("{} probe: {said}", answer.purpose)));
        if let Err(why) = &answer.said
            && answer.eventful
            && !probing.told.contains(&(answer.purpose, why.clone()))
        {
            let first_line = why.lines().next().unwrap_or_default();
            let message = format!("{} probe failed: {first_line}", answer.purpose);
            (self.news)(News::Event { reason: "Unhealthy", message });
            probing.told.retain(|(purpose, _)| *purpose != answer.purpose);
            probing.told.push((answer.purpose, why.clone()));
        }
        if !answer.decisive {
            return false;
        }
        let is_well = answer.said.is_ok();
        match answer.purpose {
            Purpose::Startup if is_well => self.start_lasting_probes(probing),
            Purpose::Readiness if is_well && probing.is_ready != Some(true) => {
                probing.told.clear();
                probing.is_ready = Some(true);
                (self.news)(News::Ready);
            }
            Purpose::Readiness if !is_well && probing.is_ready == Some(true) => {
                probing.is_ready = Some(false);
                (self.news)(News::NotReady);
            }
            Purpose::Readiness => {}
            Purpose::Startup | Purpose::Liveness => return !is_well,
        }
        false
    }

    /// Begins to stop the container: the preStop hook, then SIGTERM, and SIGKILL at the end of the grace.
    fn stop(&self, target: &Target, grace: Duration, is_deleted: bool) -> Stopping {
        let mut hook = JoinSet::new();
        let lifecycle = self.container.lifecycle.as_ref();
        if let Some(pre_stop) = lifecycle.and_then(|lifecycle| lifecycle.pre_stop.clone())
            && !grace.is_zero()
        {
            let target = target.clone();
            hook.spawn(async move { run_hook(&target, &pre_stop).await });
        }
        let deadline = Instant::now() + grace;
        Stopping { deadline, is_deleted, hook, is_told: grace.is_zero(), is_killed: false }
    }
}

async fn run_hook(target: &Target, hook: &LifecycleHandler) {
    if let Some(exec) = &hook.exec {
        let _ = target.run_command(&exec.command.clone().unwrap_or_default()).await;
    } else if let Some(get) = &hook.http_get {
        let _ = target.http(get, &target.url(get)).await;
    } else if let Some(pause) = &hook.sleep {
        let pause = Duration::from_secs(u64::try_from(pause.seconds).unwrap_or(0));
        sleep_until(Instant::now() + pause).await;
    }
}

/// Serves the next command of a pod whose container does not run; whether it is the deletion.
async fn deleted(commands: &mut UnboundedReceiver<Command>) -> bool {
    match commands.recv().await {
        Some(Command::Signal(_, done)) => {
            let _ = done.send(Err(io::Error::other("its container does not run")));
            false
        }
        Some(Command::Delete { .. }) | None => true,
    }
}

/// The next signal of a container that stops; never resolves for one that does not.
async fn next_signal(stopping: Option<&mut Stopping>) -> Option<Signal> {
    let Some(stopping) = stopping.filter(|stopping| !stopping.is_killed) else {
        return std::future::pending().await;
    };
    if !stopping.is_told {
        let hook = &mut stopping.hook;
        let over = timeout_at(stopping.deadline, async { while hook.join_next().await.is_some() {} }).await;
        if over.is_err() {
            hook.abort_all();
            stopping.deadline = Instant::now() + LEAST_GRACE;
        }
        stopping.is_told = true;
        return Some(Signal::Term);
    }
    sleep_until(stopping.deadline).await;
    stopping.is_killed = true;
    Some(Signal::Kill)
}

// === impl Stopping ===

impl Stopping {
    /// The same, for a pod that is (again) asked to go, never later than it was to go before.
    fn hastened(mut self, grace: Duration) -> Self {
        self.is_deleted = true;
        self.is_told |= grace.is_zero();
        self.deadline = self.deadline.min(Instant::now() + grace);
        self
    }
}

// === impl Probing ===

impl Probing {
    fn start(&mut self, purpose: Purpose, probe: &Probe) {
        self.tasks.spawn(self.target.clone().watch(purpose, probe.clone(), self.answers.clone()));
    }
}
