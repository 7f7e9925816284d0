//! The questions that have names: each finds the story it looks for, and not the one that only looks like it.

mod misuse;
mod pace;
mod record;

use serde_json::Value;
use weir_replay::query::{Parameter, named, named_all, questions_page};

use crate::query::rows;
use crate::support::{Asked, Record, SECOND, SIX, Scribe};

/// 2026-11-23T12:00:00Z, a Monday.
const NOON: i64 = SIX + 30 * HOUR;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

const POLICY: &str = r#"{"version":"1","default":"allow","hide":["vm_delete"],"tools":{"vm_stop":{
  "deny_if":[{"conditions":[{"path":"args.force","op":"eq","value":true}],"on_deny":"Forced."}]}}}"#;

const OPEN: &str = r#"{"version":"1","default":"allow","tools":{}}"#;

/// A scribe whose tools have the risk that their names say.
fn scribe() -> Scribe {
    let mut scribe = Scribe::new();
    scribe.lie = Some(|call| {
        let tool = call.tool.as_deref().unwrap_or_default();
        let risk = match tool.rsplit('_').next() {
            Some("list" | "get") => "read",
            Some("delete") => "destructive",
            _ => "write",
        };
        call.risk = Some(risk.into());
        let away = call.session.as_deref() == Some("away");
        call.client_address = Some(if away { "10.0.0.99" } else { "10.0.0.1" }.into());
    });
    scribe
}

async fn ask(record: &Record, name: &str, set: &[(&str, &str)]) -> Vec<Value> {
    rows(record, &named(name).unwrap().sql(set).unwrap()).await
}

/// One column of the answer.
fn column(found: &[Value], name: &str) -> Vec<String> {
    let text = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    found.iter().map(|row| text(&row[name])).collect()
}

fn stop(arguments: &str) -> Asked<'_> {
    Asked::tool("vm_stop", arguments)
}

#[tokio::test]
async fn every_named_question_runs_on_an_empty_record() {
    let record = Scribe::new().close();
    let policy = record.folder().join("candidate.json");
    std::fs::write(&policy, POLICY).unwrap();
    for question in named_all() {
        let needs_policy = question.parameters.iter().any(Parameter::is_required);
        let set = [("policy", policy.to_str().unwrap())];
        let set = if needs_policy { &set[..] } else { &[] };
        let found = ask(&record, question.name, set).await;
        assert!(found.is_empty(), "{}", question.name);
        assert!(question.help().contains(question.question));
    }
}

#[tokio::test]
async fn every_filter_of_every_named_question_is_understood() {
    let mut scribe = scribe();
    let policy = scribe.policy(POLICY);
    scribe.ended(NOON, Some(&policy), stop(r#"{"id":7}"#));
    let record = scribe.close();
    let candidate = record.folder().join("candidate.json");
    std::fs::write(&candidate, POLICY).unwrap();
    let set = [
        ("grant", "ops_%"),
        ("tool", "vm\\'%"),
        ("from", "2026-11-22T06:00:00+01:00"),
        ("to", "2026-12-01"),
        ("policy", candidate.to_str().unwrap()),
    ];
    for question in named_all() {
        let known = |name: &str| question.parameters.iter().any(|p| p.name == name);
        let set: Vec<_> = set.into_iter().filter(|(name, _)| known(name)).collect();
        // What they find is asked elsewhere.
        ask(&record, question.name, &set).await;
    }
}

#[test]
fn the_page_of_the_questions_is_not_stale() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/questions.md");
    let page = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        page == questions_page(),
        "run `weir query --list --format markdown > docs/questions.md`"
    );
}
