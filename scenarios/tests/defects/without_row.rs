//! Checks that judge a transport over which no defect shows them, and why none has to.

/// A reason, and the checks with the transports that it holds for.
type Reason = (&'static str, &'static [(&'static str, &'static str)]);

pub(crate) const REASONS: &[Reason] = &[
    (
        "the pod is at fault, whatever it is asked: how it starts and stops knows no transport, and the rows without one show it",
        &[
            ("no-hang", "stateless"),
            ("recovers", "sse"),
            ("recovers", "streamable"),
            ("recovers", "stateless"),
            ("symptom-told", "sse"),
            ("symptom-told", "streamable"),
            ("symptom-told", "stateless"),
        ],
    ),
    (
        "there is no session that could be refused, ended or kept at one replica",
        &[
            ("big-body-survived", "stateless"),
            ("every-replica-serves", "stateless"),
            ("new-session-works", "stateless"),
            ("serves-after-unreadable", "stateless"),
        ],
    ),
    (
        "each request is a connection of its own on /mcp, with nothing that several share but what the other transports have, too",
        &[("at-once-answered", "stateless")],
    ),
    (
        "bodies are read, and refused, in one place before any transport; a defect of silence takes 7 s for each of them",
        &[("big-body-told", "streamable"), ("big-body-told", "stateless")],
    ),
    (
        "the stream of an HTTP+SSE session is a connection to its owner, and ends with that one's process whatever a hub does",
        &[("orphans-told", "sse")],
    ),
    (
        "all that is asked there is an answer after the silence, as of every call; the end of a stream is another check's business",
        &[("idle-stream-survives", "streamable")],
    ),
];
