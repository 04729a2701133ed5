//! The rules for servers that no check enforces: what cannot be seen from outside, and what is recorded and not judged because servers
//! that work differ in it. With the checks it covers what the five revisions say of transports, lifecycle, sessions, ping, cancellation
//! and progress.

use harness::check::{SILENT, Unchecked};

/// All of them: first what the revisions say, in their order, then what they leave open.
pub const UNCHECKED: &[Unchecked] = &[
    // === transports ===
    Unchecked {
        rule: "When running locally, servers SHOULD bind only to localhost (127.0.0.1) rather than all network interfaces (0.0.0.0)",
        source: "https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#security-warning",
        why: "a hub behind a Service does not run locally: it has to listen on the pod's address",
        nearest: &["service-name-served"],
    },
    Unchecked {
        rule: "Servers SHOULD implement proper authentication for all connections",
        source: "https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#security-warning",
        why: "who may call is the operator's decision, and often made in front of the hub; `--header` brings what it asks for",
        nearest: &["unauthorised-is-401"],
    },
    Unchecked {
        rule: "If the server does close the connection prior to terminating the SSE stream, it SHOULD send an SSE event with a standard \
               `retry` field before closing the connection (the stream of a POST)",
        source: "https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#sending-messages-to-the-server",
        why: "when it closes one is the server's choice, and no server was seen to; the stream of a GET is watched",
        nearest: &["idle-stream-says-retry", "request-answered"],
    },
    Unchecked {
        rule: "Event IDs SHOULD encode sufficient information to identify the originating stream",
        source: "https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#resumability-and-redelivery",
        why: "what an id encodes is its server's secret; that it suffices shows when a stream is resumed at any replica",
        nearest: &["resume-loses-nothing", "resume-keeps-to-its-stream"],
    },
    Unchecked {
        rule: "The session ID SHOULD be .. cryptographically secure",
        source: "https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#session-management",
        why: "a few ids do not show how they are made; short and repeated ones are seen",
        nearest: &["session-id-unique"],
    },
    Unchecked {
        rule: "(the server) MUST NOT send any further messages for it (a request whose response stream was closed)",
        source: "https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http#cancellation",
        why: "the stream that could carry them is closed; subscriptions are watched for what does not belong there",
        nearest: &["close-stops-work", "listen-keeps-to-filter"],
    },
    Unchecked {
        rule: "Servers MUST reject requests with a recognized `Mcp-Param-{Name}` header that contains invalid characters; Any server that \
               processes the message body MUST validate that encoded header values .. match the corresponding values in the request body",
        source: "https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http#server-behavior-for-custom-headers",
        why: "needs a tool with a parameter that is mirrored (`x-mcp-header`), which servers MAY have; no tool that is asked for has one",
        nearest: &["header-mismatch-refused"],
    },
    // === lifecycle, and what stands in its place ===
    Unchecked {
        rule: "Implementations SHOULD establish timeouts for all sent requests ..; the sender SHOULD issue a cancellation notification (of \
               the requests of a server)",
        source: "https://modelcontextprotocol.io/specification/2025-11-25/basic/lifecycle#timeouts",
        why: "how long a server waits for its client is not specified, so no silence is too long",
        nearest: &["answer-reaches-owner"],
    },
    Unchecked {
        rule: "If processing a request requires a capability the client did not include .., the server MUST return a \
               `MissingRequiredClientCapabilityError` (-32021)",
        source: "https://modelcontextprotocol.io/specification/2026-07-28/basic#meta",
        why: "needs a tool that asks its client, which this revision has only as multi round-trip requests",
        nearest: &["asks-what-is-declared", "incomplete-meta-refused"],
    },
    Unchecked {
        rule: "If `requestState` influences authorization, resource access, or business logic, servers MUST protect its integrity",
        source: "https://modelcontextprotocol.io/specification/2026-07-28/basic/patterns/mrtr",
        why: "needs a tool that answers with a state of its own; what that influences cannot be seen",
        nearest: &[],
    },
    Unchecked {
        rule: "State that needs to span multiple requests .. MUST be referenced by an explicit identifier the client passes on each request",
        source: "https://modelcontextprotocol.io/specification/2026-07-28/basic#statelessness",
        why: "what state a tool keeps is its own; that none is kept by connection or replica is seen",
        nearest: &["answers-alike", "connection-forgets", "list-not-of-connection"],
    },
    Unchecked {
        rule: "Servers MUST apply the same `cacheScope` to all response pages for a given list request",
        source: "https://modelcontextprotocol.io/specification/2026-07-28/server/utilities/caching",
        why: "needs a list of several pages",
        nearest: &["caching-hinted"],
    },
    // === ping ===
    Unchecked {
        rule: "Implementations SHOULD periodically issue pings to detect connection health",
        source: "https://modelcontextprotocol.io/specification/2025-11-25/basic/utilities/ping#implementation-considerations",
        why: "servers write a comment every 15 s, ping, or say nothing, and all of it works; no cell is silent for so long",
        nearest: &["idle-stream-survives"],
    },
    Unchecked {
        rule: "Timeouts SHOULD be treated as connection failures; Implementations SHOULD log ping failures for diagnostics",
        source: "https://modelcontextprotocol.io/specification/2025-11-25/basic/utilities/ping#error-handling",
        why: "neither how long a server waits nor what its log looks like is specified",
        nearest: &[],
    },
    // === cancellation ===
    Unchecked {
        rule: "Receivers of cancellation notifications SHOULD: Stop processing the cancelled request; Free associated resources; Not send a \
               response for the cancelled request (at the replica that runs it)",
        source: "https://modelcontextprotocol.io/specification/2025-11-25/basic/utilities/cancellation#behavior-requirements",
        why: "receivers MAY ignore it, and servers do: an error, silence and the whole result are all in the field. What came is recorded",
        nearest: &["cancel-taken", "cancel-reaches-owner"],
    },
    Unchecked {
        rule: "Cancellation notifications MUST only reference requests that: Were previously issued in the same direction; Are believed to \
               still be in-progress (of the requests of a server)",
        source: "https://modelcontextprotocol.io/specification/2025-11-25/basic/utilities/cancellation#behavior-requirements",
        why: "nothing that a client may do makes a server cancel a request of its own",
        nearest: &[],
    },
    Unchecked {
        rule: "Both parties SHOULD log cancellation reasons for debugging",
        source: "https://modelcontextprotocol.io/specification/2025-11-25/basic/utilities/cancellation#implementation-notes",
        why: "what a log looks like is not specified",
        nearest: &[],
    },
    Unchecked {
        rule: "A server MUST send `notifications/cancelled` referencing a `subscriptions/listen` request ID when it tears down that \
               subscription stream",
        source: "https://modelcontextprotocol.io/specification/2026-07-28/basic/patterns/cancellation",
        why: "of stdio, as the schema says; over HTTP a subscription ends with its result",
        nearest: &["listen-ends-well"],
    },
    Unchecked {
        rule: "Progress notifications for tasks MUST use the same `progressToken` that was provided in the initial task-augmented request; \
               Progress notifications for tasks MUST stop after the task reaches a terminal status",
        source: "https://modelcontextprotocol.io/specification/2025-11-25/basic/utilities/progress#behavior-requirements",
        why: "needs a tool that runs as a task",
        nearest: &["progress-tokens-known"],
    },
    // === progress ===
    Unchecked {
        rule: "The `message` field SHOULD provide relevant human readable progress information",
        source: "https://modelcontextprotocol.io/specification/2025-11-25/basic/utilities/progress#progress-flow",
        why: "no machine can tell",
        nearest: &[],
    },
    Unchecked {
        rule: "Senders and receivers SHOULD track active progress tokens; Both parties SHOULD implement rate limiting to prevent flooding",
        source: "https://modelcontextprotocol.io/specification/2025-11-25/basic/utilities/progress#implementation-notes",
        why: "no rate is named; that tokens are known is seen",
        nearest: &["progress-tokens-known"],
    },
    // === what the revisions leave open ===
    Unchecked {
        rule: "form of the `endpoint` URI, name of its parameter, form of session ids",
        source: SILENT,
        why: "any URI that leads back is one; it is resolved as RFC 3986 says and never matched against a pattern",
        nearest: &["endpoint-first", "endpoint-same-origin"],
    },
    Unchecked {
        rule: "an `endpoint` that keeps the path prefix of an ingress",
        source: SILENT,
        why: "needs an ingress that takes a prefix off; with `--sse-path` behind one, an endpoint that lost it is refused when it is used",
        nearest: &["post-accepted", "redirects-stay"],
    },
    Unchecked {
        rule: "`Cache-Control` and, before 2026-07-28, `X-Accel-Buffering` on event streams",
        source: SILENT,
        why: "recorded; what counts is that nothing on the path holds events back",
        nearest: &["progress-unbuffered", "buffering-off"],
    },
    Unchecked {
        rule: "what comes to an odd `Content-Type`, to a missing or partial `Accept`, and to a foreign `Host`",
        source: SILENT,
        why: "recorded: servers answer 200, 400, 403, 406, 415 or 421. `Accept` is a MUST of clients, and of `Host` no revision speaks",
        nearest: &["odd-headers-survived", "no-server-error", "service-name-served"],
    },
    Unchecked {
        rule: "the body of an HTTP error, and the id in it",
        source: SILENT,
        why: "it MAY be a JSON-RPC error without id; servers write text, HTML, `null` and ids of their own",
        nearest: &["unreadable-refused", "garbage-refused"],
    },
    Unchecked {
        rule: "a second GET while the stream of a session is open",
        source: SILENT,
        why: "recorded: 409, 405 and a second stream are all in the field",
        nearest: &["get-is-stream-or-405"],
    },
    Unchecked {
        rule: "a batch in another revision than 2025-03-26",
        source: SILENT,
        why: "no revision but that one has batches; servers answer them or refuse",
        nearest: &["batch-answered"],
    },
    Unchecked {
        rule: "a request id that is used twice at the same time in one session",
        source: SILENT,
        why: "a client MUST NOT; servers answer both, or leave one hanging",
        nearest: &["isolated", "at-once-answered"],
    },
    Unchecked {
        rule: "the order of answers",
        source: SILENT,
        why: "none is promised: a fast call overtakes a slow one, and with some servers any other",
        nearest: &["at-once-answered"],
    },
    Unchecked {
        rule: "HEAD on `/sse`",
        source: SILENT,
        why: "it hangs or opens a session, and is no health check: probe `--ready-path`",
        nearest: &[],
    },
];
