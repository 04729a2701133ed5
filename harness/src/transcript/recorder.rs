//! Appends entries as they happen, with secrets replaced by their names before they are kept.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use super::{Body, Entry, ExchangeId, Secret, What};

/// The shortest value that is looked for, in bytes.
const SHORTEST: usize = 4;

/// From so many digits on a number is looked for.
const LONG_NUMBER: usize = 8;

/// Appends to the transcript of one cell; cheap to clone.
#[derive(Clone, Debug)]
pub struct Recorder {
    shared: Arc<Mutex<Recording>>,
    began: Instant,
    secrets: Arc<RwLock<Vec<Secret>>>,
    taps: Arc<RwLock<Vec<Tap>>>,
}

/// A recorder that gets what another one records, that of a cluster which several cells use: everything, but for connections of other
/// cells' clients.
#[derive(Clone, Debug)]
pub struct Tap {
    to: Recorder,
    addresses: Arc<Mutex<Vec<IpAddr>>>,
}

#[derive(Debug, Default)]
struct Recording {
    entries: Vec<Entry>,
    /// How many were taken out before.
    taken: u32,
    exchanges: u32,
}

// === impl Recorder ===

impl Recorder {
    /// Begins a recording in which each secret's value is replaced by its name.
    ///
    /// Values that would be found everywhere are not looked for: those shorter than four bytes, `true`, `false`, `null`, and
    /// numbers of less than eight digits. Others are, also in JSON text.
    pub fn new(secrets: impl IntoIterator<Item = Secret>) -> Self {
        let recorder = Self {
            shared: Arc::default(),
            began: Instant::now(),
            secrets: Arc::default(),
            taps: Arc::default(),
        };
        recorder.mask_also(secrets);
        recorder
    }

    /// From now on replaces these too: values that a scenario makes up while it runs.
    pub fn mask_also(&self, secrets: impl IntoIterator<Item = Secret>) {
        let mut known = self.secrets.write().unwrap_or_else(PoisonError::into_inner);
        for secret in secrets.into_iter().filter(|secret| can_be_looked_for(&secret.value)) {
            for value in forms(&secret.value) {
                if !known.iter().any(|other| other.value == value) {
                    known.push(Secret { name: secret.name.clone(), value });
                }
            }
        }
        // The longest first, so that a secret inside another does not leave the rest in clear.
        known.sort_by_key(|secret| std::cmp::Reverse(secret.value.len()));
    }

    /// Appends one entry and returns its place.
    pub fn record(&self, what: What) -> u32 {
        let what = self.masked(what);
        for tap in self.taps.read().unwrap_or_else(PoisonError::into_inner).iter() {
            tap.pass(&what);
        }
        let mut recording = self.lock();
        let seq = u32::try_from(recording.entries.len()).unwrap_or(u32::MAX).saturating_add(recording.taken);
        let seq = seq.saturating_add(1);
        // Read under the lock, so that the order of entries is the order of times.
        let at_us = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        recording.entries.push(Entry { seq, at_us, what });
        seq
    }

    /// From now on passes on what it records.
    pub fn tap(&self, tap: Tap) {
        self.taps.write().unwrap_or_else(PoisonError::into_inner).push(tap);
    }

    /// Passes nothing on to this recorder any more.
    pub fn untap(&self, to: &Recorder) {
        let mut taps = self.taps.write().unwrap_or_else(PoisonError::into_inner);
        taps.retain(|tap| !Arc::ptr_eq(&tap.to.shared, &to.shared));
    }

    /// A number for the next exchange.
    pub fn next_exchange(&self) -> ExchangeId {
        let mut recording = self.lock();
        recording.exchanges += 1;
        ExchangeId(recording.exchanges)
    }

    /// What has been recorded so far.
    pub fn entries(&self) -> Vec<Entry> {
        self.lock().entries.clone()
    }

    /// What this finds in the latest entry in which it finds anything, looking back as far as `until`, which is not looked at.
    pub fn latest<T>(
        &self,
        until: impl Fn(&What) -> bool,
        find: impl FnMut(&Entry) -> Option<T>,
    ) -> Option<T> {
        let recording = self.lock();
        recording.entries.iter().rev().take_while(|entry| !until(&entry.what)).find_map(find)
    }

    /// Takes out what has been recorded so far: a recording without an end would fill the memory.
    pub fn take(&self) -> Vec<Entry> {
        let mut recording = self.lock();
        let entries = std::mem::take(&mut recording.entries);
        let taken = u32::try_from(entries.len()).unwrap_or(u32::MAX);
        recording.taken = recording.taken.saturating_add(taken);
        entries
    }

    /// How long the recording has been going on.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Where a moment of this machine's clock lies in the recording, in microseconds since it began.
    pub fn at_us(&self, moment: SystemTime) -> u64 {
        let ago = SystemTime::now().duration_since(moment).unwrap_or_default();
        u64::try_from(self.began.elapsed().saturating_sub(ago).as_micros()).unwrap_or(u64::MAX)
    }

    /// The body of a request or an answer as it is kept.
    pub fn body(&self, bytes: &[u8]) -> Body {
        Body::from_bytes(bytes, &|text| self.mask(text))
    }

    /// The text with every secret's value replaced by its name.
    pub fn mask(&self, text: &str) -> String {
        let secrets = self.secrets.read().unwrap_or_else(PoisonError::into_inner);
        secrets.iter().fold(text.to_owned(), |text, secret| {
            if text.contains(&secret.value) { masked_by(secret, &text) } else { text }
        })
    }

    /// Masks in the serialized form, which reaches every string of every kind of entry.
    fn masked(&self, what: What) -> What {
        if self.secrets.read().unwrap_or_else(PoisonError::into_inner).is_empty() {
            return what;
        }
        let Ok(mut value) = serde_json::to_value(&what) else { return what };
        if !mask_value(&mut value, &|text| self.mask(text)) {
            return what;
        }
        if let Ok(masked) = serde_json::from_value(value) {
            return masked;
        }
        // One by one: a secret that is also one of the format's own words, and so cannot be replaced everywhere, must not keep the
        // others from being so.
        let secrets = self.secrets.read().unwrap_or_else(PoisonError::into_inner);
        secrets.iter().fold(what, |what, secret| {
            let Ok(mut value) = serde_json::to_value(&what) else { return what };
            let is_changed = mask_value(&mut value, &|text| masked_by(secret, text));
            if is_changed { serde_json::from_value(value).unwrap_or(what) } else { what }
        })
    }

    fn lock(&self) -> MutexGuard<'_, Recording> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Tap ===

impl Tap {
    /// A tap that fills this recorder.
    pub fn new(to: Recorder) -> Self {
        Self { to, addresses: Arc::default() }
    }

    /// From now on connections from this address are the cell's own.
    pub fn own(&self, address: IpAddr) {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner).push(address);
    }

    fn pass(&self, what: &What) {
        let addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(what, What::Routed { from, .. } if !addresses.contains(&from.ip())) {
            self.to.record(what.clone());
        }
    }
}

// === helpers ===

fn can_be_looked_for(value: &str) -> bool {
    let is_short_number = value.len() < LONG_NUMBER && value.bytes().all(|byte| byte.is_ascii_digit());
    value.len() >= SHORTEST && !["true", "false", "null"].contains(&value) && !is_short_number
}

fn masked_by(secret: &Secret, text: &str) -> String {
    text.replace(&secret.value, &format!("<secret:{}>", secret.name))
}

/// A value as it stands in text, in JSON text (frames and log lines hold that), and in JSON text that is a string of
/// JSON text (what a tool returns); the last two also as encoders write them that keep to ASCII.
fn forms(value: &str) -> Vec<String> {
    let mut forms = vec![value.to_owned()];
    for escape in [escaped, |text: &str| in_ascii(&escaped(text))] {
        let once = escape(value);
        forms.extend([escape(&once), once]);
    }
    forms
}

/// The inside of the JSON string of a text.
fn escaped(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// A JSON string's inside without characters beyond ASCII.
fn in_ascii(escaped: &str) -> String {
    let mut ascii = String::with_capacity(escaped.len());
    for character in escaped.chars() {
        if character.is_ascii() {
            ascii.push(character);
        } else {
            let mut units = [0; 2];
            ascii.extend(character.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    ascii
}

/// Masks every string of a value, but not its keys; whether one changed.
pub(super) fn mask_value(value: &mut serde_json::Value, mask: &impl Fn(&str) -> String) -> bool {
    match value {
        serde_json::Value::String(text) => {
            let masked = mask(text);
            let changed = masked != *text;
            *text = masked;
            changed
        }
        serde_json::Value::Array(items) => mask_all(items.iter_mut(), mask),
        serde_json::Value::Object(fields) => mask_all(fields.values_mut(), mask),
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => false,
    }
}

/// Every one of them, also after the first that changes.
fn mask_all<'v>(
    values: impl Iterator<Item = &'v mut serde_json::Value>,
    mask: &impl Fn(&str) -> String,
) -> bool {
    values.map(|value| mask_value(value, mask)).filter(|changed| *changed).count() > 0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::transcript::{Body, End, FORMAT, Frame, Header, ReadError, Transcript};

    fn secret(name: &str, value: &str) -> Secret {
        Secret { name: name.to_owned(), value: value.to_owned() }
    }

    #[test]
    fn a_secrets_value_is_replaced_wherever_it_stands() {
        let recorder =
            Recorder::new([secret("KEY", "hush"), secret("LONG", "hush-hush"), secret("SHORT", "a")]);
        let exchange = recorder.next_exchange();
        recorder.record(What::Log { pod: "a".to_owned(), line: "key=hush key=hush-hush".to_owned() });
        let body = Body::Json(json!({ "hush": ["hush", { "deep": "xhushx" }], "n": 1 }));
        recorder.record(What::Body { exchange, body });
        let frame = Frame { data: Some("{\"text\":\"hush\"}".to_owned()), ..Frame::default() };
        recorder.record(What::Frame { exchange, frame });
        let text = serde_json::to_string(&recorder.entries()).unwrap();
        // Object keys are a protocol's words; values are where secrets leak.
        assert_eq!(text.matches("hush").count(), 1, "{text}");
        assert!(text.contains("key=<secret:KEY> key=<secret:LONG>"), "{text}");
        assert_eq!(text.matches("<secret:KEY>").count(), 4, "{text}");
    }

    #[test]
    fn a_tap_gets_everything_but_connections_of_others() {
        let (cluster, cell) = (Recorder::new([]), Recorder::new([]));
        let routed = |last| What::Routed { from: ([127, 0, 0, last], 1).into(), replica: "a".to_owned() };
        let log = What::Log { pod: "a".to_owned(), line: "x".to_owned() };
        cluster.record(log.clone());
        let tap = Tap::new(cell.clone());
        tap.own([127, 0, 0, 7].into());
        cluster.tap(tap);
        for what in [routed(7), routed(8), log.clone()] {
            cluster.record(what);
        }
        cluster.untap(&cell);
        cluster.record(log.clone());
        let told: Vec<What> = cell.entries().into_iter().map(|entry| entry.what).collect();
        assert_eq!(told, [routed(7), log]);
        assert_eq!(cluster.entries().len(), 5);
    }

    #[test]
    fn what_is_cut_is_masked_before() {
        let recorder = Recorder::new([secret("KEY", "hush-hush")]);
        let padding = "x".repeat(crate::transcript::BODY_KEPT);
        // The cut that every string gets is within the secret, and so is that of the body.
        let text = |before: usize| format!("{}hush-hush{padding}", "y".repeat(before));
        let message = json!({ "params": text(252), "padding": text(252) }).to_string();
        let not_utf8 = [text(252).as_bytes(), b"\xff"].concat();
        for bytes in [message.as_bytes(), text(252).as_bytes(), &not_utf8] {
            let body = recorder.body(bytes);
            let kept = serde_json::to_string(&body).unwrap();
            assert!(matches!(body, Body::Long { length, .. } if length == bytes.len() as u64), "{kept}");
            assert!(kept.contains("<se") && !kept.contains("hus"), "{kept}");
        }
    }

    #[test]
    fn what_stands_in_every_json_text_is_no_secret() {
        let recorder = Recorder::new([secret("A", "true"), secret("B", "5432"), secret("C", "12345678")]);
        let text = r#"{"listChanged":true,"port":5432,"pin":12345678}"#;
        assert_eq!(recorder.mask(text), r#"{"listChanged":true,"port":5432,"pin":<secret:C>}"#);
    }

    #[test]
    fn a_secret_that_is_a_word_of_the_format_does_not_uncover_another() {
        let recorder = Recorder::new([secret("MODE", "timed-out"), secret("KEY", "hush-hush")]);
        let exchange = recorder.next_exchange();
        let how = End::TimedOut { waiting_for: "hush-hush".to_owned(), limit_ms: 1 };
        recorder.record(What::End { exchange, how });
        let text = serde_json::to_string(&recorder.entries()).unwrap();
        assert!(!text.contains("hush"), "{text}");
    }

    #[test]
    fn a_secret_is_found_in_json_text_however_deep_it_stands() {
        let value = "pa\"ss\\wo\nrd \u{fc}\u{1f511}";
        let recorder = Recorder::new([secret("KEY", value)]);
        let inner = json!({ "key": value }).to_string();
        let outer = json!({ "content": [{ "text": inner }] }).to_string();
        // As Python's `json.dumps` writes it.
        let ascii = r#"{"key": "pa\"ss\\wo\nrd \u00fc\ud83d\udd11"}"#;
        for text in [value, inner.as_str(), outer.as_str(), ascii] {
            let masked = recorder.mask(text);
            assert!(masked.contains("<secret:KEY>") && !masked.contains("ss"), "{masked}");
        }
        assert_eq!(recorder.mask(&inner), r#"{"key":"<secret:KEY>"}"#);
    }

    #[test]
    fn a_transcript_survives_its_file() {
        let recorder = Recorder::new([]);
        recorder.record(What::Step { name: "recovery".to_owned() });
        recorder.record(What::Luck { of: "x".to_owned(), probability: 1e-7 });
        let header = Header {
            format: FORMAT,
            cell: "routing/x@off-sse".to_owned(),
            scenario: "routing/x".to_owned(),
            affinity: Some(crate::plan::Affinity::Off),
            transport: Some(crate::plan::Transport::Sse),
            backend: "local".to_owned(),
            hub: "a hub".to_owned(),
            replicas: 2,
            tools: vec!["echo".to_owned()],
            edits: vec!["Service spec.sessionAffinity: None -> ClientIP".to_owned()],
            ..Header::made_by_hand("local", None)
        };
        let transcript = Transcript { header, entries: recorder.entries() };
        let text = transcript.to_jsonl();
        assert_eq!(Transcript::from_jsonl(&text).unwrap(), transcript);
        let broken = text.replace("recovery\"", "recovery");
        assert!(matches!(Transcript::from_jsonl(&broken), Err(ReadError::Entry { line: 2, .. })));
        let newer = text.replacen("\"format\":1", "\"format\":2", 1);
        assert!(matches!(Transcript::from_jsonl(&newer), Err(ReadError::Format { found: 2 })));
        assert!(matches!(Transcript::from_jsonl(""), Err(ReadError::Empty)));
    }
}
