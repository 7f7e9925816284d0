//! No hostile message of the corpus gets past a policy that allows everything.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "tests"
)]

use weir_policy::{
    Context, Counters, Decision, Message, Micros, Policy, Reason, Resolver, ResolverSpec, judge,
};

const ALLOW_ALL: &str = r#"{"version": "1", "default": "allow", "tools": {"*": {}}}"#;

/// How a message is refused: as the corpus writes it, or as `allowed`.
fn outcome(body: &[u8], resolver: &Resolver) -> String {
    let message = match Message::parse(body) {
        Ok(message) => message,
        Err(malformed) => return format!("{} {}", malformed.code, malformed.flaw.as_str()),
    };
    let ask = match message.ask() {
        Ok(Some(ask)) => ask,
        Ok(None) => return "passed without being judged".to_owned(),
        Err(malformed) => return format!("{} {}", malformed.code, malformed.flaw.as_str()),
    };
    let told = |decision: &Decision| {
        if decision.reason == Reason::Malformed {
            return format!("(malformed): {}", decision.message);
        }
        decision.rule.to_string()
    };
    let resolution = match resolver.resolve(&ask) {
        Ok(resolution) => resolution,
        Err(decision) => return told(&decision),
    };
    let policy = Policy::load(ALLOW_ALL.as_bytes(), "allow-all.json").unwrap();
    let context = Context {
        node: "node",
        server: "truenas",
        grant: "agent",
        session: "s",
        client_name: "",
        client_version: "",
        received_at: Micros(0),
    };
    let judgement = judge(
        Some(&policy),
        &resolution,
        &context,
        &mut Counters::new(16),
        Micros(0),
    );
    if judgement.decision.is_allow() {
        return "allowed".to_owned();
    }
    told(&judgement.decision)
}

fn profiled() -> Resolver {
    Resolver::compile(&ResolverSpec {
        profile: Some("truenas".into()),
        ..ResolverSpec::default()
    })
    .unwrap()
}

#[test]
fn hostile_messages_are_refused_as_the_corpus_says() {
    let resolver = profiled();
    let mut wrong = Vec::new();
    let mut count = 0;
    for message in weir_corpus::hostile() {
        count += 1;
        let expected = match message.expects {
            "(malformed) operation" => "(malformed): the operation must be a non-empty string",
            "(malformed) operation_arguments" => {
                "(malformed): the arguments of the operation must be an object"
            }
            other => other,
        };
        let got = outcome(&message.body, &resolver);
        if got != expected {
            wrong.push(format!(
                "{}: expected `{expected}`, got `{got}`",
                message.name
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 60, "only {count} hostile messages");
}

/// The test above would also pass if everything were refused: each message has a twin, as close to it as an honest one can be.
#[test]
fn the_twin_of_each_hostile_message_passes() {
    let resolver = profiled();
    let refused: Vec<String> = weir_corpus::hostile()
        .map(|message| (message.name, outcome(message.twin.as_bytes(), &resolver)))
        .filter(|(_, outcome)| outcome != "allowed")
        .map(|(name, outcome)| format!("{name}: {outcome}"))
        .collect();
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

/// Honest messages that are twins of none.
#[test]
fn honest_messages_pass_the_same_gate() {
    let resolver = profiled();
    for arguments in [
        r#"{"name":"vm_stop","arguments":{"id":7,"force":true}}"#,
        r#"{"name":"vm_stop","arguments":{"id":7.0}}"#,
        r#"{"name":"truenas"}"#,
        r#"{"name":"truenas","arguments":null}"#,
        r#"{"name":"truenas","arguments":{"category":"vm"}}"#,
        r#"{"name":"truenas","arguments":{"category":"vm","action":"vm_list"}}"#,
        r#"{"name":"truenas","arguments":{"category":"vm","action":"vm_stop","params":{"id":7}}}"#,
        r#"{"name":"truenas","arguments":{"category":"storage","action":"dataset_get","params":{"id":"tank/my data"}}}"#,
        r#"{"name":"truenas","arguments":{"category":"storage","action":"snapshot_get","params":{"id":"tank/a@b:c"}}}"#,
        r#"{"name":"truenas","arguments":{"category":"disk","action":"disk_get","params":{"id":"{serial}VH-1"}}}"#,
        r#"{"name":"truenas","arguments":{"action":"truenas_api_call","params":{"method":"POST","path":"/vm/id/7/stop","body":"{\"force\":true}"}}}"#,
        r#"{"name":"truenas_api_call","arguments":{"method":"POST","path":"/service/stop","body":"\"ssh\""}}"#,
        r#"{"name":"a_tool_no_profile_knows","arguments":{"x":[1,{"y":null}]}}"#,
    ] {
        let body =
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{arguments}}}"#);
        assert_eq!(outcome(body.as_bytes(), &resolver), "allowed", "{body}");
    }
}
