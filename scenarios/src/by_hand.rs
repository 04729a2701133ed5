//! Transcripts made by hand, to be judged in unit tests.

use harness::check::{self, Check, Judged, Strictness};
use harness::plan::{Deployed, Offers, Transport};
use harness::transcript::{Connection, Entry, ExchangeId, FORMAT, Header, Path, Request, Transcript, What};

/// Whether a check finds something in a transcript of these entries, on a real cluster.
pub(crate) fn breached(check: &'static Check, entries: Vec<What>) -> bool {
    let judged = judged("kind", check, entries.into_iter().map(|what| (0, what)));
    check::breached(&judged.findings).contains(check.id)
}

/// What a check makes of a transcript of these entries, each with its time in ms.
pub(crate) fn judged(
    backend: &str,
    check: &'static Check,
    entries: impl IntoIterator<Item = (u64, What)>,
) -> Judged {
    judged_over(Transport::Sse, backend, check, entries)
}

/// The same of a cell over this transport.
pub(crate) fn judged_over(
    transport: Transport,
    backend: &str,
    check: &'static Check,
    entries: impl IntoIterator<Item = (u64, What)>,
) -> Judged {
    let header = header(transport, backend);
    let entries = (1..).zip(entries).map(|(seq, (ms, what))| Entry { seq, at_us: ms * 1000, what });
    let transcript = Transcript { header, entries: entries.collect() };
    check::judge(&transcript, &[check], &Offers::default(), Strictness::Ordinary)
}

/// A request of a client through the Service of `hub.example`.
pub(crate) fn request(exchange: ExchangeId, method: &str, target: &str) -> Request {
    Request {
        exchange,
        client: "client".to_owned(),
        probe: None,
        path: Path::Service,
        tls: false,
        method: method.to_owned(),
        target: target.to_owned(),
        headers: vec![("host".to_owned(), "hub.example".to_owned())],
        body: None,
        connection: Connection::Fresh,
    }
}

/// The header of a cell over this transport.
pub(crate) fn header(transport: Transport, backend: &str) -> Header {
    Header {
        format: FORMAT,
        cell: "lifecycle/node-drain@sse".to_owned(),
        scenario: "lifecycle/node-drain".to_owned(),
        affinity: None,
        transport: Some(transport),
        backend: backend.to_owned(),
        hub: "made by hand".to_owned(),
        replicas: 2,
        tools: Vec::new(),
        echo: harness::transcript::Echo::default(),
        measured: harness::transcript::measured::Measured::default(),
        deployed: Deployed::default(),
        what_if: None,
        edits: Vec::new(),
    }
}
