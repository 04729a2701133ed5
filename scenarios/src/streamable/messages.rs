//! What a hub answers to the three kinds of messages.

use futures_util::future::FutureExt;
use harness::plan::{Need, Outline, Tool, Transport};
use harness::run::{Scenario, Setup, Stage};
use harness::wire::Progress;
use serde_json::{Value, json};

use super::{BOTH, SPEC_SENDING, checks};

/// The name of a notification that any server takes.
pub(super) const NOTIFICATION: &str = "notification";

/// The name of an answer to a request that the hub never sent.
pub(super) const RESPONSE: &str = "response";

/// The name of a request.
pub(super) const REQUEST: &str = "request";

/// Notifications are accepted without a word, requests are answered as JSON or as an event stream.
pub const MESSAGES: Scenario = Scenario {
    outline: Outline { id: "streamable/messages", affinities: &[], transports: BOTH, needs: &[] },
    title: "notifications get 202 and no body, requests JSON or an event stream that ends with the answer",
    why: "Clients decide by status and media type how to read an answer: what fits neither is an error to one of them \
          and silence to the next.",
    spec: &[SPEC_SENDING],
    remedy: "hub: 202 without a body for notifications and responses; `application/json` or `text/event-stream` for \
             requests, and close the stream after the answer",
    guide: None,
    setup: Setup::ONE_REPLICA,
    checks: &[
        &checks::NOTIFICATION_IS_202,
        &checks::ACCEPTED_WITHOUT_BODY,
        &checks::REQUEST_ANSWER_TYPE,
        &checks::REQUEST_ANSWERED,
        &checks::STREAM_ENDS_AFTER_ANSWER,
    ],
    drive: |stage| messages(stage).boxed(),
};

async fn messages(stage: &Stage) -> anyhow::Result<()> {
    let service = stage.service();
    let Some(holder) = stage.open("a", &service).await else {
        return Ok(());
    };
    let session = &holder.session;
    let notification = match stage.transport() {
        // The only one that a client may send, and it names nothing that is in flight.
        Transport::Stateless => {
            session.raw_notification("notifications/cancelled", json!({ "requestId": 4711 }))
        }
        _ => session.raw_notification("notifications/initialized", Value::Null),
    };
    session.send(&service, notification.clone().named(NOTIFICATION)).await;
    if stage.transport() == Transport::Streamable {
        let mut response = notification.named(RESPONSE);
        response.body = json!({ "jsonrpc": "2.0", "id": 4711, "result": {} }).to_string().into();
        session.send(&service, response).await;
    }
    stage.ask(&holder, &service, REQUEST, stage.small(), json!({})).await;
    if stage.offers(Need::Tool(Tool::Count)) {
        let call = stage.tool_call(Tool::Count, &json!({ "n": 3, "interval_ms": 10 }));
        session.send(&service, session.raw_asking("tools/call", call, Progress::Asked).named(REQUEST)).await;
    }
    session.end(&service).await;
    Ok(())
}
