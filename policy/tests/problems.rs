//! What is wrong with a document is told at once, with places, carets and hints; nothing makes loading panic.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests"
)]

use proptest::prelude::*;
use weir_policy::{Catalogue, Policy, Problems, Severity};

fn problems(source: &str) -> Problems {
    match Policy::load(source.as_bytes(), "policy.json") {
        Ok(_) => panic!("the document loads: {source}"),
        Err(problems) => problems,
    }
}

/// Places and messages only.
fn brief(problems: &Problems) -> Vec<String> {
    let line = |problem: &weir_policy::Problem| {
        let hint = problem
            .hint
            .as_ref()
            .map_or(String::new(), |hint| format!(" ({hint})"));
        format!(
            "{}:{} {}{hint}",
            problem.line, problem.column, problem.message
        )
    };
    problems.iter().map(line).collect()
}

fn tool(rules: &str) -> String {
    format!("{{\"version\": \"1\", \"default\": \"deny\", \"tools\": {{\"t\": {rules}}}}}")
}

fn condition(path: &str, op: &str, value: &str) -> String {
    let condition = format!("{{\"path\": \"{path}\", \"op\": \"{op}\", \"value\": {value}}}");
    tool(&format!(
        "{{\"deny_if\": [{{\"conditions\": [{condition}]}}]}}"
    ))
}

#[test]
fn three_faults_are_shown_together_with_carets_and_hints() {
    let source = r#"{
  "version": "1",
  "default": "alow",
  "tools": {
    "vm_stop": {
      "limit": [],
      "deny_if": [{ "conditions": [{ "path": "args.id", "op": "regex", "value": "(a" }] }]
    }
  }
}"#;
    let expected = r#"error: `default` is neither `allow` nor `deny`
 --> policy.json:3:14
  |
3 |   "default": "alow",
  |              ^^^^^^
  |
  = help: write `"allow"` or `"deny"`: what happens to tools that are not listed

error: unknown field `limit` in `tools.vm_stop`
 --> policy.json:6:7
  |
6 |       "limit": [],
  |       ^^^^^^^
  |
  = help: did you mean `limits`?

error: this is no regex: unclosed group
 --> policy.json:7:81
  |
7 |       "deny_if": [{ "conditions": [{ "path": "args.id", "op": "regex", "value": "(a" }] }]
  |                                                                                 ^^^^"#;
    assert_eq!(problems(source).to_string(), expected);
}

#[test]
fn every_kind_of_mistake_has_its_words() {
    let limit = |members: &str| tool(&format!("{{\"limits\": [{{{members}}}]}}"));
    for (source, message, under) in [
        (String::new(), "the document is empty", ""),
        (
            "[]".into(),
            "the document must be an object, not an array",
            "[]",
        ),
        (
            "{\"version\": \"1\", \"default\": \"allow\",}".into(),
            "trailing commas are not allowed",
            ",",
        ),
        (
            "{} {}".into(),
            "text cannot contain more than one JSON value",
            "{",
        ),
        (
            "\u{feff}{}".into(),
            "a byte order mark is not JSON",
            "\u{feff}",
        ),
        ("{\u{b}}".into(), "this white space is not JSON", "\u{b}"),
        (
            "{\"a\u{1}\": 1}".into(),
            "a control character in a string must be escaped",
            "\u{1}",
        ),
        ("// hi\n{}".into(), "comments are not allowed", "// hi"),
        (
            "{\"version\": \"2\", \"default\": \"deny\"}".into(),
            "this is not a version Weir knows",
            "\"2\"",
        ),
        ("{\"version\": \"1\"}".into(), "`default` is missing", "{"),
        (
            tool("{\"require\": {}}"),
            "`require` must be an array, not an object",
            "{}",
        ),
        (
            tool("{\"require\": [{\"on_deny\": \"x\"}]}"),
            "`conditions` is missing",
            "{",
        ),
        (
            tool("{\"action\": \"refuse\"}"),
            "no action is called `refuse`",
            "\"refuse\"",
        ),
        (
            tool("{\"timeout\": \"5\"}"),
            "`5` is no span of time",
            "\"5\"",
        ),
        (
            tool("{\"colour\": 1}"),
            "unknown field `colour` in `tools.t`",
            "\"colour\"",
        ),
        (
            condition("args..a", "eq", "1"),
            "a step of the path is empty",
            "\"args..a\"",
        ),
        (
            condition("args.a", "equal", "1"),
            "no operator is called `equal`",
            "\"equal\"",
        ),
        (
            condition("args.a", "in", "1"),
            "the value of `in` and `not_in` must be an array, not a number",
            "1",
        ),
        (
            condition("args.a", "gt", "true"),
            "the value of an order must be a number or a string, not a boolean",
            "true",
        ),
        (
            condition("args.a", "exists", "1"),
            "the value of `exists` must be a boolean, not a number",
            "1",
        ),
        (
            condition("args.a", "type", "\"int\""),
            "no type is called `int`",
            "\"int\"",
        ),
        (
            condition("args.a", "glob", "\"[a\""),
            "a `[` of the glob is not closed",
            "\"[a\"",
        ),
        (
            condition("args.a", "cidr", "\"10.0.0.0/33\""),
            "`10.0.0.0/33` is no network such as `10.0.0.0/8`",
            "\"10.0.0.0/33\"",
        ),
        (
            condition("args.a", "eq", "1e9999999999"),
            "this number is beyond what a policy may hold",
            "1e9999999999",
        ),
        (
            condition("args.a", "eq", "{\"k\": 1, \"k\": 2}"),
            "the key `k` stands here twice",
            "\"k\"",
        ),
        (
            limit("\"counter\": \"c\", \"window\": 0, \"max\": 1"),
            "a window is a whole number of seconds from 1 to a year",
            "0",
        ),
        (
            limit("\"counter\": \"c\", \"window\": \"week\", \"max\": 1"),
            "no window is called `week`",
            "\"week\"",
        ),
        (
            limit("\"counter\": \"c\", \"window\": \"day\", \"max\": 1.5"),
            "`max` must be a whole number from 0 to 2^63 − 1",
            "1.5",
        ),
        (
            limit("\"counter\": \"c\", \"window\": \"day\", \"max\": 1, \"scope\": \"user\""),
            "no scope is called `user`",
            "\"user\"",
        ),
        (
            limit("\"window\": \"day\", \"max\": 1"),
            "`counter` is missing",
            "{",
        ),
        (
            limit("\"counter\": \"c\", \"window\": \"day\", \"max\": 1, \"per\": [\"args.ids.*\"]"),
            "a `*` stands for many values, and a limit counts by one",
            "\"args.ids.*\"",
        ),
        (
            "{\"version\": \"1\", \"default\": \"deny\", \"timezone\": \"Mars/Olympus\"}".into(),
            "no time zone is called `Mars/Olympus`",
            "\"Mars/Olympus\"",
        ),
        (
            "{\"version\": \"1\", \"default\": \"deny\", \"tools\": {\"vm_{a\": {}}}".into(),
            "a `{` of the glob is not closed",
            "\"vm_{a\"",
        ),
        (
            "{\"version\": \"1\", \"version\": \"1\", \"default\": \"deny\"}".into(),
            "the key `version` stands here twice",
            "\"version\"",
        ),
        (
            "{\"version\": \"1\", \"default\": \"deny\", \"hide\": [7]}".into(),
            "an entry of `hide` must be a string, not a number",
            "7",
        ),
    ] {
        let problems = problems(&source);
        let told: Vec<_> = problems
            .iter()
            .map(|problem| (problem.message.as_str(), &source[problem.span.clone()]))
            .collect();
        assert!(
            told.len() == 1 && told[0].0.starts_with(message) && told[0].1.starts_with(under),
            "{source}\n{told:?}"
        );
    }
}

#[test]
fn what_is_not_utf8_is_told_by_its_place() {
    let problems = Policy::load(b"{\n \"ver\xffsion\": 1}", "p").unwrap_err();
    assert_eq!(brief(&problems), ["2:6 the document is not UTF-8"]);
}

#[test]
fn deep_nesting_is_a_problem_and_no_crash() {
    let deep = "[".repeat(200_000);
    assert!(!problems(&deep).is_empty());
    assert!(!problems(&format!("{{\"version\": {deep}")).is_empty());
}

#[test]
fn the_second_meaning_of_a_document_is_linted() {
    let rules = |rules: &str| tool(rules);
    for (source, expected) in [
        (rules("{\"require\": [{\"conditions\": []}]}"), "this rule can never fire"),
        (rules("{\"action\": \"deny\", \"limits\": [{\"counter\": \"c\", \"window\": 60, \"max\": 1}]}"), "this rule can never fire"),
        (condition("args.n", "gt", "7"), "`args.n` is compared as a number without a type check"),
        (condition("args.n", "neq", "7"), "a call without `args.n` passes this rule"),
        (condition("args.n", "in", "[]"), "`in` has nothing to compare with"),
        (rules("{\"limits\": [{\"counter\": \"c\", \"window\": 60, \"max\": 1, \"per\": [\"args.id\"]}]}"), "this limit counts by `args.id`, whose type no rule checks"),
        (rules("{\"limits\": [{\"counter\": \"c\", \"window\": 60, \"max\": 1, \"scope\": \"session\"}]}"), "this limit counts by session"),
        (rules("{\"limits\": [{\"counter\": \"c\", \"window\": 60, \"max\": 0}]}"), "a limit of 0 denies every call"),
        ("{\"version\": \"1\", \"default\": \"allow\", \"hide\": [\"t\"], \"tools\": {\"t\": {}}}".into(), "the rules of `t` can never fire: it is hidden"),
        ("{\"version\": \"1\", \"default\": \"deny\", \"hide\": [\"x\"]}".into(), "nothing is left to show"),
    ] {
        let policy = Policy::load(source.as_bytes(), "p").unwrap();
        let lints = policy.lint(None);
        assert_eq!(lints.iter().map(|lint| lint.message.as_str()).collect::<Vec<_>>(), [expected], "{source}");
        assert!(lints.iter().all(|lint| lint.severity == Severity::Warning && lint.hint.is_some()));
    }
}

#[test]
fn the_catalogue_knows_tools_and_dispatchers() {
    let source = tool("{}").replace(
        "\"t\": {}",
        "\"truenas\": {}, \"vm_stop\": {}, \"vm_stopp\": {}, \"vm_*\": {}, \"resource:x\": {}",
    );
    let catalogue = Catalogue {
        tools: &["vm_stop"],
        dispatchers: &["truenas"],
    };
    let policy = Policy::load(source.as_bytes(), "p").unwrap();
    let lints = brief(&policy.lint(Some(&catalogue)));
    assert_eq!(lints.len(), 2, "{lints:?}");
    assert!(
        lints[0].contains("`truenas` is a dispatcher, and is allowed whole"),
        "{lints:?}"
    );
    assert!(
        lints[1].contains("the catalogue knows no tool `vm_stopp`"),
        "{lints:?}"
    );
}

#[test]
fn a_careful_policy_has_no_lints() {
    let source = tool(
        r#"{"require": [{"conditions": [{"path": "args.id", "op": "type", "value": "integer"}, {"path": "args.id", "op": "gt", "value": 0}]}],
            "deny_if": [{"conditions": [{"path": "args.mode", "op": "exists", "value": true}, {"path": "args.mode", "op": "neq", "value": "soft"}]}],
            "limits": [{"counter": "c", "window": "minute", "max": 10, "per": ["args.id"]}]}"#,
    );
    let policy = Policy::load(source.as_bytes(), "p").unwrap();
    assert!(policy.lint(None).is_empty(), "{}", policy.lint(None));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Err(problems) = Policy::load(&bytes, "p") {
            prop_assert!(!problems.to_string().is_empty());
        }
    }

    #[test]
    fn a_damaged_policy_never_panics(cut in 0_usize..1_000, insert in "[\\[\\]{}\",:\\\\a-z0-9.*é\u{0}-\u{1f}]{0,4}", drop in 0_usize..6) {
        let source = include_str!("../../corpus/policies/starter.json");
        let mut text: Vec<char> = source.chars().collect();
        let at = cut % text.len();
        let end = (at + drop).min(text.len());
        text.splice(at..end, insert.chars());
        let text: String = text.into_iter().collect();
        if let Err(problems) = Policy::load(text.as_bytes(), "p") {
            prop_assert!(problems.to_string().contains("-->"));
            prop_assert!(problems.iter().all(|problem| problem.line >= 1 && problem.column >= 1));
        }
    }
}
