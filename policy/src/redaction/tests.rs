#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use proptest::prelude::*;

use super::*;

const CANARY: &str = "canary-5f1c9e";

/// Not keyed, but no two values in these tests have the same.
fn digest(bytes: &[u8]) -> [u8; 16] {
    let digest = crate::Digest::of(bytes).to_string();
    let mut cut = [0; 16];
    hex::decode_to_slice(&digest["sha256:".len()..][..32], &mut cut).unwrap();
    cut
}

fn usual(pointers: &[&str]) -> Redaction {
    Redaction::compile(pointers, Redaction::secret_keys()).unwrap()
}

fn redact(redaction: &Redaction, json: &str) -> (String, Vec<String>) {
    match redaction.redact(json, &digest) {
        Redacted::Nothing => (json.to_owned(), Vec::new()),
        Redacted::Values { text, pointers } => (text, pointers),
        Redacted::Whole => panic!("withheld: {json}"),
    }
}

/// Replacements as `#`, so that what stays can be compared byte for byte.
fn masked(text: &str) -> String {
    let mut out = String::new();
    let mut parts = text.split(MARK);
    out.push_str(parts.next().unwrap());
    for part in parts {
        out.push('#');
        out.push_str(&part[32..]);
    }
    out
}

#[test]
fn what_is_not_named_stays_byte_for_byte() {
    let redaction = usual(&["/params/pin", "/users/*/note"]);
    for (json, expected, pointers) in [
        (
            r#"{"id":7.0, "a":"\u0041" }"#,
            r#"{"id":7.0, "a":"\u0041" }"#,
            vec![],
        ),
        (
            "{ \"params\" : {\"pin\":\t1e2 , \"\\u0070assword\" : \"canary-5f1c9e\" } }",
            "{ \"params\" : {\"pin\":\t\"#\" , \"\\u0070assword\" : \"#\" } }",
            vec!["/params/pin", "/params/password"],
        ),
        (
            r#"{"users":[{"note":"canary-5f1c9e","Old-Password":["canary-5f1c9e"]},{"note":null}]}"#,
            r##"{"users":[{"note":"#","Old-Password":"#"},{"note":null}]}"##,
            vec!["/users/0/note", "/users/0/Old-Password"],
        ),
        (
            r#"{"password":true,"api_key":{"x":"canary-5f1c9e"},"passwordauth":"yes"}"#,
            r##"{"password":true,"api_key":"#","passwordauth":"yes"}"##,
            vec!["/api_key"],
        ),
        (
            r#"{"a/b":[[{"token":"canary-5f1c9e"}]]}"#,
            r##"{"a/b":[[{"token":"#"}]]}"##,
            vec!["/a~1b/0/0/token"],
        ),
    ] {
        let (text, named) = redact(&redaction, json);
        assert_eq!(masked(&text), expected);
        assert_eq!(named, pointers, "{json}");
    }
}

#[test]
fn json_inside_strings_is_read_and_what_is_almost_json_is_replaced() {
    let redaction = usual(&[]);
    let inside = |text: &str| {
        let json = format!("{{\"body\":{},\"n\":1}}", quoted(text));
        masked(&redact(&redaction, &json).0)
    };
    assert_eq!(inside(r#"{"id": 7}"#), r#"{"body":"{\"id\": 7}","n":1}"#);
    assert_eq!(
        inside(r#" {"id": 7, "password": "canary-5f1c9e"}"#),
        r##"{"body":" {\"id\": 7, \"password\": \"#\"}","n":1}"##
    );
    let deeper = format!("[{}]", quoted(r#"{"\u0070assword":"canary-5f1c9e"}"#));
    assert_eq!(
        inside(&deeper),
        r##"{"body":"[\"{\\\"\\\\u0070assword\\\":\\\"#\\\"}\"]","n":1}"##
    );
    for almost in [
        "{'password': 'canary-5f1c9e'}",
        r#"{"password":"canary-5f1c9e"} trailing"#,
        r#"{"\u0070assword":"canary-5f1c9e""#,
    ] {
        assert_eq!(inside(almost), r##"{"body":"#","n":1}"##, "{almost}");
    }
    assert_eq!(inside("[a-z]+"), r#"{"body":"[a-z]+","n":1}"#);
    let mut deep = r#"{"password":"canary-5f1c9e"}"#.to_owned();
    for _ in 0..9 {
        deep = format!("[{}]", quoted(&deep));
    }
    assert!(!inside(&deep).contains(CANARY));
}

#[test]
fn equal_values_stay_equal_and_others_do_not() {
    let redaction = usual(&[]);
    let of = |value: &str| redact(&redaction, &format!("{{\"token\":{value}}}")).0;
    assert_eq!(of("7"), of("7.0"));
    assert_eq!(of("\"a\""), of("\"\\u0061\""));
    assert_eq!(of(r#"{"a":1,"b":2}"#), of(r#"{ "b": 2, "a": 1.0 }"#));
    assert_ne!(of("7"), of("\"7\""));
    assert_ne!(of("\"a\""), of("\"b\""));
    assert_eq!(of("\"a\"").len(), of("\"a much longer secret\"").len());
}

#[test]
fn a_value_that_only_looks_replaced_is_replaced() {
    let forged = format!("{{\"id\":\"{MARK}{}\"}}", "0".repeat(32));
    let (text, pointers) = redact(&usual(&[]), &forged);
    assert_eq!(pointers, ["/id"]);
    assert_ne!(text, forged);
}

#[test]
fn what_cannot_be_named_or_read_is_withheld_whole() {
    let redaction = usual(&[]);
    let many = format!("[{}]", vec![r#"{"password":"x"}"#; 257].join(","));
    for json in [
        many.as_str(),
        &format!(r#"{{"{}":{{"token":1}}}}"#, "k".repeat(20_000)),
        "{",
        r#""\ud800""#,
    ] {
        assert_eq!(redaction.redact(json, &digest), Redacted::Whole);
    }
    assert_eq!(Redaction::default().redact("{", &digest), Redacted::Nothing);
}

#[test]
fn a_limit_on_a_redacted_amount_is_told() {
    let text = r#"{"version":"1","default":"deny","tools":{"pay":{"limits":[
        {"counter":"a","window":"day","max":9,"increment_from":"args.amount"},
        {"counter":"b","window":"day","max":9,"increment_from":"args.token.count"},
        {"counter":"c","window":"day","max":9,"increment_from":"args.sum","per":["args.password"]}]}}}"#;
    let policy = crate::Policy::load(text.as_bytes(), "p.json").unwrap();
    let hidden = policy.amounts_hidden_by(&usual(&["/params/amount"]));
    assert_eq!(
        hidden,
        [
            ("/tools/pay/limits/a", "args.amount"),
            ("/tools/pay/limits/b", "args.token.count")
        ]
    );
}

#[test]
fn what_names_nothing_is_refused() {
    assert!(Redaction::compile(["password"], [""; 0]).is_err());
    assert!(Redaction::compile([""], [""; 0]).is_err());
    assert!(Redaction::compile([""; 0], ["*"]).is_err());
    assert!(Redaction::default().is_empty());
}

/// Any JSON, with canaries where the rules say, and whether there is one.
fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i32>().prop_map(Into::into),
        "[a-z{\\[\"\\\\]{0,6}".prop_map(Into::into),
    ];
    leaf.prop_recursive(5, 40, 4, |inner| {
        let secret = prop_oneof![
            Just(serde_json::json!(CANARY)),
            Just(serde_json::json!([{ "x": CANARY }])),
        ];
        let key = "(password|Secret_Key|a|b|token\\*)";
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            ("(api_key|userPassword|X-Token)", secret)
                .prop_map(|(key, value)| serde_json::json!({ key: value, "n": 1 })),
            prop::collection::hash_map(key, inner.clone(), 0..4)
                .prop_map(|members| members.into_iter().collect()),
            // What holds JSON as text.
            inner.prop_map(|value| serde_json::Value::String(format!(
                "{:#}",
                serde_json::json!([value])
            ))),
        ]
    })
}

proptest! {
    #[test]
    fn no_secret_is_left_and_a_second_pass_names_the_same_places(value in json()) {
        let redaction = usual(&[]);
        let text = value.to_string();
        match redaction.redact(&text, &digest) {
            Redacted::Nothing => prop_assert!(!text.contains(CANARY), "{text}"),
            Redacted::Values { text: redacted, pointers } => {
                prop_assert!(!redacted.contains(CANARY), "{redacted}");
                let again: serde_json::Value = serde_json::from_str(&redacted).unwrap();
                for pointer in &pointers {
                    let held = again.pointer(pointer).and_then(serde_json::Value::as_str);
                    prop_assert!(held.is_some_and(is_replaced), "{pointer} in {redacted}");
                }
                // What was not named is as it was.
                let (mut was, mut is) = (value.clone(), again);
                for pointer in &pointers {
                    *was.pointer_mut(pointer).unwrap() = serde_json::Value::Null;
                    *is.pointer_mut(pointer).unwrap() = serde_json::Value::Null;
                }
                prop_assert_eq!(was, is);
            }
            Redacted::Whole => prop_assert!(false, "withheld: {text}"),
        }
    }

    #[test]
    fn arbitrary_text_never_panics(text in "[{}\\[\\]\"\\\\:,a-z0-9 ]{0,40}") {
        drop(usual(&["/a", "/*/b"]).redact(&text, &digest));
    }
}
