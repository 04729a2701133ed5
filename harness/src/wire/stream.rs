//! The stream that a session listens to: the SSE stream of 2024-11-05, or the GET stream of Streamable HTTP.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::exchange::{Exchange, Sink};
use super::inbox::Inbox;
use super::patience::Patience;
use super::{Answer, Client, Raw, Target};
use crate::transcript::{End, Frame};

/// A stream that was asked for; closed when dropped.
#[derive(Debug)]
pub(super) struct Stream {
    task: AbortOnDropHandle<()>,
    state: watch::Receiver<State>,
}

/// How far a stream has come.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    is_streaming: bool,
    endpoint: Option<String>,
    pub(super) over: Option<Answer>,
}

/// What a stream has to begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// With an `endpoint` event.
    Endpoint,
    /// With nothing.
    Head,
}

/// Brings frames to the inbox, and tells how far the stream has come.
struct Listener {
    inbox: Arc<Inbox>,
    target: Target,
    opening: Opening,
    limit: Duration,
    state: watch::Sender<State>,
}

// === impl State ===

impl State {
    /// How the stream ended, if it did.
    pub(super) fn end(receiver: &watch::Receiver<State>) -> Option<End> {
        let is_gone = receiver.has_changed().is_err();
        let over = receiver.borrow().over.as_ref().map(|answer| answer.end.clone());
        over.or(is_gone.then_some(End::ClosedByClient))
    }
}

// === impl Stream ===

impl Stream {
    /// Asks for a stream; what it begins with has to come within the limit, and then it has none.
    pub(super) fn start(
        client: &Client,
        target: &Target,
        request: Raw,
        inbox: Arc<Inbox>,
        opening: Opening,
        limit: Duration,
    ) -> Self {
        let (sender, state) = watch::channel(State::default());
        let (client, target) = (client.clone(), target.clone());
        let mut listener = Listener { inbox, target: target.clone(), opening, limit, state: sender };
        let task = tokio::spawn(async move {
            let (client, target) = (&client, &target);
            let exchange = Exchange { client, target, request, limit, kept: None, written: None };
            let answer = exchange.run(&mut listener).await;
            listener.state.send_modify(|state| state.over = Some(answer));
        });
        Self { task: AbortOnDropHandle::new(task), state }
    }

    /// Waits for the `endpoint` event.
    pub(super) async fn endpoint(&mut self) -> Result<String, Answer> {
        self.wait_for(|state| state.endpoint.clone()).await
    }

    /// Waits for the head of an event stream.
    pub(super) async fn head(&mut self) -> Result<(), Answer> {
        self.wait_for(|state| state.is_streaming.then_some(())).await
    }

    pub(super) fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Closes it, and waits until that is recorded.
    pub(super) async fn close(self) {
        self.task.abort();
        // An error says that it was aborted.
        let _ = self.task.await;
    }

    async fn wait_for<T>(&mut self, what: impl Fn(&State) -> Option<T>) -> Result<T, Answer> {
        let is_told = |state: &State| what(state).is_some() || state.over.is_some();
        let Ok(state) = self.state.wait_for(is_told).await else {
            return Err(Answer::without_head(End::ClosedByClient));
        };
        let over = || state.over.clone().unwrap_or_else(|| Answer::without_head(End::ClosedByClient));
        what(&state).ok_or_else(over)
    }
}

/// Whether a stream ends within the limit.
pub(super) async fn ends_within(mut state: watch::Receiver<State>, limit: Duration) -> bool {
    timeout(limit, state.wait_for(|state| state.over.is_some())).await.is_ok()
}

// === impl Listener ===

impl Sink for Listener {
    fn head(&mut self, status: u16, is_stream: bool, patience: &mut Patience) {
        if !is_stream || !(200..300).contains(&status) {
            return;
        }
        match self.opening {
            Opening::Endpoint => patience.wait_for("endpoint", self.limit),
            Opening::Head => patience.endless(),
        }
        self.state.send_modify(|state| state.is_streaming = true);
    }

    fn frame(&mut self, frame: &Frame, patience: &mut Patience) {
        let is_endpoint = self.opening == Opening::Endpoint && frame.event_type() == "endpoint";
        let has_begun = self.state.borrow().endpoint.is_some();
        if let Some(said) = frame.data.as_ref().filter(|_| is_endpoint && !has_begun) {
            patience.endless();
            self.state.send_modify(|state| state.endpoint = Some(said.clone()));
        }
        self.inbox.frame(frame, &self.target, None);
    }
}
