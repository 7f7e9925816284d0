//! What must hold for every message, whoever wrote it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "tests"
)]

use proptest::prelude::*;
use weir_policy::{
    Context, Counters, Message, Micros, Policy, Resolver, ResolverSpec, Ruling, Value, judge_bytes,
};

/// Any JSON value that a sensible client may send.
fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        any::<u64>().prop_map(serde_json::Value::from),
        any::<f64>()
            .prop_filter("finite", |f| f.is_finite())
            .prop_map(serde_json::Value::from),
        ".{0,12}".prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            prop::collection::btree_map(".{0,6}", inner, 0..4)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Bytes that look like a message: a real one, cut, spliced and overwritten.
fn nearly_a_message() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop::sample::select(vec![
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"vm_stop","arguments":{"id":7}}}"#,
        r#"{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"truenas","arguments":{"category":"vm","action":"vm_stop","params":{"id":7}}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"truenas://vms"}}"#,
    ]);
    let splices = prop::sample::select(vec![
        "\"",
        "\\",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "null",
        "1e999",
        "-0",
        "7.0",
        r"\u0061",
        r"\ud800",
        r"\ud83d\ude00",
        "\u{feff}",
        "\u{0}",
        " ",
        "\n",
        "0",
        "\"name\":",
        "\"NAME\":\"x\",",
        "\"id\":2,",
        "\"force\":true,",
        "ſ",
    ]);
    (
        pieces,
        prop::collection::vec((any::<prop::sample::Index>(), splices, 0..3usize), 0..4),
    )
        .prop_map(|(piece, edits)| {
            let mut bytes = piece.as_bytes().to_vec();
            for (place, splice, cut) in edits {
                let at = place.index(bytes.len() + 1);
                let end = (at + cut).min(bytes.len());
                bytes.splice(at..end, splice.bytes());
            }
            bytes
        })
}

/// What a reader that was not written here takes an accepted message for must be what was judged.
fn check_as_a_foreign_reader(bytes: &[u8]) -> Result<(), TestCaseError> {
    let Ok(message) = Message::parse(bytes) else {
        return Ok(());
    };
    let foreign: serde_json::Value = serde_json::from_slice(bytes).map_err(|error| {
        TestCaseError::fail(format!("accepted, but a foreign reader says {error}"))
    })?;
    let Message::Request(request) = &message else {
        return Ok(());
    };
    prop_assert_eq!(foreign["method"].as_str(), Some(request.method.as_ref()));
    let id: serde_json::Value = serde_json::from_str(request.id.raw).unwrap();
    prop_assert_eq!(&foreign["id"], &id);
    prop_assert_eq!(&bytes[request.id.span.clone()], request.id.raw.as_bytes());
    let Ok(ask) = request.ask() else {
        return Ok(());
    };
    if request.method == "tools/call" {
        prop_assert_eq!(
            foreign["params"]["name"].as_str(),
            Some(ask.wire_tool.as_ref())
        );
        let judged: serde_json::Value = serde_json::from_str(&ask.arguments.to_json()).unwrap();
        let theirs = match &foreign["params"]["arguments"] {
            serde_json::Value::Null => serde_json::json!({}),
            arguments => arguments.clone(),
        };
        prop_assert_eq!(theirs, judged);
    }
    Ok(())
}

/// Whether a message is let through by a profiled server under a policy that allows `vm_stop` only
/// without force.
fn is_allowed(bytes: &[u8]) -> bool {
    thread_local! {
        static GATE: (Resolver, Policy) = (
            Resolver::compile(&ResolverSpec { profile: Some("truenas".into()), ..ResolverSpec::default() }).unwrap(),
            Policy::load(
                br#"{"version": "1", "default": "deny", "tools": {"vm_stop": {
                    "deny_if": [{"conditions": [{"path": "args.force", "op": "exists", "value": true}], "on_deny": "no"}]}}}"#,
                "gate.json",
            )
            .unwrap(),
        );
    }
    let context = Context {
        node: "n",
        server: "s",
        grant: "g",
        session: "s",
        client_name: "",
        client_version: "",
        received_at: Micros(0),
    };
    GATE.with(|(resolver, policy)| {
        let counters = &mut Counters::new(16);
        match judge_bytes(bytes, resolver, Some(policy), &context, counters, Micros(0)) {
            Ruling::Judged(judgement) => judgement.decision.is_allow(),
            Ruling::Malformed(_) | Ruling::Unjudged => false,
        }
    })
}

/// An allowed call is, to a foreign reader, a stop of one VM by its number, without force.
fn check_allowed(bytes: &[u8]) -> Result<(), TestCaseError> {
    if !is_allowed(bytes) {
        return Ok(());
    }
    let foreign: serde_json::Value = serde_json::from_slice(bytes).unwrap();
    prop_assert_eq!(&foreign["method"], "tools/call");
    let params = &foreign["params"];
    let arguments = match params["name"].as_str() {
        Some("vm_stop") => &params["arguments"],
        Some("truenas") => {
            prop_assert_eq!(&params["arguments"]["action"], "vm_stop");
            &params["arguments"]["params"]
        }
        other => return Err(TestCaseError::fail(format!("allowed {other:?}"))),
    };
    for (key, value) in arguments.as_object().into_iter().flatten() {
        prop_assert_eq!(key, "id");
        prop_assert!(
            value.as_f64().is_some_and(|id| id.fract() == 0.0),
            "{}",
            value
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic_and_never_pass(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(!is_allowed(&bytes));
        check_as_a_foreign_reader(&bytes)?;
    }

    #[test]
    fn what_is_accepted_reads_the_same_elsewhere(bytes in nearly_a_message()) {
        check_as_a_foreign_reader(&bytes)?;
        check_allowed(&bytes)?;
    }

    #[test]
    fn a_text_that_is_accepted_comes_back_the_same(bytes in nearly_a_message()) {
        let Ok(text) = std::str::from_utf8(&bytes) else { return Ok(()) };
        let Ok(value) = Value::parse(text) else { return Ok(()) };
        let written = value.to_json();
        prop_assert_eq!(&Value::parse(&written).unwrap(), &value);
        prop_assert_eq!(Value::parse(&written).unwrap().to_json(), written);
        prop_assert_eq!(value.to_owned_value(), value);
    }
}

proptest! {
    // Big messages: fewer of them.
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_an_honest_writer_sends_is_accepted_as_it_meant_it(
        name in "[a-zA-Z0-9_.-]{1,40}",
        arguments in prop::collection::btree_map(".{0,6}", json(), 0..20),
        id in prop_oneof![any::<i64>().prop_map(serde_json::Value::from), any::<String>().prop_map(serde_json::Value::from)],
    ) {
        let arguments = serde_json::Value::Object(arguments.into_iter().collect());
        let body = serde_json::json!({
            "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": name, "arguments": arguments},
        });
        for text in [body.to_string(), serde_json::to_string_pretty(&body).unwrap()] {
            let message = Message::parse(text.as_bytes()).map_err(|m| TestCaseError::fail(format!("{m:?}: {text}")))?;
            let Message::Request(request) = &message else { panic!("{message:?}") };
            let ask = request.ask().unwrap();
            prop_assert_eq!(ask.wire_tool.as_ref(), name.as_str());
            // Both sides read by the same reader: this one rounds the last digit of some numbers.
            let sent: serde_json::Value = serde_json::from_str(&text).unwrap();
            let raw: serde_json::Value = serde_json::from_str(request.arguments_raw.unwrap()).unwrap();
            prop_assert_eq!(&raw, &sent["params"]["arguments"]);
            check_as_a_foreign_reader(text.as_bytes())?;
        }
    }
}
