//! Replay of records in which values were replaced or arguments withheld, against the same stories told in full: what is said to
//! be certain must be what the full record says.

use std::collections::{BTreeMap, BTreeSet};

use weir_policy::{Redaction, Resolver, ResolverSpec};
use weir_replay::{Class, ReplayOptions, State, replay};

use crate::oracle::written;
use crate::support::naive::{self, Said};
use crate::support::{Asked, Dice, Record, SIX, Scribe};

/// What is in force: reads what is redacted, counts by it, and more.
const OWN: &str = r#"{"version":"1","default":"deny","tools":{
  "login":{"require":[{"conditions":[{"path":"args.user","op":"type","value":"string"}]}],
           "deny_if":[{"conditions":[{"path":"args.password","op":"eq","value":"root"}]}],
           "limits":[{"counter":"each","window":20,"sliding":true,"max":3,"per":["args.password"]},
                     {"counter":"all","window":"minute","max":40}]},
  "service_stop":{"deny_if":[{"conditions":[{"path":"args.service","op":"eq","value":"ssh"}]}]},
  "vm_stop":{"limits":[{"counter":"stops","window":"minute","max":6,"scope":"node"}]}}}"#;

/// The same with other limits: all rules that read what was replaced were asked then.
const TIGHTER: &str = r#"{"version":"1","default":"deny","tools":{
  "login":{"require":[{"conditions":[{"path":"args.user","op":"type","value":"string"}]}],
           "deny_if":[{"conditions":[{"path":"args.password","op":"eq","value":"root"}]}],
           "limits":[{"counter":"each","window":20,"sliding":true,"max":1,"per":["args.password"]}]},
  "service_stop":{"deny_if":[{"conditions":[{"path":"args.service","op":"eq","value":"ssh"}]}],
                  "limits":[{"counter":"services","window":"minute","max":3}]},
  "vm_stop":{}}}"#;

/// Other questions about what was replaced, and limits behind them that other calls share.
const OTHER: &str = r#"{"version":"1","default":"deny",
 "all_tools":{"limits":[{"counter":"all","window":10,"sliding":true,"max":5,"scope":"grant"}]},
 "tools":{
  "login":{"deny_if":[{"conditions":[{"path":"args.password","op":"regex","value":"^a"},{"path":"args.user","op":"neq","value":"eve"}]}]},
  "service_stop":{"require":[{"conditions":[{"path":"args.service","op":"in","value":["nfs","smb"]}]}]},
  "vm_stop":{"approve_if":[{"conditions":[{"path":"args.token","op":"eq","value":"b"}]}]}}}"#;

/// Reads nothing of it.
const NAMES: &str = r#"{"version":"1","default":"deny","tools":{"login":{"rate_limit":{"max":9,"window":60}},"vm_stop":{}}}"#;

/// One story, in full or redacted.
fn story(seed: u64, redacted: bool) -> Record {
    let spec: ResolverSpec = serde_json::from_str(
        r#"{"dispatch":[{"tool":"truenas","operation":"/action","arguments":"/params"}]}"#,
    )
    .unwrap();
    let mut scribe = Scribe::with(131_072, Resolver::compile(&spec).unwrap());
    if redacted {
        scribe.redaction = Redaction::compile(["/token"], Redaction::secret_keys()).unwrap();
        scribe.withheld = Some("service_stop");
    }
    let policy = scribe.policy(OWN);
    let mut dice = Dice::new(seed);
    let (mut at, mut open) = (SIX, Vec::new());
    for _ in 0..500 {
        at += dice.below(2_500_000) as i64;
        let tool = dice.pick(&["login", "login", "service_stop", "vm_stop"]);
        let arguments = match tool {
            "login" => format!(
                r#"{{"user":{},"password":"{}"}}"#,
                dice.pick(&["\"bob\"", "\"eve\"", "7"]),
                dice.pick(&["a", "b", "abc", "root"])
            ),
            "service_stop" => format!(r#"{{"service":"{}"}}"#, dice.pick(&["ssh", "nfs", "smb"])),
            _ => format!(r#"{{"token":"{}"}}"#, dice.pick(&["a", "b"])),
        };
        let wrapped = format!(r#"{{"action":"{tool}","params":{arguments}}}"#);
        let (tool, arguments) = if dice.one_in(3) && tool != "vm_stop" {
            ("truenas", &wrapped)
        } else {
            (tool, &arguments)
        };
        let grant = dice.pick(&["ops-agent", "helper"]);
        let (seq, passed) = scribe.call(
            at,
            Some(&policy),
            Asked {
                grant,
                ..Asked::tool(tool, arguments)
            },
        );
        if passed {
            open.push(seq);
        }
        while open.len() > 3 {
            let ended = open.swap_remove(dice.below(open.len() as u64) as usize);
            let given_back = dice.one_in(5);
            scribe.finish(at, ended, given_back);
        }
    }
    scribe.close()
}

fn by_place(said: BTreeMap<(String, i64), Said>) -> BTreeMap<i64, Said> {
    said.into_iter()
        .map(|((_, seq), said)| (seq, said))
        .collect()
}

/// The classes of a redacted record, each held against the full one; how many are in doubt.
fn check(full: &Record, redacted: &Record, candidate: &str, state: State) -> (u64, u64) {
    let truth = by_place(naive::replay(
        &full.path(),
        Some(candidate),
        |_| true,
        state,
    ));
    let out = redacted.folder().join("out.parquet");
    let options = ReplayOptions {
        state,
        out: Some(out.clone()),
        ..redacted.options(candidate)
    };
    let report = replay(&options).unwrap();
    let said = by_place(written(&out));
    assert_eq!(said.len(), truth.len());
    let rows = naive::rows(&redacted.path()).into_iter();
    let denied = rows.filter(|row| row.verdict == "deny").map(|row| row.seq);
    let denied: BTreeSet<i64> = denied.collect();
    for (seq, said) in &said {
        let truly = &truth[seq];
        let was_denied = denied.contains(seq);
        match said.class {
            "maybe_denied" => assert!(!was_denied, "{seq}: {truly:?}"),
            "maybe_allowed" => assert!(was_denied, "{seq}: {truly:?}"),
            // A refusal may be certain where the rule is not.
            "same" | "same_reason_changed" if was_denied => {
                assert!(truly.class.starts_with("same"), "{seq}: {said:?} {truly:?}");
            }
            "newly_denied" => assert_eq!(truly.class, "newly_denied", "{seq}: {said:?}"),
            certain => assert_eq!(
                (certain, &said.would_rule),
                (truly.class, &truly.would_rule),
                "{seq}"
            ),
        }
    }
    let of = |class| report.classes.of(class);
    assert_eq!(
        of(Class::NotReplayable) + of(Class::EngineDrift),
        0,
        "{}",
        report.text()
    );
    let doubts = of(Class::MaybeDenied) + of(Class::MaybeAllowed);
    assert_eq!(report.in_doubt.values().sum::<u64>(), doubts);
    (
        doubts,
        report
            .in_doubt
            .get("counted calls in doubt")
            .copied()
            .unwrap_or(0),
    )
}

#[test]
fn what_is_certain_is_what_the_full_record_says() {
    let (mut doubts, mut gaps) = (0, 0);
    for seed in 0..6 {
        let (full, redacted) = (story(seed, false), story(seed, true));
        for state in [State::Counterfactual, State::Recorded] {
            assert_eq!(check(&full, &redacted, TIGHTER, state), (0, 0));
            assert_eq!(check(&full, &redacted, NAMES, state), (0, 0));
        }
        let found = check(&full, &redacted, OTHER, State::Counterfactual);
        (doubts, gaps) = (doubts + found.0, gaps + found.1);
        assert!(found.0 < 490, "{found:?}");
        assert_eq!(check(&full, &redacted, OTHER, State::Recorded).1, 0);
    }
    assert!(doubts > 100 && gaps > 10, "{doubts} {gaps}");
}

#[test]
fn a_redacted_record_under_its_own_policy_has_no_doubt_and_no_flip() {
    for seed in 20..26 {
        let redacted = story(seed, true);
        for options in [redacted.own(), redacted.options(OWN)] {
            let report = replay(&options).unwrap();
            assert_eq!(
                report.classes.of(Class::Same),
                report.record.calls,
                "{}",
                report.text()
            );
        }
    }
}

#[test]
fn a_maybe_names_its_rule_and_what_that_reads() {
    let mut scribe = Scribe::new();
    scribe.redaction = Redaction::compile([""; 0], ["password"]).unwrap();
    let own = scribe.policy(NAMES);
    let (seq, _) = scribe.ended(
        SIX,
        Some(&own),
        Asked::tool("login", r#"{"user":"bob","password":"a"}"#),
    );
    let record = scribe.close();
    let out = record.folder().join("out.parquet");
    let report = replay(&ReplayOptions {
        out: Some(out.clone()),
        ..record.options(OTHER)
    })
    .unwrap();
    assert_eq!(
        report.in_doubt,
        [("redacted: args.password".to_owned(), 1)].into()
    );
    let said = by_place(written(&out));
    assert_eq!(
        (said[&seq].class, said[&seq].would_rule.as_str()),
        ("maybe_denied", "/tools/login/deny_if/args.password-regex")
    );
    assert!(
        report.text().contains("redacted: args.password"),
        "{}",
        report.text()
    );
}
