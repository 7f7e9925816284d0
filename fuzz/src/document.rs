//! The policy loader: a document means what its JSON says, however it is laid out, and nothing a caller sends breaks it.

use serde_json::Value;
use weir_policy::{Counters, Decision, Micros, Policy, Resolver, Ruling, judge_bytes};

use crate::foreign::Foreign;
use crate::message::context;

/// Calls that reach most kinds of rules; a document's own names are added.
const ARGUMENTS: [&str; 8] = [
    "{}",
    r#"{"id":7}"#,
    r#"{"id":"7","force":true}"#,
    r#"{"id":1e300,"force":null,"ids":[1,2,"a",null]}"#,
    r#"{"name":"tank/a","a.b":{"c":[{"d":-0.5}]},"amount":"500000"}"#,
    r#"{"amount":37.5,"address":"10.1.2.3","ids":[]}"#,
    r#"{"address":"::ffff:10.1.2.3","id":9007199254740993}"#,
    r#"{"id":[[[]]],"name":"","text":"x\u0000\ud83d\ude00"}"#,
];

pub fn check(bytes: &[u8]) {
    let Ok(policy) = Policy::load(bytes, "fuzz.json") else {
        return;
    };
    if !numbers_are_plain(bytes) {
        return;
    }
    let foreign = Foreign::read(bytes).expect("loaded, and no JSON for others");
    let twice = foreign.doubtful().filter(|key| *key != "__proto__");
    assert_eq!(twice, None, "loaded, and a key stands twice");
    let document: Value = serde_json::from_slice(bytes).expect("loaded, and no JSON for others");
    let said = decisions(&policy, &document);
    assert_eq!(
        decisions(&policy, &document),
        said,
        "asked again, it says something else"
    );
    for (how, text) in [
        ("on one line", document.to_string()),
        ("spread out", format!("{document:#}")),
        ("turned round", turned(&document).to_string()),
    ] {
        let again = Policy::load(text.as_bytes(), "again.json")
            .unwrap_or_else(|problems| panic!("{how} it does not load: {problems}"));
        assert_eq!(
            decisions(&again, &document),
            said,
            "{how} it says something else: {text}"
        );
    }
}

/// Whether every number is one that doubles hold: the loader keeps all digits, and what is written here again would not.
fn numbers_are_plain(bytes: &[u8]) -> bool {
    let long = bytes
        .windows(16)
        .any(|run| run.iter().all(u8::is_ascii_digit));
    let exponent =
        |two: &[u8]| (two[0].is_ascii_digit() || two[0] == b'.') && matches!(two[1], b'e' | b'E');
    !long && !bytes.windows(2).any(exponent)
}

/// Members in the opposite order: objects have none.
fn turned(value: &Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(
            members
                .iter()
                .rev()
                .map(|(key, value)| (key.clone(), turned(value)))
                .collect(),
        ),
        Value::Array(elements) => Value::Array(elements.iter().map(turned).collect()),
        other => other.clone(),
    }
}

/// What the policy says of every call, one after the other, so that its limits fill.
fn decisions(policy: &Policy, document: &Value) -> Vec<(String, String, String)> {
    let mut names = vec!["vm_stop".to_owned(), "x".to_owned()];
    if let Some(Value::Object(tools)) = document.get("tools") {
        names.extend(tools.keys().take(6).cloned());
    }
    let resolver = Resolver::plain();
    let mut counters = Counters::new(16);
    let mut said = Vec::new();
    for (moment, (name, arguments)) in names
        .iter()
        .flat_map(|name| ARGUMENTS.map(|arguments| (name, arguments)))
        .enumerate()
    {
        let name = Value::from(name.as_str());
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":{name},"arguments":{arguments}}}}}"#
        );
        let at = Micros(moment as i64 * 20_000_000);
        if let Ruling::Judged(judgement) = judge_bytes(
            body.as_bytes(),
            &resolver,
            Some(policy),
            &context(),
            &mut counters,
            at,
        ) {
            let Decision {
                verdict,
                rule,
                message,
                ..
            } = &judgement.decision;
            said.push((
                verdict.as_str().to_owned(),
                rule.to_string(),
                message.to_string(),
            ));
        }
    }
    said
}
