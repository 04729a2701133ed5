//! What a client that lost a stream of Streamable HTTP is sent again: the events of each stream of a session, by their ids.
//!
//! An event id is `<stream>-<event>`: unique in its session, and enough to find the stream where the session lives, so that a client
//! may resume through any replica (2025-11-25, transports, Resumability and Redelivery). What is kept is bounded by [`KEPT_BYTES`] per
//! session, and by [`KEPT_FOR`] after a stream's answer; of what is no longer kept no stream is resumed, since it would have a gap.
//! Knows no HTTP and no ids of sessions.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rmcp::model::{ServerJsonRpcMessage, ServerNotification};
use rmcp::transport::streamable_http_server::session::ServerSseMessage;
use tokio::sync::Notify;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::lock;
use crate::session::CHANNEL;

/// How many bytes of messages a session keeps, as JSON.
pub const KEPT_BYTES: usize = 32 * 1024;
/// How long a stream is kept after its answer.
pub const KEPT_FOR: Duration = Duration::from_secs(30);

/// The streams of one session.
#[derive(Default)]
pub(crate) struct Streams {
    all: Mutex<All>,
    /// Told whenever a stream gets another reader.
    resumed: Notify,
    slip: Option<Slip>,
}

/// What a defect does to the streams of a session: the first three to one that is resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slip {
    /// It begins one event too late.
    Late,
    /// It begins one event too early.
    Early,
    /// It begins with what other streams had.
    Mixed,
    /// Every stream has the same event ids.
    SameIds,
    /// They begin without an event id.
    Unprimed,
    /// Progress goes to the stream that a GET opened.
    Aside,
}

#[derive(Default)]
struct All {
    /// The oldest first.
    lines: VecDeque<Line>,
    opened: u32,
    bytes: usize,
    /// The stream that a GET opened last.
    listener: Option<u32>,
}

/// One stream, whichever connection carries it.
struct Line {
    number: u32,
    /// The last event that there was, and the last one that is no longer kept.
    told: u32,
    lost: u32,
    kept: VecDeque<Kept>,
    reader: Option<Sender<ServerSseMessage>>,
    answered: Option<Instant>,
}

struct Kept {
    event: u32,
    message: Arc<ServerJsonRpcMessage>,
    bytes: usize,
}

/// Why a stream is not resumed: the id is none of this session's, or what follows it is no longer kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Forgotten;

/// Whether a stream begins with an event that says nothing but its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opens {
    /// From 2025-11-25 on: its clients resume a stream that broke before it said anything.
    Primed,
    /// Before: an event without a message is none that these clients know.
    Plain,
}

// === impl Streams ===

impl Streams {
    pub(crate) fn new(slip: Option<Slip>) -> Self {
        Self { slip, ..Self::default() }
    }

    /// The stream of a request.
    pub(crate) fn open(&self, opens: Opens) -> (u32, Receiver<ServerSseMessage>) {
        let mut all = lock(&self.all);
        let (sender, receiver) = channel(CHANNEL);
        all.opened += 1;
        let number = all.opened;
        if opens == Opens::Primed && self.slip != Some(Slip::Unprimed) {
            // There is room in a new channel.
            let _ = sender.try_send(event(self.name(number, 0), None));
        }
        let (kept, reader) = (VecDeque::new(), Some(sender));
        all.lines.push_back(Line { number, told: 0, lost: 0, kept, reader, answered: None });
        (number, receiver)
    }

    /// The stream that a GET opens, in place of an earlier one.
    pub(crate) fn listen(&self, opens: Opens) -> Receiver<ServerSseMessage> {
        let (number, receiver) = self.open(opens);
        let mut all = lock(&self.all);
        if let Some(earlier) = all.listener.replace(number) {
            all.remove(earlier);
        }
        receiver
    }

    /// The stream that a GET opened, if somebody reads it.
    pub(crate) fn is_listened_to(&self) -> bool {
        let mut all = lock(&self.all);
        let reader = all.listener.and_then(|number| all.line(number)?.reader.clone());
        reader.is_some_and(|reader| !reader.is_closed())
    }

    /// The stream that a GET opened, whether or not somebody reads it now.
    pub(crate) fn listener(&self) -> Option<u32> {
        lock(&self.all).listener
    }

    /// Says something on a stream, and waits until its reader has room for it. What has no reader now is kept for one that resumes.
    pub(crate) async fn say(&self, number: u32, message: ServerJsonRpcMessage, place: Place) {
        let aside = self.listener().filter(|_| self.slip == Some(Slip::Aside) && is_progress(&message));
        let number = aside.unwrap_or(number);
        let message = Arc::new(message);
        let Some((told, reader)) = lock(&self.all).note(number, &message, place) else { return };
        let Some(reader) = reader else { return };
        let mut said = event(self.name(number, told), Some(message));
        loop {
            said = match reader.try_send(said) {
                Err(TrySendError::Full(said)) => said,
                Ok(()) | Err(TrySendError::Closed(_)) => return,
            };
            let mut resumed = std::pin::pin!(self.resumed.notified());
            resumed.as_mut().enable();
            if place == Place::Within && !lock(&self.all).is_read_by(number, &reader) {
                // Who resumed meanwhile was sent it with what came before.
                return;
            }
            tokio::select! {
                room = reader.reserve() => if room.is_err() { return },
                () = resumed => {}
            }
        }
    }

    /// A stream from the event after this one on.
    pub(crate) fn resume(&self, id: &str) -> Result<Receiver<ServerSseMessage>, Forgotten> {
        let (number, last) = id.split_once('-').ok_or(Forgotten)?;
        let parsed = |text: &str| text.parse::<u32>().map_err(|_| Forgotten);
        let (mut number, mut last) = (parsed(number)?, parsed(last)?);
        let mut all = lock(&self.all);
        match self.slip {
            Some(Slip::Late) => last += 1,
            Some(Slip::Early) => last = last.saturating_sub(1),
            Some(Slip::SameIds) => {
                let running = all.lines.iter().rfind(|line| line.answered.is_none()).ok_or(Forgotten)?;
                number = running.number;
            }
            Some(Slip::Mixed | Slip::Unprimed | Slip::Aside) | None => {}
        }
        let others: Vec<_> = match self.slip {
            Some(Slip::Mixed) => all.after(0, |line| line.number != number),
            _ => Vec::new(),
        };
        let missed = all.after(last, |line| line.number == number);
        let line = all.line(number).filter(|line| last >= line.lost).ok_or(Forgotten)?;
        let (sender, receiver) = channel(CHANNEL + others.len() + missed.len());
        for (number, told, message) in others.into_iter().chain(missed) {
            // There is room for all of them.
            let _ = sender.try_send(event(self.name(number, told), Some(message)));
        }
        line.reader = line.answered.is_none().then_some(sender);
        drop(all);
        self.resumed.notify_waiters();
        Ok(receiver)
    }

    /// Ends a stream that nobody answers.
    pub(crate) fn close(&self, number: u32) {
        lock(&self.all).remove(number);
    }

    /// Ends every stream.
    pub(crate) fn close_all(&self) {
        *lock(&self.all) = All::default();
    }

    /// Forgets streams that were answered [`KEPT_FOR`] ago.
    pub(crate) fn forget(&self) {
        lock(&self.all).forget(Instant::now());
    }

    fn name(&self, number: u32, event: u32) -> String {
        let number = if self.slip == Some(Slip::SameIds) { 1 } else { number };
        format!("{number}-{event}")
    }
}

/// Where in its stream a message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// More may follow.
    Within,
    /// It is the answer, and ends the stream.
    Last,
}

// === impl All ===

impl All {
    fn line(&mut self, number: u32) -> Option<&mut Line> {
        // The newest are asked for most.
        self.lines.iter_mut().rev().find(|line| line.number == number)
    }

    fn is_read_by(&mut self, number: u32, reader: &Sender<ServerSseMessage>) -> bool {
        let current = self.line(number).and_then(|line| line.reader.as_ref());
        current.is_some_and(|current| current.same_channel(reader))
    }

    /// Keeps a message as the next event of a stream. Its number, and who reads the stream.
    fn note(
        &mut self,
        number: u32,
        message: &Arc<ServerJsonRpcMessage>,
        place: Place,
    ) -> Option<(u32, Option<Sender<ServerSseMessage>>)> {
        let bytes = length(message);
        let line = self.line(number)?;
        line.told += 1;
        let told = line.told;
        let reader = match place {
            Place::Within => line.reader.clone(),
            Place::Last => {
                line.answered = Some(Instant::now());
                line.reader.take()
            }
        };
        match bytes {
            Some(bytes) => {
                line.kept.push_back(Kept { event: told, message: message.clone(), bytes });
                self.bytes += bytes;
            }
            None => {
                line.lost = told;
                let freed: usize = line.kept.drain(..).map(|kept| kept.bytes).sum();
                self.bytes -= freed;
            }
        }
        while self.bytes > KEPT_BYTES && self.drop_oldest() {}
        Some((told, reader))
    }

    /// Of the oldest stream that was answered, else of the oldest that is not, the oldest event.
    fn drop_oldest(&mut self) -> bool {
        let holds = |line: &Line| !line.kept.is_empty();
        let answered = self.lines.iter().position(|line| line.answered.is_some() && holds(line));
        let Some(idx) = answered.or_else(|| self.lines.iter().position(holds)) else {
            return false;
        };
        let line = &mut self.lines[idx];
        if let Some(oldest) = line.kept.pop_front() {
            line.lost = oldest.event;
            self.bytes -= oldest.bytes;
        }
        if line.kept.is_empty() && line.answered.is_some() {
            self.lines.remove(idx);
        }
        true
    }

    /// The events after this one of streams like that.
    fn after(
        &self,
        last: u32,
        is_wanted: impl Fn(&Line) -> bool,
    ) -> Vec<(u32, u32, Arc<ServerJsonRpcMessage>)> {
        let lines = self.lines.iter().filter(|line| is_wanted(line));
        lines
            .flat_map(|line| line.kept.iter().map(|kept| (line.number, kept)))
            .filter(|(_, kept)| kept.event > last)
            .map(|(number, kept)| (number, kept.event, kept.message.clone()))
            .collect()
    }

    fn remove(&mut self, number: u32) {
        self.retain(|line| line.number != number);
    }

    fn forget(&mut self, now: Instant) {
        self.retain(|line| line.answered.is_none_or(|answered| now.duration_since(answered) < KEPT_FOR));
    }

    fn retain(&mut self, stays: impl Fn(&Line) -> bool) {
        self.lines.retain(stays);
        self.bytes = self.lines.iter().flat_map(|line| &line.kept).map(|kept| kept.bytes).sum();
        if self.lines.is_empty() {
            // An idle session costs nothing here.
            self.lines = VecDeque::new();
        }
    }
}

// === helpers ===

fn is_progress(message: &ServerJsonRpcMessage) -> bool {
    matches!(message, ServerJsonRpcMessage::Notification(notification)
        if matches!(notification.notification, ServerNotification::ProgressNotification(_)))
}

fn event(id: String, message: Option<Arc<ServerJsonRpcMessage>>) -> ServerSseMessage {
    let mut event = ServerSseMessage::default();
    event.event_id = Some(id);
    event.message = message;
    event
}

/// The length of a message as JSON; `None` for one that is too long to keep.
fn length(message: &ServerJsonRpcMessage) -> Option<usize> {
    struct Counter(usize);
    impl io::Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            if self.0 > KEPT_BYTES { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes.len()) }
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut counter = Counter(0);
    serde_json::to_writer(&mut counter, message).ok().map(|()| counter.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn message(text: &str) -> ServerJsonRpcMessage {
        let message = json!({
            "jsonrpc": "2.0", "method": "notifications/progress",
            "params": { "progressToken": 1, "progress": 1, "message": text },
        });
        serde_json::from_value(message).unwrap()
    }

    fn ids(receiver: &mut Receiver<ServerSseMessage>) -> Vec<String> {
        std::iter::from_fn(|| receiver.try_recv().ok()).filter_map(|event| event.event_id).collect()
    }

    #[tokio::test]
    async fn a_stream_goes_on_after_the_event_that_its_client_had_last() {
        let streams = Streams::default();
        let (first, mut cut) = streams.open(Opens::Primed);
        let (second, mut other) = streams.open(Opens::Plain);
        streams.say(first, message("a"), Place::Within).await;
        streams.say(second, message("b"), Place::Last).await;
        assert_eq!(ids(&mut cut), ["1-0", "1-1"]);
        assert_eq!(ids(&mut other), ["2-1"]);
        drop(cut);
        streams.say(first, message("c"), Place::Within).await;
        let mut resumed = streams.resume("1-1").unwrap();
        streams.say(first, message("d"), Place::Last).await;
        assert_eq!(ids(&mut resumed), ["1-2", "1-3"]);
        assert!(resumed.recv().await.is_none(), "the answer ends the stream");
        // The answer may have been lost with the connection.
        assert_eq!(ids(&mut streams.resume("1-2").unwrap()), ["1-3"]);
        assert_eq!(ids(&mut streams.resume("2-0").unwrap()), ["2-1"]);
        for unknown in ["", "1", "3-0", "x-1", "1--1"] {
            assert_eq!(streams.resume(unknown).err(), Some(Forgotten), "{unknown}");
        }
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded_and_nothing_is_resumed_with_a_gap() {
        let streams = Streams::default();
        let (running, reader) = streams.open(Opens::Plain);
        let (answered, _reader) = streams.open(Opens::Plain);
        streams.say(answered, message("short"), Place::Last).await;
        drop(reader);
        for _ in 0..10 {
            streams.say(running, message(&"x".repeat(KEPT_BYTES / 8)), Place::Within).await;
        }
        assert!(lock(&streams.all).bytes <= KEPT_BYTES);
        assert_eq!(streams.resume("2-0").err(), Some(Forgotten), "answered streams go first");
        assert_eq!(streams.resume("1-0").err(), Some(Forgotten));
        assert_eq!(ids(&mut streams.resume("1-8").unwrap()), ["1-9", "1-10"]);
        streams.say(running, message(&"x".repeat(2 * KEPT_BYTES)), Place::Within).await;
        assert_eq!(streams.resume("1-10").err(), Some(Forgotten), "too long to keep");
        assert!(streams.resume("1-11").is_ok());
        lock(&streams.all).forget(Instant::now() + KEPT_FOR);
        assert!(streams.resume("1-11").is_ok(), "it is not answered yet");
        streams.close_all();
        assert_eq!(streams.resume("1-11").err(), Some(Forgotten));
    }

    #[tokio::test]
    async fn a_reader_that_does_not_read_holds_up_nobody_who_resumes() {
        let streams = Arc::new(Streams::default());
        let (number, _stalled) = streams.open(Opens::Plain);
        let talking = tokio::spawn({
            let streams = streams.clone();
            async move {
                for _ in 0..=CHANNEL {
                    streams.say(number, message("x"), Place::Within).await;
                }
            }
        });
        while lock(&streams.all).line(number).unwrap().told as usize <= CHANNEL {
            tokio::task::yield_now().await;
        }
        let mut resumed = streams.resume("1-0").unwrap();
        talking.await.unwrap();
        assert_eq!(ids(&mut resumed).len(), CHANNEL + 1);
    }
}
