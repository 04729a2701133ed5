//! Streamable HTTP with sessions, revisions 2025-03-26 to 2025-11-25.

use super::inbox::Inbox;
use super::message::{self, Voice};
use super::pending::Outcome;
use super::session::Session;
use super::{Answer, Client, Target};
use crate::plan::Transport;

/// A session that has no id yet.
pub(super) fn begin(client: &Client) -> Session {
    let (inbox, asked) = Inbox::new();
    let session =
        Session::begin(client, Voice::new(Transport::Streamable, client.inner.dialect.clone()), inbox);
    session.reply_to(asked);
    session
}

/// Initialises; id and version are what the answer to `initialize` says.
pub(super) async fn open(client: &Client, target: &Target) -> Result<Session, Outcome> {
    let (inbox, asked) = Inbox::new();
    let voice = Voice::new(Transport::Streamable, client.inner.dialect.clone());
    let unnamed = Session::begin(client, voice.clone(), inbox);
    let (result, answer) = unnamed.initialize(target).await?;
    let version = result["protocolVersion"].as_str().unwrap_or(message::version(Transport::Streamable));
    let id = answer.as_ref().and_then(|answer: &Answer| answer.header("mcp-session-id"));
    let voice = Voice { id: id.map(str::to_owned), version: Some(version.to_owned()), ..voice };
    let session = unnamed.named(voice);
    session.reply_to(asked);
    session.initialized(target).await?;
    Ok(session)
}
