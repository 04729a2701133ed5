//! Transcripts made by hand, to be judged in unit tests.

use harness::check::{self, Check, Strictness};
use harness::plan::{Offers, Transport};
use harness::transcript::{
    Connection, ExchangeId, FORMAT, Header, Path, Recorder, Request, Transcript, What,
};

/// Whether a check finds something in a transcript of these entries, on a real cluster.
pub(crate) fn breached(check: &'static Check, entries: Vec<What>) -> bool {
    let recorder = Recorder::new(Vec::new());
    for what in entries {
        recorder.record(what);
    }
    let header = Header {
        format: FORMAT,
        cell: "lifecycle/node-drain@sse".to_owned(),
        scenario: "lifecycle/node-drain".to_owned(),
        affinity: None,
        transport: Some(Transport::Sse),
        backend: "kind".to_owned(),
        hub: "made by hand".to_owned(),
        replicas: 2,
        tools: Vec::new(),
    };
    let transcript = Transcript { header, entries: recorder.entries() };
    let judged = check::judge(&transcript, &[check], &Offers::default(), Strictness::Ordinary);
    check::breached(&judged.findings).contains(check.id)
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
