//! What rmcp asks to answer a request: the tools, and the fixtures of the official suite where the toolset has them.
//!
//! Knows no transport.
#![expect(deprecated, reason = "the suite still tests logging")]

use std::sync::Arc;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CompleteRequestMethod, CompleteRequestParams, CompleteResult,
    CustomRequest, CustomResult, ErrorData, GetPromptRequestMethod, GetPromptRequestParams,
    GetPromptResponse, InitializeRequestParams, InitializeResult, ListPromptsRequestMethod,
    ListPromptsResult, ListResourceTemplatesRequestMethod, ListResourceTemplatesResult,
    ListResourcesRequestMethod, ListResourcesResult, ListToolsResult, MetaObject, PaginatedRequestParams,
    ProtocolVersion, ReadResourceRequestMethod, ReadResourceRequestParams, ReadResourceResponse,
    ServerConfig, SetLevelRequestMethod, SetLevelRequestParams, SubscribeRequestMethod,
    SubscribeRequestParams, SubscriptionFilter, Tool, UnsubscribeRequestMethod, UnsubscribeRequestParams,
};
use rmcp::service::{RequestContext, SubscriptionContext};
use rmcp::{RoleServer, ServerHandler};

use crate::cli::Toolset;
use crate::defect::Defect;
use crate::drain::Drain;
use crate::official::{self, Official};
use crate::replica::Replica;
use crate::tools::Tools;

/// The handler of one session, or of one request without a session.
pub struct Handler {
    drain: Arc<Drain>,
    tools: Tools,
    official: Option<official::Session>,
    hides_tools: bool,
}

impl Handler {
    /// The handler that the ones of sessions are made from.
    pub fn new(replica: &Arc<Replica>, toolset: Toolset) -> Self {
        let official = (toolset == Toolset::Official).then(|| Arc::new(Official::new(replica.clone())));
        Self {
            drain: replica.drain.clone(),
            tools: Tools::new(replica.name.clone(), replica.defects),
            official: official.map(official::Session::new),
            hides_tools: replica.defects.has(Defect::HidesTools),
        }
    }

    /// The same for another session.
    pub fn for_session(&self) -> Self {
        Self {
            drain: self.drain.clone(),
            tools: self.tools.for_session(),
            official: self.official.as_ref().map(official::Session::for_session),
            hides_tools: self.hides_tools,
        }
    }

    /// What each result of 2026-07-28 says of the server; earlier revisions say it once, in the answer to `initialize`.
    fn who_answers(&self, context: &Context) -> Option<MetaObject> {
        let is_modern =
            context.meta.protocol_version().is_some_and(|version| version >= ProtocolVersion::V_2026_07_28);
        let who = || serde_json::to_value(self.get_info().server_info).unwrap_or_default();
        is_modern.then(|| MetaObject([(SERVER_INFO.to_owned(), who())].into_iter().collect()))
    }

    /// The official fixtures, or the error of a method that is not there without them.
    fn official<Method: rmcp::model::ConstString>(&self) -> Result<&official::Session, ErrorData> {
        self.official.as_ref().ok_or_else(ErrorData::method_not_found::<Method>)
    }
}

/// The key of `_meta` that names the server.
const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";

type Context = RequestContext<RoleServer>;
type Page = Option<PaginatedRequestParams>;

impl ServerHandler for Handler {
    fn get_info(&self) -> ServerConfig {
        let mut info = self.tools.get_info();
        if self.official.is_some() {
            info.capabilities = official::capabilities();
        }
        if self.hides_tools {
            info.capabilities.tools = None;
        }
        info
    }

    async fn initialize(
        &self,
        request: InitializeRequestParams,
        context: Context,
    ) -> Result<InitializeResult, ErrorData> {
        let capabilities = self.get_info().capabilities;
        let mut result = self.tools.initialize(request, context).await?;
        result.capabilities = capabilities;
        Ok(result)
    }

    async fn ping(&self, context: Context) -> Result<(), ErrorData> {
        self.tools.ping(context).await
    }

    async fn list_tools(&self, page: Page, context: Context) -> Result<ListToolsResult, ErrorData> {
        let who = self.who_answers(&context);
        let mut listed = self.tools.list_tools(page, context).await?;
        listed.meta = who;
        if self.official.is_some() {
            listed.tools.extend(official::tools());
        }
        Ok(listed)
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.official.as_ref().and_then(|_| official::tools().find(|tool| tool.name == name))
    }

    async fn call_tool(
        &self,
        call: CallToolRequestParams,
        context: Context,
    ) -> Result<CallToolResponse, ErrorData> {
        let who = self.who_answers(&context);
        let mut answer = match &self.official {
            Some(official) if official::has_tool(&call.name) => Box::pin(official.call(call, context)).await,
            _ => self.tools.call_tool(call, context).await,
        }?;
        if let (CallToolResponse::Complete(result), Some(who)) = (&mut answer, who) {
            result.meta.get_or_insert_default().extend(who);
        }
        Ok(answer)
    }

    async fn on_custom_request(
        &self,
        request: CustomRequest,
        context: Context,
    ) -> Result<CustomResult, ErrorData> {
        self.tools.on_custom_request(request, context).await
    }

    async fn list_prompts(&self, _: Page, _: Context) -> Result<ListPromptsResult, ErrorData> {
        self.official::<ListPromptsRequestMethod>()?;
        Ok(ListPromptsResult::with_all_items(official::prompts()))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        context: Context,
    ) -> Result<GetPromptResponse, ErrorData> {
        self.official::<GetPromptRequestMethod>()?.prompt(&request, &context)
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        _: Context,
    ) -> Result<CompleteResult, ErrorData> {
        self.official::<CompleteRequestMethod>()?;
        official::complete(&request)
    }

    async fn set_level(&self, request: SetLevelRequestParams, _: Context) -> Result<(), ErrorData> {
        self.official::<SetLevelRequestMethod>()?.set_level(request.level);
        Ok(())
    }

    async fn list_resources(&self, _: Page, _: Context) -> Result<ListResourcesResult, ErrorData> {
        self.official::<ListResourcesRequestMethod>()?;
        Ok(ListResourcesResult::with_all_items(official::resources()))
    }

    async fn list_resource_templates(
        &self,
        _: Page,
        _: Context,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        self.official::<ListResourceTemplatesRequestMethod>()?;
        Ok(ListResourceTemplatesResult::with_all_items(official::templates()))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: Context,
    ) -> Result<ReadResourceResponse, ErrorData> {
        self.official::<ReadResourceRequestMethod>()?;
        official::read(&request.uri)
    }

    // The fixtures never change, so there is nothing to tell a subscriber and nothing to remember.
    async fn subscribe(&self, request: SubscribeRequestParams, _: Context) -> Result<(), ErrorData> {
        self.official::<SubscribeRequestMethod>()?;
        official::read(&request.uri).map(|_| ())
    }

    async fn unsubscribe(&self, request: UnsubscribeRequestParams, _: Context) -> Result<(), ErrorData> {
        self.official::<UnsubscribeRequestMethod>()?;
        official::read(&request.uri).map(|_| ())
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        // Without the fixtures nothing here ever changes: a subscription is acknowledged and stays silent.
        Some(self.official.as_ref().map_or_else(SubscriptionFilter::new, |_| requested.clone()))
    }

    async fn listen(&self, subscription: SubscriptionContext) -> Result<(), ErrorData> {
        let served = async {
            match &self.official {
                Some(official) => official.listen(subscription).await,
                None => subscription.cancelled().await,
            }
        };
        // Ends well when the replica begins to stop: its client can subscribe elsewhere while calls are still answered here.
        tokio::select! {
            () = served => {}
            () = self.drain.draining().cancelled() => {}
        }
        Ok(())
    }
}
