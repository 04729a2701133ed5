//! What the official conformance suite (npm `@modelcontextprotocol/conformance`) calls: `--toolset official`.
//!
//! The suite expects a server with tools, prompts and resources of certain names. What they are is data ([`fixtures`]); here is
//! what they do. No test of this project but the suite's own run rests on it.
#![expect(deprecated, reason = "the suite still tests sampling and logging")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rmcp::RoleServer;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ClientCapabilities, ClientResult,
    CompleteRequestParams, CompleteResult, CompletionInfo, ContentBlock, CreateMessageRequest,
    CreateMessageRequestParams, ElicitRequest, ElicitRequestParams, ElicitationSchema, ErrorCode, ErrorData,
    GetPromptRequestParams, GetPromptResponse, GetPromptResult, JsonObject, LoggingLevel,
    LoggingMessageNotification, LoggingMessageNotificationParam, ProgressNotificationParam, Prompt,
    ProtocolVersion, ReadResourceResponse, ReadResourceResult, Resource, ResourceContents, ResourceTemplate,
    SamplingMessage, ServerCapabilities, ServerNotification, ServerRequest, Tool,
};
use rmcp::service::{
    OriginatingRequestId, PeerRequestOptions, RequestContext, ServiceError, SubscriptionContext,
};
use serde_json::{Value, json};
use tokio::time::Instant;

use self::fixtures::{Does, fixtures};
use self::gather::Round;
use self::listeners::Listeners;
use crate::lock;
use crate::replica::{Ids, Replica};
use crate::session_id::Keyring;
use crate::tools::wait_until;

mod fixtures;
mod gather;
mod listeners;

/// How long a client may take to answer what it is asked: a person may be behind it.
const ASK_LIMIT: Duration = Duration::from_secs(60);
/// Between two lines of a log, or two parts of a progress: the suite wants to see them one by one.
const PAUSE: Duration = Duration::from_millis(50);
const LOGGER: &str = "hubcheck-hub";

/// What all sessions of this process share.
pub struct Official {
    replica: Arc<Replica>,
    /// Where sessions live in memory there is no key to seal with but our own.
    own: Keyring,
    listeners: Listeners,
}

impl Official {
    /// The fixtures at `replica`.
    pub fn new(replica: Arc<Replica>) -> Self {
        Self { replica, own: Keyring::ephemeral(), listeners: Listeners::default() }
    }

    fn keyring(&self) -> &Keyring {
        match &self.replica.ids {
            Ids::Forward { keyring, .. } => keyring,
            Ids::Memory => &self.own,
        }
    }
}

/// The fixtures as one session sees them.
pub struct Session {
    shared: Arc<Official>,
    level: Mutex<LoggingLevel>,
}

type Context = RequestContext<RoleServer>;

// === what there is ===

/// What a server with these fixtures can do.
pub(crate) fn capabilities() -> ServerCapabilities {
    fixtures().capabilities.clone()
}

/// Whether the suite's tools have one of this name.
pub(crate) fn has_tool(name: &str) -> bool {
    fixtures().tools.iter().any(|fixture| fixture.tool.name == name)
}

/// The suite's tools.
pub(crate) fn tools() -> impl Iterator<Item = Tool> {
    fixtures().tools.iter().map(|fixture| fixture.tool.clone())
}

/// The suite's prompts.
pub(crate) fn prompts() -> Vec<Prompt> {
    fixtures().prompts.iter().map(|fixture| fixture.prompt.clone()).collect()
}

/// The suite's resources.
pub(crate) fn resources() -> Vec<Resource> {
    fixtures().resources.iter().map(|fixture| fixture.resource.clone()).collect()
}

/// The suite's resource templates.
pub(crate) fn templates() -> Vec<ResourceTemplate> {
    fixtures().templates.clone()
}

/// Suggestions for an argument, those that begin like what was typed.
pub(crate) fn complete(request: &CompleteRequestParams) -> Result<CompleteResult, ErrorData> {
    let known = fixtures().completions.get(&request.argument.name).into_iter().flatten();
    let values = known.filter(|value| value.starts_with(&request.argument.value)).cloned().collect();
    let completion = CompletionInfo::new(values).map_err(|error| ErrorData::internal_error(error, None))?;
    Ok(CompleteResult::new(completion))
}

/// The content of a resource, or of the template's with this URI.
pub(crate) fn read(uri: &str) -> Result<ReadResourceResponse, ErrorData> {
    let known = fixtures().resources.iter().find(|fixture| fixture.resource.uri == uri);
    let content = known.map(|fixture| fixture.content.clone()).or_else(|| {
        let id = uri.strip_prefix("test://template/")?.strip_suffix("/data")?;
        let data = json!({"id": id, "templateTest": true, "data": format!("Data for ID: {id}")});
        Some(ResourceContents::text(data.to_string(), uri).with_mime_type("application/json"))
    });
    let missing = || ErrorData::resource_not_found("Resource not found", Some(json!({"uri": uri})));
    Ok(ReadResourceResult::new(vec![content.ok_or_else(missing)?]).into())
}

// === what they do ===

impl Session {
    pub(crate) fn new(shared: Arc<Official>) -> Self {
        Self { shared, level: Mutex::new(LoggingLevel::Debug) }
    }

    pub(crate) fn for_session(&self) -> Self {
        Self::new(self.shared.clone())
    }

    pub(crate) fn set_level(&self, level: LoggingLevel) {
        *lock(&self.level) = level;
    }

    pub(crate) async fn listen(&self, subscription: SubscriptionContext) {
        self.shared.listeners.serve(subscription).await;
    }

    /// Calls a tool of the suite, until it is done or cancelled.
    pub(crate) async fn call(
        &self,
        call: CallToolRequestParams,
        context: Context,
    ) -> Result<CallToolResponse, ErrorData> {
        let Some(fixture) = fixtures().tools.iter().find(|fixture| fixture.tool.name == call.name) else {
            return Err(ErrorData::invalid_params(format!("Unknown tool: {}", call.name), None));
        };
        tokio::select! {
            done = self.run(&fixture.does, &call, &context) => done,
            () = context.ct.cancelled() => Err(ErrorData::new(ErrorCode(-32800), "Request cancelled", None)),
        }
    }

    async fn run(
        &self,
        does: &'static Does,
        call: &CallToolRequestParams,
        context: &Context,
    ) -> Result<CallToolResponse, ErrorData> {
        let client = context.client_capabilities().unwrap_or_default();
        match does {
            Does::Answer(content) => Ok(CallToolResult::success(content.clone()).into()),
            Does::Fail(why) => Ok(failed(why.as_str())),
            Does::Log(lines) => {
                for (number, line) in lines.iter().enumerate() {
                    pause_before(number).await;
                    self.log(context, line).await;
                }
                Ok(text("Logged what there was to log."))
            }
            Does::Progress(parts) => {
                for (number, part) in parts.iter().enumerate() {
                    pause_before(number).await;
                    progress(context, *part).await;
                }
                Ok(text("Done, part by part."))
            }
            Does::Sample if client.sampling.is_none() => {
                Ok(failed("The client cannot be asked for sampling"))
            }
            Does::Sample => Ok(sample(call, context).await.unwrap_or_else(failed)),
            Does::Ask { .. } if client.elicitation.is_none() => {
                Ok(failed("The client cannot be asked for an input"))
            }
            Does::Ask { says, schema } => {
                Ok(ask(says, schema.clone(), call, context).await.unwrap_or_else(failed))
            }
            Does::NeedSampling if client.sampling.is_none() => {
                let needed = ClientCapabilities::builder().enable_sampling().build();
                Err(ErrorData::missing_required_client_capability(needed))
            }
            Does::NeedSampling => Ok(text("The client has what is needed.")),
            Does::Change(list) => {
                self.shared.listeners.tell(*list).await;
                Ok(text("Everyone who listens here was told."))
            }
            Does::Gather(gather) => {
                let (given, state) = (call.input_responses.as_ref(), call.request_state.as_deref());
                let keyring = self.shared.keyring();
                match gather::round(gather, &call.name, given, state, &client, keyring)? {
                    Round::Asks(asks) => Ok(asks.into()),
                    Round::Done => Ok(text(format!("{}: {}", gather.done, json!(given)))),
                }
            }
        }
    }

    /// Logs one line on the stream of the call, if the client wants it: per session before 2026-07-28, per request since.
    async fn log(&self, context: &Context, line: &str) {
        let level = LoggingLevel::Info;
        let is_wanted = if is_stateless(context) {
            context.meta.log_level().is_some_and(|wanted| rank(level) >= rank(wanted))
        } else {
            rank(level) >= rank(*lock(&self.level))
        };
        if is_wanted {
            let param = LoggingMessageNotificationParam::new(level, json!(line)).with_logger(LOGGER);
            let mut message = LoggingMessageNotification::new(param);
            message.extensions.insert(OriginatingRequestId(context.id.clone()));
            // A client that went away misses it, which does not stop the call.
            let _ = context.peer.send_notification(ServerNotification::from(message)).await;
        }
    }

    /// A prompt with its arguments in place.
    pub(crate) fn prompt(
        &self,
        request: &GetPromptRequestParams,
        context: &Context,
    ) -> Result<GetPromptResponse, ErrorData> {
        let Some(fixture) = fixtures().prompts.iter().find(|fixture| fixture.prompt.name == request.name)
        else {
            return Err(ErrorData::invalid_params(format!("Unknown prompt: {}", request.name), None));
        };
        if let Some(gather) = &fixture.gather {
            let (given, state) = (request.input_responses.as_ref(), request.request_state.as_deref());
            let client = context.client_capabilities().unwrap_or_default();
            let keyring = self.shared.keyring();
            if let Round::Asks(asks) = gather::round(gather, &request.name, given, state, &client, keyring)? {
                return Ok(asks.into());
            }
        }
        let none = JsonObject::new();
        let arguments = request.arguments.as_ref().unwrap_or(&none);
        let wanted = fixture.prompt.arguments.iter().flatten().filter(|wanted| wanted.required == Some(true));
        let missing: Vec<&str> =
            wanted.map(|wanted| wanted.name.as_str()).filter(|name| !arguments.contains_key(*name)).collect();
        if !missing.is_empty() {
            let error = format!("Missing arguments of {}: {}", request.name, missing.join(", "));
            return Err(ErrorData::invalid_params(error, None));
        }
        let messages = filled(&fixture.messages, arguments);
        let messages = serde_json::from_value(messages)
            .map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
        Ok(GetPromptResult::new(messages).into())
    }
}

/// Whether the request has no session, and so may not be answered with a question of our own.
fn is_stateless(context: &Context) -> bool {
    let version = context.protocol_version();
    version.is_some_and(|version| version.as_str() >= ProtocolVersion::V_2026_07_28.as_str())
}

async fn pause_before(number: usize) {
    if number > 0 {
        wait_until(Instant::now(), PAUSE).await;
    }
}

async fn progress(context: &Context, part: u32) {
    if let Some(token) = context.meta.get_progress_token() {
        let progress = ProgressNotificationParam::new(token, f64::from(part)).with_total(100.0);
        let _ = context.peer.notify_progress(progress).await;
    }
}

/// Asks the client's model.
async fn sample(call: &CallToolRequestParams, context: &Context) -> Result<CallToolResponse, String> {
    let prompt = argument(call, "prompt");
    let asked = CreateMessageRequestParams::new(vec![SamplingMessage::user_text(prompt)], 100);
    let answer = asked_client(context, CreateMessageRequest::new(asked).into()).await?;
    let ClientResult::CreateMessageResult(answer) = answer else {
        return Err("The client answered something else".to_owned());
    };
    let said = answer.message.content.iter().filter_map(|content| content.as_text());
    let said: Vec<&str> = said.map(|said| said.text.as_str()).collect();
    Ok(text(format!("LLM response: {}", said.join(" "))))
}

/// Asks the client's user.
async fn ask(
    says: &str,
    requested_schema: ElicitationSchema,
    call: &CallToolRequestParams,
    context: &Context,
) -> Result<CallToolResponse, String> {
    let message = argument(call, "message").to_owned();
    let message = if message.is_empty() { "Please give an input.".to_owned() } else { message };
    let asked = ElicitRequestParams::FormElicitationParams { meta: None, message, requested_schema };
    let answer = asked_client(context, ElicitRequest::new(asked).into()).await?;
    let ClientResult::ElicitResult(answer) = answer else {
        return Err("The client answered something else".to_owned());
    };
    let action = json!(answer.action);
    let action = action.as_str().unwrap_or_default();
    Ok(text(format!("{says}: action={action}, content={}", json!(answer.content))))
}

/// Sends a request of our own on the stream of the call, and waits for the client's answer.
async fn asked_client(context: &Context, request: ServerRequest) -> Result<ClientResult, String> {
    let options = PeerRequestOptions::with_timeout(ASK_LIMIT);
    let said = |error: ServiceError| format!("The client did not answer: {error}");
    let asked = context.peer.send_request_with_option(request, options).await.map_err(said)?;
    asked.await_response().await.map_err(said)
}

fn argument<'a>(call: &'a CallToolRequestParams, name: &str) -> &'a str {
    let given = call.arguments.as_ref().and_then(|arguments| arguments.get(name));
    given.and_then(Value::as_str).unwrap_or_default()
}

/// `{name}` replaced by the argument of this name, in every text of `value`.
fn filled(value: &Value, arguments: &JsonObject) -> Value {
    match value {
        Value::String(text) => {
            let mut text = text.clone();
            for (name, argument) in arguments {
                text = text.replace(&format!("{{{name}}}"), argument.as_str().unwrap_or_default());
            }
            text.into()
        }
        Value::Array(values) => values.iter().map(|value| filled(value, arguments)).collect(),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| (name.clone(), filled(value, arguments)));
            Value::Object(fields.collect())
        }
        other => other.clone(),
    }
}

fn text(text: impl Into<String>) -> CallToolResponse {
    CallToolResult::success(vec![ContentBlock::text(text)]).into()
}

fn failed(why: impl Into<String>) -> CallToolResponse {
    CallToolResult::error(vec![ContentBlock::text(why)]).into()
}

/// How grave a level is.
fn rank(level: LoggingLevel) -> u8 {
    level as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fixtures_can_be_read_and_prompts_filled() {
        assert!(has_tool("test_simple_text") && !has_tool("whoami"));
        let no_arguments = tools().find(|tool| tool.name == "test_simple_text").unwrap();
        assert_eq!(no_arguments.input_schema["type"], "object");
        for fixture in &fixtures().prompts {
            let arguments = json!({"arg1": "one", "arg2": "{arg1}", "resourceUri": "test://x"});
            let messages = filled(&fixture.messages, arguments.as_object().unwrap());
            serde_json::from_value::<Vec<rmcp::model::PromptMessage>>(messages).unwrap();
        }
        for fixture in &fixtures().resources {
            assert!(read(&fixture.resource.uri).is_ok());
        }
        assert!(read("test://template/7/data").is_ok() && read("test://nothing").is_err());
    }
}
