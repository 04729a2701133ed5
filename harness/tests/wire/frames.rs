//! The frame parser against itself under other chunks, and against `eventsource-stream`.

use eventsource_stream::Eventsource;
use futures_util::StreamExt;
use harness::transcript::Frame;
use harness::wire::frame::{DEFAULT_LIMIT, FrameTooLong, Parser};
use proptest::prelude::*;

type Parsed = Vec<Result<Frame, FrameTooLong>>;

fn parse<'a>(limit: usize, chunks: impl IntoIterator<Item = &'a [u8]>) -> Parsed {
    let mut parser = Parser::new(limit);
    chunks.into_iter().flat_map(|chunk| parser.push(chunk)).collect()
}

/// The chunks between these places, which may be beyond the end or repeat.
fn split<'a>(bytes: &'a [u8], places: &[usize]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = places.iter().map(|place| place % (bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

/// An event as a client sees it: type, data, last id, retry.
type Event = (String, String, String, Option<u64>);

/// What an `EventSource` would report of these frames.
fn events(frames: &Parsed) -> Vec<Event> {
    let mut last_id = String::new();
    let mut events = Vec::new();
    for frame in frames.iter().map(|frame| frame.as_ref().unwrap()) {
        if let Some(id) = &frame.id {
            last_id.clone_from(id);
        }
        if let Some(data) = &frame.data {
            events.push((frame.event_type().to_owned(), data.clone(), last_id.clone(), frame.retry));
        }
    }
    events
}

fn their_events(chunks: Vec<&[u8]>) -> Vec<Event> {
    let stream = futures_util::stream::iter(chunks.into_iter().map(Ok::<_, std::convert::Infallible>));
    let stream = stream.eventsource().map(|event| event.unwrap());
    let event = |event: eventsource_stream::Event| {
        let retry = event.retry.map(|retry| u64::try_from(retry.as_millis()).unwrap());
        (event.event, event.data, event.id, retry)
    };
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(stream.map(event).collect())
}

/// Documents of everything that can stand in one, and some things that cannot.
fn document() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec!["\n", "\r\n", "\r"]).prop_map(|text| text.as_bytes().to_vec()),
        3 => prop::sample::select(vec![
            "data", "data:", "data: ", "event:", "event: message", "id", "id: ", "retry: ", "retry: 12", ":", ": ping",
            "foo: bar", " ", "\0", "\u{FEFF}", "é", "👍", "0",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        2 => "[a-z0-9 :{}]{0,12}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// Documents on which `eventsource-stream` 0.2.3 can be compared at all. Found in its source and by trying:
///
/// - a byte order mark at the start makes it panic (it slices one byte off a character of three);
/// - invalid UTF-8 holds back everything that follows, and ends as an error;
/// - a CR at the very end waits for what follows, so the frame that it ends never comes;
/// - `retry: +5` counts, because it leaves that to `u64::from_str`.
///
/// It reports no frame without data, and clears `retry` with each; the comparison does the same.
fn comparable() -> impl Strategy<Value = Vec<u8>> {
    let end = || prop::sample::select(vec!["\n", "\r\n", "\r"]);
    let field = prop_oneof![
        Just("data".to_owned()),
        Just("id".to_owned()),
        Just("event".to_owned()),
        "data:[ a-z0-9:é👍\u{FEFF}\0]{0,9}",
        "(event|id|foo|Data):[ a-z0-9:\0]{0,5}",
        "retry:[ ]?[0-9a-z]{0,5}",
        ":[ a-z:]{0,9}",
    ];
    let line = (field, end()).prop_map(|(field, end)| field + end);
    let block = (prop::collection::vec(line, 0..5), end()).prop_map(|(lines, end)| lines.concat() + end);
    let rest = "(data: rest)?\n?";
    (prop::collection::vec(block, 0..8), rest)
        .prop_map(|(blocks, rest)| (blocks.concat() + &rest).into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn chunks_do_not_matter(document in document(), places in prop::collection::vec(any::<usize>(), 0..20)) {
        let whole = parse(DEFAULT_LIMIT, [document.as_slice()]);
        prop_assert_eq!(&parse(DEFAULT_LIMIT, split(&document, &places)), &whole);
        prop_assert_eq!(&parse(DEFAULT_LIMIT, document.chunks(1)), &whole);
    }

    #[test]
    fn chunks_do_not_matter_at_the_limit_either(
        document in document(),
        places in prop::collection::vec(any::<usize>(), 0..20),
        limit in 0_usize..60,
    ) {
        let whole = parse(limit, [document.as_slice()]);
        prop_assert_eq!(&parse(limit, split(&document, &places)), &whole);
        let errors = whole.iter().filter(|frame| frame.is_err()).count();
        prop_assert!(errors <= 1);
        prop_assert_eq!(errors == 1, whole.last().is_some_and(Result::is_err));
    }

    #[test]
    fn any_bytes_are_parsed(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let frames = parse(DEFAULT_LIMIT, [bytes.as_slice()]);
        prop_assert!(frames.iter().all(Result::is_ok));
    }

    #[test]
    fn eventsource_stream_sees_the_same_events(
        document in comparable(),
        places in prop::collection::vec(any::<usize>(), 0..20),
    ) {
        prop_assume!(!document.ends_with(b"\r") && !document.starts_with("\u{FEFF}".as_bytes()));
        let theirs = their_events(split(&document, &places));
        prop_assert_eq!(events(&parse(DEFAULT_LIMIT, [document.as_slice()])), theirs);
    }
}

/// Quadratic work on these would take minutes.
#[test]
fn time_is_linear_in_the_length() {
    let began = std::time::Instant::now();
    let endless_line = vec![b'x'; DEFAULT_LIMIT];
    assert_eq!(parse(DEFAULT_LIMIT, endless_line.chunks(7)), []);
    let many_lines = b"data: x\n".repeat(DEFAULT_LIMIT / 8);
    assert_eq!(parse(DEFAULT_LIMIT, many_lines.chunks(3)), []);
    let many_frames = b"data: x\r\r".repeat(200_000);
    assert_eq!(parse(DEFAULT_LIMIT, many_frames.chunks(5)).len(), 200_000);
    assert!(began.elapsed().as_secs() < 20, "took {:?}", began.elapsed());
}
