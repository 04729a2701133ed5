//! HTTP+SSE, revision 2024-11-05: one stream per session, and messages that are posted beside it.

use super::endpoint::Endpoint;
use super::inbox::Inbox;
use super::message::Voice;
use super::pending::Outcome;
use super::session::Session;
use super::stream::{Opening, Stream};
use super::{Client, Raw, Target};
use crate::plan::Transport;
use crate::transcript::End;

/// Opens the stream, awaits its `endpoint`, and initialises.
pub(super) async fn open(client: &Client, target: &Target) -> Result<Session, Outcome> {
    let session = begin(client, target, |get| get).await?;
    match initialize(&session, target).await {
        Ok(()) => Ok(session),
        Err(outcome) => {
            session.close().await;
            Err(outcome)
        }
    }
}

/// Opens the stream with what `change` makes of its GET, and awaits its `endpoint`.
pub(super) async fn begin(
    client: &Client,
    target: &Target,
    change: impl FnOnce(Raw) -> Raw,
) -> Result<Session, Outcome> {
    let (inbox, asked) = Inbox::new();
    let mut voice = Voice::new(Transport::Sse, client.inner.dialect.clone());
    let limit = client.timeouts().first_event + client.timeouts().slack;
    let get = change(voice.get());
    let mut stream = Stream::start(client, target, get, inbox.clone(), Opening::Endpoint, limit);
    let said = stream.endpoint().await.map_err(Outcome::of_failure)?;
    let scheme = if target.tls.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{}{}", target.authority, client.dialect().sse_path);
    match Endpoint::resolve(&url, &said) {
        Ok(endpoint) => voice.endpoint = Some(endpoint),
        Err(error) => {
            stream.close().await;
            let why = format!("the endpoint event says no URI of a server: {error}");
            return Err(Outcome::Ended(End::Malformed { why }));
        }
    }
    let session = Session::begin(client, voice, inbox);
    session.listen_to(stream);
    session.reply_to(asked);
    Ok(session)
}

async fn initialize(session: &Session, target: &Target) -> Result<(), Outcome> {
    session.initialize(target).await?;
    session.initialized(target).await
}
