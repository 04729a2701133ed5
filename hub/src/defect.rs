//! Deliberate faults, one per check, so that every check is shown to catch something.
//!
//! Without `--defect` nothing here has an effect. A defect is asked for where it acts, by name, and changes nothing else.

use clap::ValueEnum;

/// One deliberate fault. The doc comment of a variant is what `--list-defects` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Defect {
    // === of routing, and of every cell ===
    /// Every second request of a session is answered `404 Could not find session` by its own owner.
    LosesSessions,
    /// A POST for a session of another replica is accepted (202, or an SSE stream without an answer) and dropped.
    SwallowsStrays,
    /// A request for a session of another replica is read and never answered.
    HangsOnStrays,
    /// A POST for an unknown or ended session is answered 202 and dropped.
    AcceptsUnknown,
    /// A tool call runs twice and is answered once.
    ExecutesTwice,
    /// The answer to a tool call is sent twice.
    AnswersTwice,
    /// SIGTERM ends the process at once; calls in flight are lost.
    DropsCallsOnStop,
    /// After the first session of the process every new session gets 503.
    RefusesSecondSession,
    /// While the process has a session, another one is refused: 400, `Server already initialized`.
    OneSessionOnly,
    /// A stream or request whose owner died stays open and silent.
    KeepsDeadStreams,
    /// A forwarded request waits without limit for its owner's response headers.
    WaitsForStoppedOwner,
    /// An answer of one session carries, or goes to, another session of the same process.
    CrossesStreams,
    /// `tools/list` names the replica that answered it.
    ReplicaDependentTools,
    /// `echo` appends the name of the replica that answered it.
    ReplicaDependentAnswers,
    /// `whoami` always answers `hub-0`, as if one replica served everybody.
    HoardsConnections,
    /// A request whose session id was never issued is answered 503 instead of 404; one that was and has ended, 404 as ever.
    #[value(name = "unknown-is-503")]
    UnknownIs503,
    /// A stream that a GET opened is ended by the server after a second.
    CutsIdleStreams,
    /// A replica whose own IPv4 address has an odd last octet answers 503 to every new session.
    RefusesSessionsAtOddAddress,
    /// The answer to a tool call in a session carries the request's id + 1000.
    RenumbersAnswers,
    /// Every 15th connection that carries no health probe is answered with bytes that are no HTTP, and closed.
    SpeaksGarbage,
    /// The process exits with code 1 on its fourth tool call.
    CrashesOnCall,
    /// `echo` appends the value of the environment variable `POSTGRES_PASSWORD`, if there is one.
    ShowsSecrets,
    /// The hub does not declare the capability `tools`, and yet lists some.
    HidesTools,
    /// The first tool of `tools/list` has an empty input schema.
    MisshapesTools,
    /// With each `tools/list` of a session the hub asks its client for its roots, whatever that can do.
    AsksForRoots,
    /// `Mcp-Session-Id`, `Content-Type` and `WWW-Authenticate` come twice in each answer.
    RepeatsHeaders,
    // === of HTTP+SSE (`sse`) ===
    /// The stream of `GET /sse` is answered with `Content-Type: text/plain`.
    MistypedStream,
    /// A `message` event comes before the `endpoint` event.
    EndpointSecond,
    /// The `endpoint` event says a URL of another host.
    EndpointElsewhere,
    /// A POST on `/messages` is answered with a redirect.
    RedirectsMessages,
    /// Messages of an HTTP+SSE session are sent as events of type `reply`.
    MisnamesEvents,
    /// A request whose `Host` is no address is answered 421.
    KnowsOnlyAddresses,
    /// A body on `/messages` that is no message is answered 202.
    AcceptsGarbage,
    /// A body on `/messages` that is no message ends its session.
    GarbageEndsSession,
    /// A body on `/messages` that is no message is answered 500.
    FailsOnGarbage,
    /// The first message of an HTTP+SSE session is accepted and dropped, unless it is `initialize`.
    DropsFirstMessage,
    /// A `tools/list` that is among the first two messages of an HTTP+SSE session ends it.
    EarlyListEndsSession,
    // === of Streamable HTTP (`streamable`) ===
    /// What is accepted with 202, notifications and responses, is answered 200 on `/mcp`.
    #[value(name = "notifications-are-200")]
    NotificationsAre200,
    /// 202 on `/mcp` has the body `Accepted`.
    AcceptsWithBody,
    /// The answer to `tools/list` on `/mcp` has the media type `text/plain`.
    AnswersAsText,
    /// The event stream of `tools/list` or `count` on `/mcp` stays open after its answer.
    HoldsAnsweredStreams,
    /// `Mcp-Session-Id` contains spaces.
    SpacedSessionIds,
    /// Every `initialize` on `/mcp` is answered with the id of the first session.
    RepeatsSessionIds,
    /// A request on `/mcp` without a session id is answered 404 instead of 400.
    #[value(name = "missing-id-is-404")]
    MissingIdIs404,
    /// DELETE on `/mcp` is answered 500.
    #[value(name = "delete-is-500")]
    DeleteIs500,
    /// An invalid `MCP-Protocol-Version` is taken for none.
    AcceptsAnyVersion,
    /// A request of a session without `MCP-Protocol-Version` is answered 400.
    DemandsVersion,
    /// GET on `/mcp` is answered 404.
    #[value(name = "get-is-404")]
    GetIs404,
    /// A body on `/mcp` that is no JSON is answered 202.
    AcceptsBadJson,
    /// A body on `/mcp` that is no JSON ends its session.
    BadJsonEndsSession,
    /// A batch of 2025-03-26 is answered 400.
    RefusesBatches,
    /// A session on `/mcp` ends when the stream of one of its requests breaks.
    DisconnectEndsSession,
    /// A stream that is resumed begins one event after the one that was missed.
    ResumesLate,
    /// A stream that is resumed begins with the event that its client had last.
    ResumesEarly,
    /// A stream that is resumed begins with what the other streams of its session had.
    ResumesAllStreams,
    /// Every stream of a session has the same event ids.
    RepeatsEventIds,
    /// Streams of a session on `/mcp` begin without an event id.
    PrimesNothing,
    /// `tools/list` and `count` on `/mcp` are answered with an event stream that ends before anything came on it.
    EndsStreamsEarly,
    /// Progress in a session on `/mcp` goes to the stream that a GET opened.
    ProgressAside,
    /// Answers of a session on `/mcp` go to the stream that a GET opened, too.
    BroadcastsAnswers,
    // === of 2026-07-28 (`stateless`) ===
    /// `server/discover` is an unknown method.
    NoDiscover,
    /// `server/discover` does not name 2026-07-28.
    DiscoversOtherVersions,
    /// `tools/list` of 2026-07-28 has no `ttlMs`.
    NoCachingHints,
    /// Results of 2026-07-28 do not name the server.
    NoServerInfo,
    /// Results of 2026-07-28 have no `resultType`.
    NoResultType,
    /// Answers of 2026-07-28 carry an `Mcp-Session-Id`.
    MintsSessionIds,
    /// A request of 2026-07-28 with an `Mcp-Session-Id` is answered 404.
    RefusesStaleIds,
    /// A request of 2026-07-28 with a `Last-Event-ID` is answered 400.
    RefusesEventIds,
    /// `/mcp` refuses `initialize` as a server of 2026-07-28 alone does, and serves requests without `MCP-Protocol-Version`.
    ServesWithoutVersion,
    /// Headers of 2026-07-28 that say something else than the body are overlooked.
    IgnoresHeaders,
    /// An `Mcp-Name` in Base64 is compared as it is.
    ReadsHeadersLiterally,
    /// A request of an unknown version is served as 2026-07-28.
    ServesAnyVersion,
    /// A request of 2026-07-28 with an incomplete `_meta` is served.
    DemandsNothing,
    /// A request of 2026-07-28 without `clientInfo` is refused.
    DemandsClientInfo,
    /// The error for an unknown method of 2026-07-28 comes with 200.
    #[value(name = "unknown-method-is-200")]
    UnknownMethodIs200,
    /// `/mcp` refuses `initialize` as a server of 2026-07-28 alone does, and yet serves GET and DELETE.
    StreamsOnGet,
    /// Event streams of 2026-07-28 have no `X-Accel-Buffering`.
    LetsProxiesBuffer,
    /// The stream of a call of 2026-07-28 begins with a request of the hub.
    AsksInStreams,
    /// The stream of a call of 2026-07-28 begins with a log line that nobody asked for.
    LogsUnasked,
    /// A call without a session goes on when its client closes the stream.
    IgnoresDisconnect,
    /// A subscription begins with a notification in place of its acknowledgement.
    UnasksFirst,
    /// A subscription tells of prompts too, whatever was subscribed to.
    TellsSubscribersAll,
    /// Streams of subscriptions are cut when the process begins to stop.
    CutsSubscriptions,
    /// `tools/list` of 2026-07-28 lacks a tool when its connection has carried a request before.
    ListsLessOnReuse,
    /// A request of 2026-07-28 without `_meta` has that of the request before it on the same connection.
    RemembersConnections,
    // === of the rules that all eras share (`session`) ===
    /// A request with any `Origin` is served.
    IgnoresOrigin,
    /// A request with an `Origin` that is not allowed is answered 400.
    MisanswersOrigin,
    /// A request without `Origin` is answered 403.
    DemandsOrigin,
    /// A method that does not exist is answered with an empty result.
    AnswersUnknownMethods,
    /// A method that does not exist is answered with the error -32602.
    MislabelsUnknownMethods,
    /// A tool that does not exist is answered with the error -32050.
    InventsErrorCodes,
    /// A tool that does not exist answers `done`.
    RunsUnknownTools,
    /// `echo` without its text answers `done`.
    AcceptsAnyArguments,
    /// `echo` answers `?` for every character that is not ASCII.
    AnswersInAscii,
    /// A ping before `notifications/initialized` is answered 400.
    DemandsInitialized,
    /// A ping on `/mcp` is answered with more than nothing.
    AnswersPong,
    /// A ping is answered with an error.
    FailsPings,
    /// An `initialize` that asks for an unknown version is answered 2024-11-05.
    OffersOldestVersion,
    /// Any protocol version that is asked for is agreed to.
    EchoesAnyVersion,
    /// An `initialize` that asks for 2025-11-25 is answered 2025-06-18; one that asks for an unknown version, 2025-11-25 as ever.
    NegotiatesDown,
    /// A request whose id is a string is answered with another string.
    ManglesStringIds,
    /// Notifications leave the hub only with the answer after them, as through a proxy that buffers.
    BuffersStreams,
    /// An event stream for a client that accepts gzip is compressed, and notifications leave only with the answer after them.
    HoldsCompressed,
    /// `Accept`, `Content-Type` and the headers of MCP are known in lower case only.
    KnowsLowerCaseOnly,
    /// A request without the token of `--token`, or with another one, is served.
    ServesStrangers,
    /// A request with another token than that of `--token` is served.
    TakesAnyToken,
    /// 401 comes without `WWW-Authenticate`.
    HidesChallenge,
    /// A browser is told that only `Authorization` and `Content-Type` may be sent.
    CorsForgetsHeaders,
    /// A browser is not told that pages may read `Mcp-Session-Id`.
    CorsHidesSessionId,
    /// Answers to pages of an allowed origin do not say that they may be read.
    CorsMarksNothing,
    /// Progress of a call goes to the session that was opened last.
    ProgressToLast,
    /// A path with a slash at its end is redirected to another host.
    RedirectsSlashes,
    /// A POST whose body is not declared as JSON ends its session.
    OddTypeEndsSession,
    /// A POST whose body is not declared as JSON is answered 500.
    FailsOnOddType,
    /// `notifications/cancelled` is answered 400.
    RefusesCancellations,
    /// `notifications/cancelled` ends its session.
    CancelEndsSession,
    /// In each session the 20th message is accepted and dropped.
    DropsInCrowd,
    /// While a process has more than 10 sessions, every message after the first of each is accepted and dropped.
    MuteInThrong,
    /// A body of more than 16 kB and less than 100 kB is answered 413.
    SmallBodiesOnly,
    /// A POST on `/messages` with a body of more than 500 kB is answered 202 and dropped.
    DropsBigBodies,
    /// A body that is too large ends its session.
    BigBodyEndsSession,
    /// DELETE of a session of another replica, over HTTP+SSE a notification, is answered 404 while its other requests are forwarded.
    RefusesStrayDeletes,
    /// A notification for a session of another replica is answered 202 and dropped.
    DropsStrayNotifications,
    /// A client's answer to a question of a session of another replica is answered 202 and dropped.
    DropsStrayResponses,
    /// The first `tools/list` of a process lacks a tool.
    FirstListIsShort,
    /// Every second `tools/list` of a process is in the reverse order.
    ReordersTools,
    /// `count` reports its progress backwards.
    ProgressFalls,
    /// `count` reports its progress with another token.
    ProgressOfOthers,
    /// One part of one answer is written at a time: the others wait until the client has taken it.
    WaitsForSlowReaders,
    /// A client that goes before its answer has ended keeps one of 200 places; without a place no request is answered.
    KeepsVanishedClients,
    /// Only 50 connections are served at a time, health probes aside; the others wait.
    ServesFewConnections,
    /// `sleep` and the hold of `tally` block the whole process.
    ToolBlocksProcess,
    /// A request's body is read as text piece by piece: a character between two pieces becomes replacement characters.
    CutsCharacters,
    /// A POST whose body does not arrive with its head is answered 400.
    WantsBodyWithHead,
    /// After 30 requests from one address the others from there are answered 429.
    LimitsPerAddress,
    /// A process is started for each session, and never ended.
    KeepsChildren,
    /// A process is started for each session, ended with it, and never waited for.
    LeavesZombies,
    // === of the life of a pod (`lifecycle`) ===
    /// A required secret that is missing ends nothing: the process is ready, and answers 500 to every MCP request.
    StartsWithoutSecret,
    /// A required secret that is missing ends nothing: the process is ready, and leaves every MCP request unanswered.
    HangsWithoutSecret,
    /// What keeps the process from starting is not printed.
    DiesSilently,
    /// A session id that was sealed with an unknown key is answered like any other that is unknown.
    HidesUnknownKey,
    /// `/readyz` answers 503 for ever.
    NeverReady,
    /// `/healthz` answers 404.
    NoHealthz,
    /// A process that was stopped for a second (SIGSTOP) ends all its sessions when it goes on, as if their leases had run out.
    ForgetsAfterPause,
    /// SIGTERM is ignored, as by a process without a handler that is PID 1.
    IgnoresSigterm,
    /// `/readyz` answers 200 from the start, but for 1.5 s after it was first asked the process answers 503 to every MCP request.
    ReadyTooSoon,
    /// Requests are carried to sessions' owners one at a time, each for up to 10 s, and every other request of the process waits in
    /// line behind them.
    WaitsInLine,
    /// A path that is none of the hub's is answered 503.
    #[value(name = "unknown-path-is-503")]
    UnknownPathIs503,
    /// A path that is none of the hub's is answered 404 without a word.
    UnknownPathIsBare,
}

impl Defect {
    /// The name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// What it does, in one sentence.
    pub fn what(self) -> String {
        self.to_possible_value()
            .and_then(|value| value.get_help().map(ToString::to_string))
            .unwrap_or_default()
    }
}

/// The faults of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Defects([u64; 4]);

impl Defects {
    /// Whether `defect` was asked for.
    pub fn has(self, defect: Defect) -> bool {
        let (word, bit) = place(defect);
        self.0[word] & bit != 0
    }

    /// Parses names; empty ones are skipped, so that an empty `DEFECT` means none.
    ///
    /// # Errors
    /// The first name that is no defect.
    pub fn parse<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut defects = Self::default();
        for name in names.into_iter().map(str::trim).filter(|name| !name.is_empty()) {
            let defect = Defect::from_str(name, false)
                .map_err(|_| format!("unknown defect `{name}`: see --list-defects"))?;
            let (word, bit) = place(defect);
            defects.0[word] |= bit;
        }
        Ok(defects)
    }
}

/// The word and the bit that stand for a defect.
fn place(defect: Defect) -> (usize, u64) {
    let number = defect as usize;
    (number / 64, 1 << (number % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_defect_is_found_by_its_name_and_says_what_it_does() {
        for &defect in Defect::value_variants() {
            let defects = Defects::parse([defect.name().as_str()]).unwrap();
            for &other in Defect::value_variants() {
                assert_eq!(defects.has(other), other == defect);
            }
            assert!(!defect.what().is_empty(), "{defect:?}");
        }
    }

    #[test]
    fn empty_names_are_none_and_unknown_ones_an_error() {
        assert_eq!(Defects::parse(["", " "]).unwrap(), Defects::default());
        assert!(Defects::parse(["loses-sesions"]).unwrap_err().contains("loses-sesions"));
    }
}
