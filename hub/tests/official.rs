//! The fixtures of the official suite across two replicas: questions of the server, and calls that go in rounds.
//!
//! The suite itself runs against one replica and against several, see `just official`.

mod support;

use serde_json::{Value, json};
use support::{ACCEPT, Answer, Hub, JSON, Stream, call, exchange, free_address, send, sse_session};

const SUITE: [&str; 2] = ["--toolset", "official"];

fn replica(name: &str) -> Hub {
    Hub::start_at(free_address(), &SUITE, &[("HOSTNAME", name)])
}

fn initialize() -> Value {
    let mut message = support::initialize(1);
    message["params"]["capabilities"] = json!({"sampling": {}, "elicitation": {}});
    message
}

fn said(model: &str) -> Value {
    json!({"role": "assistant", "content": {"type": "text", "text": model}, "model": "test"})
}

fn answer(to: &Value, result: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": to["id"], "result": result})
}

#[test]
fn a_question_travels_on_the_stream_of_its_call_and_the_answer_reaches_the_owner() {
    let (a, b) = (replica("a"), replica("b"));
    let headers = [JSON[0], ACCEPT];
    let begun = exchange(a.address, "POST", "/mcp", &headers, initialize().to_string().as_bytes());
    let session = begun.header("mcp-session-id").unwrap();
    // No stream that a GET opened: there is only the call's own.
    for (id, asked, answered) in [(2, &b, &b), (3, &b, &a), (4, &a, &b)] {
        let message = call(id, "test_sampling", json!({"prompt": "What now?"})).to_string();
        let headers = [JSON[0], ACCEPT, ("Mcp-Session-Id", session.as_str())];
        let mut stream = Stream::of(send(asked.address, "POST", "/mcp", &headers, message.as_bytes()));
        let question: Value = serde_json::from_str(&stream.data().unwrap()).unwrap();
        assert_eq!(question["method"], "sampling/createMessage");
        assert_eq!(question["params"]["messages"][0]["content"]["text"], "What now?");
        let accepted = answered.mcp(&session, "POST", &answer(&question, said("Nothing.")));
        assert_eq!(accepted.status, 202, "{accepted:?}");
        assert_eq!(support::result_text(&stream.answer(id)), "LLM response: Nothing.");
    }
}

#[test]
fn on_http_sse_too() {
    let (a, b) = (replica("a"), replica("b"));
    let (mut stream, path) = sse_session(&a);
    assert_eq!(b.post(&path, &initialize()).status, 202);
    stream.answer(1);
    assert_eq!(b.post(&path, &call(2, "test_elicitation", json!({"message": "Who?"}))).status, 202);
    let question: Value = serde_json::from_str(&stream.data().unwrap()).unwrap();
    assert_eq!(
        (&question["method"], &question["params"]["message"]),
        (&json!("elicitation/create"), &json!("Who?"))
    );
    let given = json!({"action": "accept", "content": {"username": "me", "email": "me@test"}});
    assert_eq!(b.post(&path, &answer(&question, given)).status, 202);
    let text = support::result_text(&stream.answer(2));
    assert!(text.starts_with("User response: action=accept") && text.contains("me@test"), "{text}");
}

#[test]
fn a_client_that_cannot_be_asked_is_not() {
    let hub = Hub::start(&SUITE);
    let session = hub.initialize();
    let refused = hub.mcp(&session, "POST", &call(2, "test_sampling", json!({"prompt": "What now?"})));
    assert!(refused.body.contains("\"isError\":true"), "{}", refused.body);
}

fn round(hub: &Hub, name: &str, more: &Value) -> Answer {
    let mut params = json!({"name": name, "arguments": {}, "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}}}});
    for field in ["requestState", "inputResponses"] {
        if let Some(value) = more.get(field) {
            params[field] = value.clone();
        }
    }
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    let headers = [
        JSON[0],
        ACCEPT,
        ("MCP-Protocol-Version", "2026-07-28"),
        ("Mcp-Method", "tools/call"),
        ("Mcp-Name", name),
    ];
    exchange(hub.address, "POST", "/mcp", &headers, message.to_string().as_bytes())
}

#[test]
fn each_round_of_a_call_may_reach_another_replica() {
    let name = "test_input_required_result_multi_round";
    let (a, b) = (replica("a"), replica("b"));
    let other_key = [("SESSION_KEY", "another session key of 32 bytes or more")];
    let stranger = Hub::start_at(free_address(), &SUITE, &other_key);
    let result = |answer: &Answer| serde_json::from_str::<Value>(&answer.body).unwrap()["result"].clone();
    let given = |step: &str, state: &Value| json!({"requestState": state, "inputResponses": {step: {"action": "accept", "content": {}}}});
    let first = result(&round(&a, name, &json!({})));
    assert_eq!(first["resultType"], "input_required", "{first}");
    let second = result(&round(&b, name, &given("step1", &first["requestState"])));
    assert!(second["inputRequests"]["step2"].is_object(), "{second}");
    let last = given("step2", &second["requestState"]);
    assert_eq!(result(&round(&a, name, &last))["resultType"], "complete");
    let refused = round(&stranger, name, &last);
    assert!(refused.body.contains("-32602"), "{refused:?}");
}

#[test]
fn without_the_toolset_there_is_none_of_it() {
    let hub = Hub::start(&[]);
    let session = hub.initialize();
    let listed = hub.mcp(&session, "POST", &json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"}));
    assert!(listed.body.contains("whoami") && !listed.body.contains("test_"), "{}", listed.body);
    for method in ["prompts/list", "resources/list", "resources/templates/list", "completion/complete"] {
        let params =
            json!({"ref": {"type": "ref/prompt", "name": "x"}, "argument": {"name": "x", "value": ""}});
        let params = if method == "completion/complete" { params } else { json!({}) };
        let message = json!({"jsonrpc": "2.0", "id": 3, "method": method, "params": params});
        let missing = hub.mcp(&session, "POST", &message);
        assert!(missing.body.contains("-32601"), "{method}: {}", missing.body);
    }
}
