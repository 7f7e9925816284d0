//! What a message is read as: the parts that policy, proxy and record need.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "tests"
)]

use weir_policy::{
    Answer, Ask, AskKind, Flaw, Message, Number, Request, Value, known_method, recorded_arguments,
};

fn request(body: &str) -> Request<'_> {
    match Message::parse(body.as_bytes()) {
        Ok(Message::Request(request)) => request,
        other => panic!("{other:?}"),
    }
}

fn flaw(body: &str) -> (i32, Flaw, Option<String>) {
    let malformed = Message::parse(body.as_bytes()).expect_err(body);
    (malformed.code, malformed.flaw, malformed.id)
}

#[test]
fn a_call_shows_its_id_and_arguments_as_they_stood() {
    let body = r#" { "jsonrpc" : "2.0" , "method":"tools\/call", "params" : {"arguments": { "id" : 7.0 , "a\u0062" : "x" } ,"name":"vm_stop"}, "id" : "a\u0062" } "#;
    let request = request(body);
    assert_eq!(request.method, "tools/call");
    assert_eq!(request.id.raw, r#""a\u0062""#);
    assert_eq!(&body[request.id.span.clone()], request.id.raw);
    assert_eq!(
        request.arguments_raw,
        Some(r#"{ "id" : 7.0 , "a\u0062" : "x" }"#)
    );
    let ask = request.ask().unwrap();
    assert_eq!(
        (ask.wire_tool.as_ref(), ask.kind),
        ("vm_stop", AskKind::ToolCall)
    );
    assert_eq!(ask.arguments.to_json(), r#"{"id":7.0,"ab":"x"}"#);
}

#[test]
fn what_is_asked_for_has_the_name_that_policies_use() {
    let name = |method: &str, params: &str| {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
        let message = Message::parse(body.as_bytes()).unwrap();
        message.ask().unwrap().map(|ask| ask.wire_tool.into_owned())
    };
    let named = |name: &str| Some(name.to_owned());
    assert_eq!(
        name("resources/read", r#"{"uri":"truenas://vms"}"#),
        named("resource:truenas://vms")
    );
    assert_eq!(
        name("prompts/get", r#"{"name":"greet"}"#),
        named("prompt:greet")
    );
    assert_eq!(name("nas/explode", "{}"), named("method:nas/explode"));
    assert_eq!(name("tools/list", "{}"), None);
    assert_eq!(name("server/discover", "{}"), None);
}

#[test]
fn a_call_on_record_is_asked_as_live_asked_it() {
    for (method, params) in [
        ("tools/call", r#"{"name":"vm_stop","arguments":{"id":7}}"#),
        ("tools/call", r#"{"name":"vm_list","arguments":null}"#),
        ("tools/call", r#"{"name":"nas:list"}"#),
        (
            "resources/read",
            r#"{"uri":"truenas://vms","arguments":{"id":7}}"#,
        ),
        ("prompts/get", r#"{"name":"greet","arguments":{"who":"x"}}"#),
        ("prompts/get", r#"{"name":"greet","arguments":null}"#),
        ("nas/explode", r#"{"arguments":{"id":7}}"#),
    ] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
        let live = request(&body);
        let asked = live.ask().unwrap();
        let text = recorded_arguments(&asked.wire_tool, live.arguments_raw);
        let value = Value::parse(text).unwrap();
        let recorded = Ask::recorded(&asked.wire_tool, &value);
        assert_eq!(
            (recorded.wire_tool, recorded.kind, recorded.arguments),
            (asked.wire_tool.clone(), asked.kind, asked.arguments),
            "{body}"
        );
    }
}

#[test]
fn the_meta_of_a_request_can_be_asked() {
    let request = request(
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","_meta":{"traceparent":"00-ab","io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#,
    );
    assert_eq!(
        request.meta("traceparent"),
        Some(&Value::String("00-ab".into()))
    );
    assert!(
        request
            .meta("io.modelcontextprotocol/protocolVersion")
            .is_some()
    );
    assert_eq!(request.meta("other"), None);
}

#[test]
fn notifications_and_answers_are_told_from_requests() {
    let note =
        Message::parse(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).unwrap();
    assert!(
        matches!(&note, Message::Notification(note) if note.method == "notifications/initialized")
    );
    assert_eq!(note.ask().unwrap(), None);
    let unknown = Message::parse(br#"{"jsonrpc":"2.0","method":"notifications/explode"}"#).unwrap();
    assert_eq!(
        unknown.ask().unwrap().unwrap().wire_tool,
        "method:notifications/explode"
    );

    let answer = Message::parse(br#"{"jsonrpc":"2.0","id":7,"result":{"roots":[]}}"#).unwrap();
    assert!(matches!(answer, Message::Response(answer)
        if answer.id.raw == "7" && matches!(answer.answer, Answer::Result(_))));
    let error =
        Message::parse(br#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":""}}"#).unwrap();
    assert!(matches!(error, Message::Response(answer) if answer.id.raw == "null"));
    assert_eq!(
        flaw(r#"{"jsonrpc":"2.0","id":null,"result":{}}"#).1,
        Flaw::Id
    );
    assert_eq!(
        flaw(r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#).1,
        Flaw::ResultInRequest
    );
    assert_eq!(flaw(r#"{"jsonrpc":"2.0","result":{}}"#).1, Flaw::MissingId);
}

#[test]
fn a_refusal_names_the_request_where_its_id_is_certain() {
    let call = |id: &str, rest: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call"{rest}}}"#)
    };
    let seven = Some("7".to_owned());
    assert_eq!(
        flaw(&call("7", r#","params":{"a":1,"a":2}"#)),
        (-32602, Flaw::DuplicateKey, seven.clone())
    );
    assert_eq!(
        flaw(&call("7", r#","params":[]"#)),
        (-32602, Flaw::Params, seven)
    );
    assert_eq!(
        flaw(&call("7", r#","id":8"#)),
        (-32600, Flaw::DuplicateKey, None)
    );
    assert_eq!(
        flaw(&call("7", r#","ID":8"#)),
        (-32600, Flaw::AmbiguousKey, None)
    );
    assert_eq!(flaw(&call("[7]", "")), (-32600, Flaw::Id, None));
    assert_eq!(flaw(&call("7", "").replace('}', "")).2, None);
    let body = call("\"x\"", r#","params":{"name":1}"#);
    let malformed = request(&body).ask().unwrap_err();
    assert_eq!(
        (malformed.code, malformed.id.as_deref()),
        (-32602, Some("\"x\""))
    );
}

#[test]
fn integers_of_any_length_are_ids_and_other_numbers_are_not() {
    for id in [
        "0",
        "-1",
        "9223372036854775807",
        "18446744073709551616",
        "\"\"",
    ] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
        assert_eq!(request(&body).id.raw, id);
    }
    for id in ["-0", "1.0", "1e0", "1E2", "null", "true", "[]", "{}"] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
        assert_eq!(flaw(&body).1, Flaw::Id, "{id}");
    }
}

#[test]
fn numbers_keep_their_spelling_unless_they_are_plain_integers() {
    let number = |text| match Value::parse(text) {
        Ok(Value::Number(number)) => number,
        other => panic!("{other:?}"),
    };
    for (text, integer) in [
        ("0", 0),
        ("-7", -7),
        ("999999999999999999", 999_999_999_999_999_999),
        ("9223372036854775807", i64::MAX),
        ("-9223372036854775808", i64::MIN),
    ] {
        assert_eq!(number(text), Number::Integer(integer));
    }
    for text in [
        "-0",
        "7.0",
        "7e0",
        "9223372036854775808",
        "-9223372036854775809",
        "1e308",
        "0.1",
        "1E-400",
    ] {
        assert_eq!(number(text), Number::Decimal(text.into()));
    }
}

#[test]
fn nesting_is_allowed_to_64_and_no_further() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(Value::parse(&nested(64)).is_ok());
    assert_eq!(Value::parse(&nested(65)).unwrap_err().flaw, Flaw::TooDeep);
}

#[test]
fn a_message_cannot_hold_values_without_end() {
    let many = |count: usize| format!("[{}0]", "0,".repeat(count - 1));
    assert!(Value::parse(&many((1 << 18) - 1)).is_ok());
    assert_eq!(
        Value::parse(&many(1 << 18)).unwrap_err().flaw,
        Flaw::TooManyValues
    );
}

#[test]
fn a_key_twice_is_found_wherever_it_stands() {
    for count in [2, 3, 15, 16, 17, 18, 40] {
        for (first, second) in [(0, 1), (0, count - 1), (count - 2, count - 1)] {
            let members: Vec<String> = (0..count)
                .map(|place| format!(r#""k{}":0"#, if place == second { first } else { place }))
                .collect();
            let object = format!("{{{}}}", members.join(","));
            assert_eq!(
                Value::parse(&object).unwrap_err().flaw,
                Flaw::DuplicateKey,
                "{object}"
            );
            let params = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{object}}}"#);
            assert_eq!(flaw(&params).1, Flaw::DuplicateKey, "{params}");
            let envelope = format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"ping",{}}}"#,
                members.join(",")
            );
            assert_eq!(
                flaw(&envelope),
                (-32600, Flaw::DuplicateKey, None),
                "{envelope}"
            );
        }
    }
}

#[test]
fn what_acts_or_reads_is_never_let_through_unasked() {
    for method in [
        "tools/call",
        "resources/read",
        "prompts/get",
        "sampling/createMessage",
        "Tools/List",
        "",
    ] {
        assert!(!known_method(method), "{method}");
    }
}
