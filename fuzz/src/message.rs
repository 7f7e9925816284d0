//! The message parser: what it accepts has one reading, and that is the reading of others too.

use weir_policy::{
    Context, Counters, Message, Micros, Policy, Resolver, ResolverSpec, Ruling, Value, judge_bytes,
};

use crate::foreign::Foreign;

const DENY_ALL: &[u8] = br#"{"version": "1", "default": "deny", "tools": {}}"#;
const ENVELOPE: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];

/// Who calls, for every judgement here.
pub fn context() -> Context<'static> {
    Context {
        node: "n",
        server: "nas",
        grant: "g",
        session: "s",
        client_name: "",
        client_version: "",
        received_at: Micros(0),
    }
}

/// The reading of the server of the profile.
pub fn profiled() -> Resolver {
    Resolver::compile(&ResolverSpec {
        profile: Some("truenas".into()),
        ..ResolverSpec::default()
    })
    .expect("the profile compiles")
}

pub fn check(bytes: &[u8]) {
    let Ok(message) = Message::parse(bytes) else {
        return;
    };
    let foreign = Foreign::read(bytes).expect("accepted, and no JSON for others");
    assert_eq!(
        foreign.doubtful(),
        None,
        "a key that can be read in two ways"
    );
    assert!(foreign.depth() <= 64, "nested too deep");
    let Foreign::Object(members) = &foreign else {
        panic!("accepted, and no object for others")
    };
    for (key, _) in members {
        let folds = ENVELOPE
            .iter()
            .any(|known| known != key && known.eq_ignore_ascii_case(key));
        assert!(
            !folds,
            "`{key}` is a key of the envelope for readers that ignore case"
        );
    }
    assert_eq!(foreign.get("jsonrpc").and_then(Foreign::text), Some("2.0"));
    match &message {
        Message::Request(request) => {
            assert_eq!(
                foreign.get("method").and_then(Foreign::text),
                Some(request.method.as_ref())
            );
            assert!(foreign.get("result").is_none() && foreign.get("error").is_none());
            assert_eq!(&bytes[request.id.span.clone()], request.id.raw.as_bytes());
            assert_eq!(
                Foreign::read(request.id.raw.as_bytes()).as_ref(),
                foreign.get("id")
            );
            arguments(request, &foreign);
            renamed(bytes, request.id.span.clone(), &request.method);
        }
        Message::Notification(note) => {
            assert_eq!(
                foreign.get("method").and_then(Foreign::text),
                Some(note.method.as_ref())
            );
            assert_eq!(foreign.get("id"), None);
            assert_ne!(note.method, "tools/call", "a call that nobody waits for");
        }
        Message::Response(_) => assert_eq!(foreign.get("method"), None),
    }
    one_line(bytes, &message);
    judged(bytes, &message);
}

/// What policy judges is what another reader finds at its place.
fn arguments(request: &weir_policy::Request<'_>, foreign: &Foreign) {
    let Ok(ask) = request.ask() else { return };
    if request.method != "tools/call" {
        return;
    }
    let params = foreign.get("params").expect("a call has parameters");
    assert_eq!(
        params.get("name").and_then(Foreign::text),
        Some(ask.wire_tool.as_ref())
    );
    let written = ask.arguments.to_json();
    let again = Value::parse(&written).expect("what was read is written so that it can be read");
    assert_eq!(&again, ask.arguments);
    let theirs = params
        .get("arguments")
        .filter(|value| **value != Foreign::Null)
        .cloned();
    assert_eq!(
        Foreign::read(written.as_bytes()),
        Some(theirs.unwrap_or(Foreign::Object(Vec::new())))
    );
}

/// On stdio another id stands in the place of the client's: nothing else may change by that.
fn renamed(bytes: &[u8], span: std::ops::Range<usize>, method: &str) {
    let renamed = [&bytes[..span.start], b"12345", &bytes[span.end..]].concat();
    match Message::parse(&renamed) {
        Ok(Message::Request(request)) => {
            assert_eq!((request.id.raw, request.method.as_ref()), ("12345", method))
        }
        other => panic!("with another id it is {other:?}"),
    }
}

/// On stdio a message is one line: CR and LF between tokens become spaces.
fn one_line(bytes: &[u8], message: &Message<'_>) {
    let line: Vec<u8> = bytes
        .iter()
        .map(|byte| {
            if matches!(byte, b'\r' | b'\n') {
                b' '
            } else {
                *byte
            }
        })
        .collect();
    let read = Message::parse(&line).expect("a message is one on one line too");
    assert_eq!(Foreign::read(&line), Foreign::read(bytes));
    match (message, &read) {
        (Message::Request(one), Message::Request(other)) => {
            assert_eq!((&one.method, &one.params), (&other.method, &other.params))
        }
        (Message::Notification(one), Message::Notification(other)) => assert_eq!(one, other),
        (Message::Response(one), Message::Response(other)) => assert_eq!(one.answer, other.answer),
        _ => panic!("another kind of message on one line"),
    }
}

/// A policy that allows nothing lets through only what no policy is asked about.
fn judged(bytes: &[u8], message: &Message<'_>) {
    thread_local! {
        static WITH: (Resolver, Policy) = (profiled(), Policy::load(DENY_ALL, "deny.json").expect("a policy"));
    }
    let ruling = WITH.with(|(resolver, policy)| {
        judge_bytes(
            bytes,
            resolver,
            Some(policy),
            &context(),
            &mut Counters::new(8),
            Micros(0),
        )
    });
    match (ruling, message) {
        (Ruling::Judged(judgement), _) => assert!(!judgement.decision.is_allow()),
        (Ruling::Malformed(_), _) | (Ruling::Unjudged, Message::Response(_)) => {}
        (Ruling::Unjudged, Message::Request(weir_policy::Request { method, .. }))
        | (Ruling::Unjudged, Message::Notification(weir_policy::Notification { method, .. })) => {
            assert!(weir_policy::known_method(method))
        }
    }
}
