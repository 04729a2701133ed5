//! The client of an older revision, which tells what a server speaks beside 2026-07-28.

use harness::plan::Transport;
use harness::run::Stage;
use harness::run::stage::Holder;
use harness::wire::{Target, initialize_asking};

/// The name of an `initialize` as older clients send it.
pub(super) const OLDER: &str = "older client";

/// The oldest revision of Streamable HTTP: a server that speaks it agrees, another one that has sessions offers what it speaks.
const OLDEST: &str = "2025-03-26";

/// Comes as an older client, and goes.
pub(super) async fn come(stage: &Stage, holder: &Holder, service: &Target) {
    let client = &holder.client;
    let Ok(older) = client.begin(Transport::Streamable, service, |get| get).await else { return };
    let initialize = older.raw("initialize", initialize_asking(OLDEST)).named(OLDER);
    let answer = client.exchange(service, initialize).await;
    if let Some(id) = answer.header("mcp-session-id") {
        let session = older.with_id(id.to_owned());
        stage.opened(client, &session);
        session.end(service).await;
    }
}
