//! A request that is on its way, and what becomes of it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::Answer;
use super::inbox::{Inbox, News};
use super::stream::State;
use crate::plan::Transport;
use crate::transcript::{Body, End};

/// What became of a request, for driving on; judging is the checks' business.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The JSON-RPC result.
    Result(Value),
    /// The JSON-RPC error that came as an answer: with HTTP 2xx, or on the stream of an HTTP+SSE session.
    Error {
        /// Its code.
        code: i64,
        /// Its message.
        message: String,
    },
    /// A complete HTTP answer that is not the answer: any status but 2xx, or a 2xx without an answer in it.
    Http {
        /// The status.
        status: u16,
        /// The body.
        body: Body,
        /// The seconds of a `Retry-After` header.
        retry_after: Option<u64>,
    },
    /// A 2xx for what has no other answer: a notification, a DELETE, a message to a session without a stream.
    Accepted,
    /// It ended without an answer: refused, cut, no HTTP, or a stream that was complete too soon.
    Ended(End),
    /// Sent, and the limit passed.
    Silent,
}

/// Whether a request asks for progress notifications.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// `_meta.progressToken` is the request's id.
    Asked,
    /// No token.
    No,
}

/// A request that was sent. Dropping it closes the exchange that still runs for it.
#[derive(Debug)]
pub struct Pending {
    id: Value,
    number: u64,
    transport: Transport,
    inbox: Arc<Inbox>,
    news: mpsc::UnboundedReceiver<News>,
    post: AbortOnDropHandle<Answer>,
    posted: Option<Answer>,
    answer: Option<Value>,
    stream: Option<watch::Receiver<State>>,
    /// Until when an answer on an HTTP+SSE stream counts; elsewhere the exchange has its own limit.
    until: Option<Instant>,
}

// === impl Outcome ===

impl Outcome {
    /// The result, when that is what came.
    pub fn result(&self) -> Option<&Value> {
        match self {
            Outcome::Result(value) => Some(value),
            _ => None,
        }
    }

    fn of_message(mut message: Value) -> Self {
        if let Some(error) = message.get("error") {
            let code = error["code"].as_i64().unwrap_or_default();
            return Outcome::Error {
                code,
                message: error["message"].as_str().unwrap_or_default().to_owned(),
            };
        }
        match message.get_mut("result") {
            Some(result) => Outcome::Result(result.take()),
            None => Outcome::of_end(End::Malformed { why: "an answer without result and error".to_owned() }),
        }
    }

    /// Of an exchange that does not carry what was hoped for.
    pub(super) fn of_failure(answer: Answer) -> Self {
        match answer.status {
            Some(status) if answer.end == End::Complete && !(answer.is_success() && answer.is_stream()) => {
                let retry_after = answer.header("retry-after").and_then(|value| value.trim().parse().ok());
                Outcome::Http { status, body: answer.body, retry_after }
            }
            _ => Outcome::of_end(answer.end),
        }
    }

    /// Of an exchange for which any success will do.
    pub(super) fn of_acceptance(answer: Answer) -> Self {
        let is_whole = matches!(answer.end, End::Complete | End::ClosedByClient);
        if answer.is_success() && is_whole { Outcome::Accepted } else { Outcome::of_failure(answer) }
    }

    pub(super) fn of_end(end: End) -> Self {
        match end {
            End::TimedOut { waiting_for, .. } if waiting_for != "connect" => Outcome::Silent,
            other => Outcome::Ended(other),
        }
    }
}

// === impl Pending ===

impl Pending {
    pub(super) fn new(
        number: u64,
        transport: Transport,
        inbox: Arc<Inbox>,
        news: mpsc::UnboundedReceiver<News>,
        post: AbortOnDropHandle<Answer>,
    ) -> Self {
        Self {
            id: number.into(),
            number,
            transport,
            inbox,
            news,
            post,
            posted: None,
            answer: None,
            stream: None,
            until: None,
        }
    }

    /// The answer comes on this stream, until then.
    pub(super) fn on(mut self, stream: watch::Receiver<State>, until: Instant) -> Self {
        self.stream = Some(stream);
        self.until = Some(until);
        self
    }

    /// The request's JSON-RPC id.
    pub fn id(&self) -> &Value {
        &self.id
    }

    /// Waits for the next progress notification; false when none came within the limit or none can come.
    pub async fn progressed(&mut self, limit: Duration) -> bool {
        if self.answer.is_some() {
            return false;
        }
        match self.news(Some(Instant::now() + limit)).await {
            Some(News::Progress) => true,
            Some(News::Answer(message)) => {
                self.answer = Some(message);
                false
            }
            None => false,
        }
    }

    /// Waits until its POST has been answered, whole or not; false when it was not within the limit.
    ///
    /// Over HTTP+SSE a call can be known to run before that: its progress comes along another way than the 202. Until then it
    /// still needs whoever carries its POST.
    pub async fn posted(&mut self, limit: Duration) -> bool {
        if self.posted.is_none()
            && let Ok(answer) = tokio::time::timeout(limit, &mut self.post).await
        {
            self.posted = Some(joined(answer));
        }
        self.posted.is_some()
    }

    /// Waits until it is known to run, by its first progress notification and over HTTP+SSE by the answer to its POST too; each
    /// within the limit.
    pub async fn underway(&mut self, limit: Duration) {
        self.progressed(limit).await;
        if self.transport == Transport::Sse {
            self.posted(limit).await;
        }
    }

    /// Waits for what becomes of it; bounded by the limits of the call.
    pub async fn outcome(self) -> Outcome {
        self.finish().await.0
    }

    /// The outcome, and the answer to the POST.
    pub(super) async fn finish(mut self) -> (Outcome, Option<Answer>) {
        while self.answer.is_none() {
            match self.news(self.until).await {
                Some(News::Progress) => {}
                Some(News::Answer(message)) => self.answer = Some(message),
                None => break,
            }
        }
        // Also after an answer: its exchange ends before ours goes on, so that a transcript reads in order.
        if self.posted.is_none() {
            self.posted = Some(joined((&mut self.post).await));
        }
        let posted = self.posted.take();
        let outcome = match (self.answer.take(), posted.clone()) {
            (Some(message), _) => Outcome::of_message(message),
            (None, Some(posted)) if self.transport == Transport::Sse && posted.is_success() => {
                match self.stream.as_ref().map(State::end) {
                    None => Outcome::Accepted,
                    Some(Some(end)) => Outcome::of_end(end),
                    Some(None) => Outcome::Silent,
                }
            }
            (None, Some(posted)) => Outcome::of_failure(posted),
            (None, None) => Outcome::Silent,
        };
        (outcome, posted)
    }

    /// The next news; `None` when the time has passed or nothing more can come.
    async fn news(&mut self, until: Option<Instant>) -> Option<News> {
        loop {
            if self.is_settled() {
                return self.news.try_recv().ok();
            }
            tokio::select! {
                biased;
                news = self.news.recv() => return news,
                answer = &mut self.post, if self.posted.is_none() => self.posted = Some(joined(answer)),
                () = ended(self.stream.as_mut()) => return self.news.try_recv().ok(),
                () = passed(until) => return None,
            }
        }
    }

    /// Whether the POST has settled that nothing more can come.
    fn is_settled(&self) -> bool {
        self.posted.as_ref().is_some_and(|posted| self.stream.is_none() || !posted.is_success())
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.inbox.forget(self.number);
    }
}

// === helpers ===

/// A task that was dropped recorded so itself.
fn joined(answer: Result<Answer, tokio::task::JoinError>) -> Answer {
    answer.unwrap_or_else(|_| Answer::without_head(End::ClosedByClient))
}

async fn ended(stream: Option<&mut watch::Receiver<State>>) {
    match stream {
        // An error means that its task is gone, which is an end too.
        Some(stream) => drop(stream.wait_for(|state| state.over.is_some()).await),
        None => std::future::pending().await,
    }
}

async fn passed(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}
