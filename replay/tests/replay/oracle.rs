//! Replay against the oracle, on records with every kind of limit, scope and end.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use crate::support::naive::{self, Said};
use crate::support::{Asked, Dice, Record, SIX, Scribe};
use arrow::array::{Array as _, AsArray as _};
use arrow::datatypes::{Int32Type, Int64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use weir_policy::{Policy, Reason, Resolver, ResolverSpec};
use weir_replay::{Class, Flips, ReplayOptions, Report, State, replay};

/// Fixed windows, every scope, rules that read arguments.
pub(crate) const LIMITS: &str = r#"{"version":"1","default":"allow","hide":["vm_delete"],
 "all_tools":{"limits":[{"counter":"all","window":"minute","max":90,"scope":"server"}]},
 "tools":{
  "vm_stop":{"require":[{"conditions":[{"path":"args.id","op":"type","value":"integer"}],"on_deny":"id must be a number."}],
             "deny_if":[{"conditions":[{"path":"args.force","op":"eq","value":true}],"on_deny":"Forced."}],
             "limits":[{"counter":"vm_stop_rate","window":"minute","max":6,"scope":"grant"}]},
  "vm_start":{"limits":[{"counter":"starts","window":"second","max":2,"scope":"session"}]},
  "service_*":{"limits":[{"counter":"services","window":3600,"max":40,"scope":"node"}]},
  "pay":{"limits":[{"counter":"spent","window":"hour","max":500,"increment_from":"args.amount"}]}}}"#;

/// Sliding windows, `per`, default deny, nothing in it but what is listed.
pub(crate) const SLIDING: &str = r#"{"version":"1","default":"deny",
 "tools":{
  "vm_stop":{"limits":[{"counter":"each","window":30,"sliding":true,"max":2,"per":["args.id"]},
                       {"counter":"vm_stop_rate","window":"minute","max":5}]},
  "vm_start":{"limits":[{"counter":"starts","window":5,"sliding":true,"max":4,"scope":"server"}]},
  "service_stop":{"deny_if":[{"conditions":[{"path":"args.service","op":"in","value":["ssh","nfs"]}]}]},
  "service_start":{},
  "pay":{"limits":[{"counter":"spent","window":600,"sliding":true,"max":300,"increment_from":"args.amount","per":["args.account"]}]}}}"#;

/// No rule in it reads arguments.
pub(crate) const NAMES: &str = r#"{"version":"1","default":"deny",
 "tools":{"vm_*":{"limits":[{"counter":"vms","window":"minute","max":12,"scope":"node"}]},
          "service_stop":{"limits":[{"counter":"stops","window":10,"sliding":true,"max":1}]},
          "service_start":{},"pay":{"action":"deny","reason":"No money."}}}"#;

/// A person would be asked.
pub(crate) const APPROVE: &str = r#"{"version":"1","default":"allow",
 "tools":{"vm_stop":{"action":"approve","rate_limit":{"max":3,"window":60}},
          "service_stop":{"approve_if":[{"conditions":[{"path":"args.service","op":"eq","value":"ssh"}]}]}}}"#;

/// Reads the clock, and no arguments.
const HOURS: &str = r#"{"version":"1","default":"allow",
 "tools":{"vm_start":{"deny_if":[{"conditions":[{"path":"time.hour","op":"eq","value":5}]}]},
          "vm_stop":{"limits":[{"counter":"stops","window":"minute","max":3,"per":["time.hour"]}]}}}"#;

/// Reads who the client is, and no arguments.
const CLIENTS: &str = r#"{"version":"1","default":"allow",
 "tools":{"vm_start":{"require":[{"conditions":[{"path":"client.name","op":"eq","value":"test"}]}]},
          "pay":{"deny_if":[{"conditions":[{"path":"client.version","op":"eq","value":"1"}]}]}}}"#;

pub(crate) const ALL: [&str; 4] = [LIMITS, SLIDING, NAMES, APPROVE];

/// A story of `calls` calls by three grants on two servers, with returns, dispatch and reloads.
pub(crate) fn story(seed: u64, calls: usize, seal_rows: usize) -> Record {
    story_under(&ALL, Some(6), seed, calls, seal_rows)
}

/// The same under these policies; one call in `returned` is given back, if any.
fn story_under(
    documents: &[&str],
    returned: Option<u64>,
    seed: u64,
    calls: usize,
    seal_rows: usize,
) -> Record {
    let spec: ResolverSpec = serde_json::from_str(
        r#"{"dispatch":[{"tool":"truenas","operation":"/action","arguments":"/params"}]}"#,
    )
    .unwrap();
    let mut dice = Dice::new(seed);
    let mut scribe = Scribe::with(seal_rows, Resolver::compile(&spec).unwrap());
    let policies: Vec<Arc<Policy>> = documents
        .iter()
        .map(|document| scribe.policy(document))
        .collect();
    let mut in_force = [0, 1, 2].map(|grant| grant % policies.len());
    let mut at = SIX - 90_000_000;
    let mut open: Vec<i64> = Vec::new();
    let mut held: Vec<i64> = Vec::new();
    for _ in 0..calls {
        at += dice.below(900_000) as i64;
        if dice.one_in(150) {
            at += 47_000_000;
        }
        if dice.one_in(60) {
            let grant = dice.below(3) as usize;
            in_force[grant] = dice.below(policies.len() as u64) as usize;
        }
        let grant = dice.below(3) as usize;
        let name = ["ops-agent", "night-agent", "helper"][grant];
        let tool = dice.pick(&[
            "vm_stop",
            "vm_stop",
            "vm_start",
            "service_stop",
            "service_start",
            "pay",
            "vm_delete",
            "disk_list",
        ]);
        let arguments = match tool {
            "pay" => format!(
                r#"{{"account":{},"amount":{}.{}}}"#,
                dice.below(2),
                dice.below(90),
                dice.below(10)
            ),
            "vm_stop" => match dice.below(8) {
                0 => r#"{"id":7,"force":true}"#.to_owned(),
                1 => r#"{"id":"7"}"#.to_owned(),
                _ => format!(r#"{{"id":{}}}"#, dice.below(3)),
            },
            _ => format!(r#"{{"service":"{}"}}"#, dice.pick(&["ssh", "nfs", "smb"])),
        };
        let session = dice.pick(&["a", "b", "c"]);
        let session = format!("{name}-{session}");
        let wrapped = format!(r#"{{"action":"{tool}","params":{arguments}}}"#);
        let (tool, arguments) = if dice.one_in(3) {
            ("truenas", &wrapped)
        } else {
            (tool, &arguments)
        };
        let asked = Asked {
            server: dice.pick(&["nas", "nas", "spare"]),
            grant: name,
            session: &session,
            tool,
            arguments,
        };
        let policy = (!dice.one_in(80)).then(|| &*policies[in_force[grant]]);
        scribe.askable = !dice.one_in(5);
        let (seq, passed) = scribe.call(at, policy, asked);
        if passed {
            open.push(seq);
        } else if scribe.is_held(seq) {
            held.push(seq);
        }
        while held.len() > 3 || (!held.is_empty() && dice.one_in(3)) {
            let answered = held.swap_remove(dice.below(held.len() as u64) as usize);
            at += dice.below(9_000_000) as i64;
            match dice.below(8) {
                0..4 => {
                    scribe.answer(at, answered, None);
                    open.push(answered);
                }
                4 => scribe.answer(at, answered, Some(Reason::ApprovalDenied)),
                5 => scribe.answer(at, answered, Some(Reason::ApprovalTimeout)),
                6 => scribe.answer(at, answered, Some(Reason::ApprovalWithdrawn)),
                // Nobody ever answers: the proxy went away.
                _ => {}
            }
        }
        while open.len() > 6 || (!open.is_empty() && dice.one_in(2)) {
            let ended = open.swap_remove(dice.below(open.len() as u64) as usize);
            at += dice.below(200_000) as i64;
            let given_back = returned.is_some_and(|times| dice.one_in(times));
            scribe.finish(at, ended, given_back);
        }
        if dice.one_in(50) {
            scribe.row(at, |call| {
                call.rule = Some("(malformed)".into());
                call.reason = Some("malformed".into());
                call.grant = Some(name.into());
            });
            scribe.row(at, |call| {
                call.verdict = weir_recorder::Verdict::Allow;
                call.method = Some("tools/list".into());
                call.grant = Some(name.into());
            });
        }
    }
    scribe.close()
}

/// The classes in an `--out` file.
pub(crate) fn written(path: &Path) -> BTreeMap<(String, i64), Said> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(path).unwrap())
        .unwrap()
        .build()
        .unwrap();
    let mut said = BTreeMap::new();
    for batch in reader {
        let batch = batch.unwrap();
        let word = |name: &str, row: usize| {
            let words = batch
                .column_by_name(name)
                .unwrap()
                .as_dictionary::<Int32Type>();
            words
                .values()
                .as_string::<i32>()
                .value(words.key(row).unwrap())
                .to_owned()
        };
        let seq = batch
            .column_by_name("seq")
            .unwrap()
            .as_primitive::<Int64Type>();
        let after = batch
            .column_by_name("after_divergence")
            .unwrap()
            .as_boolean();
        assert_eq!(seq.null_count(), 0);
        for row in 0..batch.num_rows() {
            let class = word("class", row);
            let class = Class::ALL
                .into_iter()
                .find(|known| known.as_str() == class)
                .unwrap()
                .as_str();
            said.insert(
                (word("node", row), seq.value(row)),
                Said {
                    class,
                    would_rule: word("would_rule", row),
                    after_divergence: after.value(row),
                },
            );
        }
    }
    said
}

/// As many threads, and as many partitions.
const CUTS: [(usize, usize); 3] = [(1, 1), (2, 2), (3, 16)];

fn check(record: &Record, candidate: Option<&str>, grant: Option<&str>, state: State) {
    for cut in CUTS {
        check_cut(record, candidate, grant, state, cut);
    }
}

fn check_cut(
    record: &Record,
    candidate: Option<&str>,
    grant: Option<&str>,
    state: State,
    (threads, partitions): (usize, usize),
) {
    let out = record.folder().join("out.parquet");
    let options = ReplayOptions {
        grant: None,
        assign: match (candidate, grant) {
            (Some(document), Some(grant)) => {
                [(grant.to_owned(), crate::support::file(document))].into()
            }
            _ => BTreeMap::new(),
        },
        candidate: if grant.is_none() {
            candidate.map(crate::support::file)
        } else {
            None
        },
        state,
        threads: NonZeroUsize::new(threads),
        partitions: NonZeroUsize::new(partitions),
        out: Some(out.clone()),
        ..record.own()
    };
    let report = replay(&options).unwrap();
    let expected = naive::replay(
        &record.path(),
        candidate,
        |row| grant.is_none_or(|grant| row.grant == grant),
        state,
    );
    let fast = written(&out);
    assert_eq!(fast.len(), expected.len());
    for (place, said) in &expected {
        assert_eq!(fast.get(place), Some(said), "{place:?} under {candidate:?}");
    }
    for class in Class::ALL {
        let count = expected
            .values()
            .filter(|said| said.class == class.as_str())
            .count();
        assert_eq!(report.classes.of(class), count as u64, "{}", class.as_str());
    }
    assert_eq!(report.classes.of(Class::EngineDrift), 0);
}

#[test]
fn replay_says_of_every_row_what_the_oracle_says() {
    for seed in 0..4 {
        let record = story(seed, 1500, 131_072);
        for candidate in ALL {
            check(&record, Some(candidate), None, State::Counterfactual);
            check(&record, Some(candidate), None, State::Recorded);
        }
        check(
            &record,
            Some(NAMES),
            Some("ops-agent"),
            State::Counterfactual,
        );
        check(&record, Some(SLIDING), Some("helper"), State::Recorded);
        check(&record, None, None, State::Counterfactual);
    }
}

#[test]
fn the_answer_is_the_same_where_columns_that_no_rule_asks_for_are_left_unread() {
    let sets: [&[&str]; 4] = [&[NAMES], &[HOURS], &[CLIENTS, NAMES], &[LIMITS]];
    for documents in sets {
        for returned in [None, Some(300)] {
            let record = story_under(documents, returned, 31, 1200, 300);
            for candidate in [NAMES, HOURS, CLIENTS, SLIDING] {
                check(&record, Some(candidate), None, State::Counterfactual);
            }
            check(&record, None, None, State::Counterfactual);
        }
    }
}

#[test]
fn replay_under_own_policies_has_no_flip_and_no_drift() {
    for seed in 10..20 {
        let record = story(seed, 1200, 131_072);
        for state in [State::Counterfactual, State::Recorded] {
            let report = replay(&ReplayOptions {
                state,
                ..record.own()
            })
            .unwrap();
            assert!(report.record.calls >= 1200);
            if state == State::Counterfactual {
                assert_eq!(
                    report.classes.of(Class::Same),
                    report.record.calls,
                    "{}",
                    report.text()
                );
            }
            assert_eq!(report.classes.of(Class::EngineDrift), 0);
        }
    }
}

#[test]
fn the_answer_does_not_depend_on_how_the_record_is_cut() {
    let reports: Vec<_> = [64, 500, 131_072]
        .into_iter()
        .map(|seal_rows| {
            let record = story(7, 1500, seal_rows);
            let options = ReplayOptions {
                flips: Flips::All,
                ..record.options(SLIDING)
            };
            let mut report = replay(&options).unwrap();
            // Each record has a node of its own name.
            report.flips.iter_mut().for_each(|flip| flip.node.clear());
            (
                report.classes,
                report.by_tool,
                report.by_rule,
                report.by_grant,
                report.flips,
            )
        })
        .collect();
    assert!(reports[0].0.flips() > 100);
    assert!(reports.iter().all(|report| *report == reports[0]));
}

/// The report and every row of a replay on so many threads, in so many partitions.
fn cut(
    options: &ReplayOptions,
    out: &Path,
    (threads, partitions): (usize, usize),
) -> (Report, BTreeMap<(String, i64), Said>) {
    let options = ReplayOptions {
        record: options.record.clone(),
        candidate: options.candidate.clone(),
        from: options.from,
        to: options.to,
        state: options.state,
        flips: options.flips,
        threads: NonZeroUsize::new(threads),
        partitions: NonZeroUsize::new(partitions),
        ..ReplayOptions::default()
    };
    let report = replay(&options).unwrap();
    let with_rows = ReplayOptions {
        out: Some(out.to_owned()),
        ..options
    };
    // Noting every row changes nothing.
    assert_eq!(replay(&with_rows).unwrap(), report);
    (report, written(out))
}

#[test]
fn the_answer_is_the_same_for_every_number_of_threads_partitions_and_files() {
    let from = SIX + 60_000_000;
    for (seed, seal_rows) in [(40, 64), (41, 300), (42, 131_072)] {
        let record = story(seed, 1500, seal_rows);
        let out = record.folder().join("out.parquet");
        for candidate in [LIMITS, SLIDING, NAMES, APPROVE, GRANTS] {
            for (state, from) in [
                (State::Counterfactual, None),
                (State::Recorded, None),
                (State::Counterfactual, Some(from)),
            ] {
                let options = ReplayOptions {
                    state,
                    from,
                    flips: Flips::First(20),
                    ..record.options(candidate)
                };
                let one = cut(&options, &out, (1, 1));
                for others in [(1, 2), (2, 2), (2, 16), (16, 16)] {
                    assert_eq!(cut(&options, &out, others), one, "{others:?}");
                }
            }
        }
    }
}

/// Limits by grant alone: the scope that most records are divided by.
const GRANTS: &str = r#"{"version":"1","default":"allow",
 "tools":{"vm_*":{"limits":[{"counter":"vms","window":"minute","max":4}]},
          "pay":{"deny_if":[{"conditions":[{"path":"args.amount","op":"gt","value":80}]}]},
          "service_stop":{"limits":[{"counter":"stops","window":30,"sliding":true,"max":1,"per":["args.service"]}]}}}"#;

#[test]
fn every_answer_by_grants_alone_is_the_oracles() {
    for seed in 50..53 {
        let record = story_under(&[GRANTS], Some(5), seed, 1500, 200);
        check(&record, Some(GRANTS), None, State::Counterfactual);
        check(&record, None, None, State::Counterfactual);
        let record = story_under(&[NAMES, GRANTS], Some(5), seed, 1500, 131_072);
        check(&record, Some(GRANTS), None, State::Counterfactual);
        check(&record, Some(GRANTS), None, State::Recorded);
    }
}

/// Adds what another node recorded.
fn join(record: &Record, other: &Record) {
    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let from = entry.unwrap().path();
            let to = to.join(from.file_name().unwrap());
            if from.is_dir() {
                copy(&from, &to);
            } else {
                fs::copy(from, to).unwrap();
            }
        }
    }
    for folder in ["calls", "policies", "resolvers"] {
        copy(&other.path().join(folder), &record.path().join(folder));
    }
}

#[test]
fn several_nodes_in_one_record_count_by_themselves() {
    let record = story(60, 900, 150);
    join(&record, &story(61, 900, 131_072));
    join(&record, &story(62, 300, 64));
    for candidate in ALL {
        check(&record, Some(candidate), None, State::Counterfactual);
    }
    check(&record, None, None, State::Counterfactual);
    let out = record.folder().join("out.parquet");
    let options = record.options(SLIDING);
    let one = cut(&options, &out, (1, 1));
    assert_eq!(cut(&options, &out, (2, 16)), one);
    assert!(one.0.record.calls >= 2100);
}

#[test]
fn a_file_that_somebody_copied_counts_once() {
    let record = story(63, 1200, 200);
    let options = record.options(LIMITS);
    let before = replay(&options).unwrap();
    let day = fs::read_dir(record.path().join("calls")).unwrap().next();
    let day = day.unwrap().unwrap().path();
    let mut files: Vec<_> = fs::read_dir(&day)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let file = files.remove(1);
    let name = file.file_name().unwrap().to_str().unwrap();
    // The same rows under a name that claims a little more.
    let (rest, last) = name
        .strip_suffix(".parquet")
        .unwrap()
        .rsplit_once('-')
        .unwrap();
    let last: i64 = last.parse().unwrap();
    fs::copy(&file, day.join(format!("{rest}-{:012}.parquet", last + 1))).unwrap();
    assert_eq!(replay(&options).unwrap(), before);
}
