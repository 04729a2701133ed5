//! Inputs that a call gathers from its client in rounds (2026-07-28, multi round-trip requests).
//!
//! Nothing is kept between two rounds but what the client carries: any replica can answer any round, because the state is sealed
//! with the session key that all of them have.

use rmcp::model::{
    ClientCapabilities, ErrorData, InputRequest, InputRequests, InputRequiredResult, InputResponses,
};

use super::fixtures::Gather;
use crate::session_id::Keyring;

/// What comes of one round.
pub(super) enum Round {
    /// Everything was answered.
    Done,
    /// This is asked for.
    Asks(InputRequiredResult),
}

/// One round of the call `name`: looks at what the client brought, and asks for what is missing.
///
/// # Errors
/// A state that no replica sealed for this call, or a client that can give nothing of what is needed.
pub(super) fn round(
    gather: &Gather,
    name: &str,
    responses: Option<&InputResponses>,
    state: Option<&str>,
    client: &ClientCapabilities,
    keyring: &Keyring,
) -> Result<Round, ErrorData> {
    let begun = match state.filter(|_| gather.sealed) {
        None => 0,
        Some(state) => keyring
            .open_note(name, state)
            .and_then(|note| <[u8; 1]>::try_from(note).ok())
            .map(|[round]| usize::from(round))
            .filter(|round| *round < gather.rounds.len())
            .ok_or_else(|| ErrorData::invalid_params("This requestState was not made for this call", None))?,
    };
    let answerable = |round: usize| -> InputRequests {
        let asked = gather.rounds[round].iter().filter(|(_, request)| can_answer(client, request));
        asked.map(|(key, request)| (key.clone(), request.clone())).collect()
    };
    let wanted = answerable(begun);
    // Anything but an object is no answer: it is asked for again.
    let is_answered =
        |key: &String| responses.is_some_and(|given| given.get(key).is_some_and(|r| r.is_object()));
    let is_complete =
        !wanted.is_empty() && wanted.keys().all(is_answered) && (state.is_some() || !gather.sealed);
    let next = if is_complete { begun + 1 } else { begun };
    if next == gather.rounds.len() {
        return Ok(Round::Done);
    }
    let asks = answerable(next);
    if asks.is_empty() {
        return Err(ErrorData::missing_required_client_capability(needed(&gather.rounds[next])));
    }
    let state = gather.sealed.then(|| keyring.seal_note(name, &[u8::try_from(next).unwrap_or(u8::MAX)]));
    Ok(Round::Asks(InputRequiredResult::new(Some(asks), state)))
}

fn can_answer(client: &ClientCapabilities, request: &InputRequest) -> bool {
    match request {
        InputRequest::CreateMessage(_) => client.sampling.is_some(),
        InputRequest::Elicitation(_) => client.elicitation.is_some(),
        InputRequest::ListRoots(_) => client.roots.is_some(),
        _ => false,
    }
}

fn needed(round: &InputRequests) -> ClientCapabilities {
    let mut needed = ClientCapabilities::default();
    for request in round.values() {
        match request {
            InputRequest::CreateMessage(_) => needed.sampling = Some(Default::default()),
            InputRequest::Elicitation(_) => needed.elicitation = Some(Default::default()),
            InputRequest::ListRoots(_) => needed.roots = Some(Default::default()),
            _ => {}
        }
    }
    needed
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::official::fixtures::{Does, fixtures};

    fn gather(name: &str) -> &'static Gather {
        let found = fixtures().tools.iter().find(|fixture| fixture.tool.name == name).unwrap();
        let Does::Gather(gather) = &found.does else { panic!("{name} gathers nothing") };
        gather
    }

    fn able() -> ClientCapabilities {
        serde_json::from_value(json!({"sampling": {}, "elicitation": {}, "roots": {}})).unwrap()
    }

    fn state(round: Result<Round, ErrorData>) -> Option<String> {
        let Ok(Round::Asks(asks)) = round else { panic!("it asked for nothing") };
        asks.request_state
    }

    #[test]
    fn a_state_leads_from_round_to_round_at_any_replica_that_has_the_key() {
        let name = "test_input_required_result_multi_round";
        let key = "a session key for tests, 32 bytes or more";
        let (one, other) = (Keyring::parse(key).unwrap(), Keyring::parse(key).unwrap());
        let answers = |key: &str| InputResponses::from([(key.to_owned(), json!({"action": "accept"}))]);
        let first = state(round(gather(name), name, None, None, &able(), &one)).unwrap();
        let given = answers("step1");
        let second = state(round(gather(name), name, Some(&given), Some(&first), &able(), &other)).unwrap();
        let given = answers("step2");
        let last = round(gather(name), name, Some(&given), Some(&second), &able(), &one);
        assert!(matches!(last, Ok(Round::Done)));
        for wrong in [format!("{second}A"), second.replacen('A', "B", 1) + "-TAMPERED", String::new()] {
            let tampered = round(gather(name), name, Some(&given), Some(&wrong), &able(), &one);
            assert!(tampered.is_err(), "{wrong}");
        }
        let elsewhere = round(gather(name), "another_tool", Some(&given), Some(&second), &able(), &one);
        assert!(elsewhere.is_err(), "a state belongs to its call");
    }

    #[test]
    fn only_what_the_client_can_give_is_asked_for() {
        let name = "test_input_required_result_capabilities";
        let keyring = Keyring::ephemeral();
        let only = serde_json::from_value(json!({"sampling": {}})).unwrap();
        let Ok(Round::Asks(asks)) = round(gather(name), name, None, None, &only, &keyring) else {
            panic!("it asked for nothing")
        };
        assert_eq!(asks.input_requests.unwrap().into_keys().collect::<Vec<_>>(), ["greeting"]);
        let none = ClientCapabilities::default();
        assert!(round(gather(name), name, None, None, &none, &keyring).is_err());
    }
}
