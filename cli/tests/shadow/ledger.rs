//! What candidates say in a ledger that many callers share at the edges of limits, over a reload and a restart, is what replay says
//! of the same record.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use arrow::array::AsArray as _;
use arrow::datatypes::{DataType, Int64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use weir_policy::{Ask, Context, ENGINE, Micros, Policy, Resolver, Value};
use weir_proxy::ledger::{Candidate, Heard, Listing};
use weir_proxy::{Clock, Ledger, LedgerOptions};
use weir_recorder::{
    Call, CallRows, Disk, Durability, Event, EventKind, Finish, Outcome, RecordOptions,
    RecordReader, Recorder,
};
use weir_replay::{COUNTERS_PER_GRANT, Class, PolicyFile, ReplayOptions, replay};

/// 2026-11-22T05:50:00Z: an hour ends while calls are made.
const BEGIN: i64 = 1_795_326_600_000_000;
const THREADS: usize = 4;
const CALLS: usize = 500;

const OPS: &str = r#"{"version":"1","default":"deny","tools":{
  "vm_stop":{"deny_if":[{"conditions":[{"path":"args.force","op":"eq","value":true}]}],
    "limits":[{"counter":"stops","window":"minute","max":30},{"counter":"all","window":30,"max":40,"scope":"server"}]},
  "vm_list":{},"vm_start":{"limits":[{"counter":"starts","window":60,"sliding":true,"max":25}]}}}"#;
const DEV: &str = r#"{"version":"1","default":"allow","tools":{
  "vm_stop":{"limits":[{"counter":"all","window":30,"max":40,"scope":"server"},{"counter":"own","window":"minute","max":35}]}}}"#;

/// Arguments, fixed windows, a counter for each target.
const TIGHT: &str = r#"{"version":"1","default":"deny","tools":{
  "vm_stop":{"require":[{"conditions":[{"path":"args.id","op":"type","value":"integer"}]}],
    "deny_if":[{"conditions":[{"path":"args.id","op":"eq","value":3}]}],
    "limits":[{"counter":"each","window":"minute","max":3,"per":["args.id"]},{"counter":"hourly","window":"hour","max":150}]},
  "vm_list":{"limits":[{"counter":"lists","window":10,"max":4}]}}}"#;
/// Counters that grants share which are not all under it.
const SHARED: &str = r#"{"version":"1","default":"deny","tools":{
  "vm_stop":{"limits":[{"counter":"all","window":30,"max":20,"scope":"server"}]},
  "vm_start":{"limits":[{"counter":"starts","window":45,"sliding":true,"max":9}]}}}"#;
/// Windows that slide, and amounts.
const SLIDING: &str = r#"{"version":"1","default":"allow","tools":{
  "vm_stop":{"limits":[{"counter":"stops","window":50,"sliding":true,"max":11}]},
  "vm_start":{"limits":[{"counter":"ids","window":60,"max":45,"increment_from":"args.id"}]}}}"#;
/// Asks a person, and counts what would be asked.
const ASKING: &str = r#"{"version":"1","default":"allow","tools":{
  "vm_start":{"approve_if":[{"conditions":[{"path":"args.id","op":"gt","value":6}]}],
    "limits":[{"counter":"starts","window":20,"max":5}]}}}"#;

struct World {
    resolver: Resolver,
    /// Grants and what is in force for them.
    grants: Vec<(&'static str, Option<Policy>)>,
    candidates: Vec<Candidate>,
    asked: AtomicUsize,
}

impl World {
    fn new() -> Self {
        let load = |text: &str| Policy::load(text.as_bytes(), "test.json").unwrap();
        let candidates = [TIGHT, SHARED, SLIDING, ASKING].map(|text| {
            let name = format!("{}.json", text.len());
            Candidate::new(&name, Arc::new(load(text)))
        });
        Self {
            resolver: Resolver::plain(),
            grants: vec![
                ("ops", Some(load(OPS))),
                ("dev", Some(load(DEV))),
                ("night", None),
            ],
            candidates: candidates.into(),
            asked: AtomicUsize::new(0),
        }
    }

    fn keep(&self, recorder: &Recorder) {
        let enforced = self.grants.iter().filter_map(|(_, policy)| policy.as_ref());
        let candidates = self.candidates.iter().map(|candidate| &*candidate.policy);
        for policy in enforced.chain(candidates) {
            let digest = policy.digest().to_string();
            recorder.keep_policy(&digest, policy.document()).unwrap();
        }
        let digest = self.resolver.digest().to_string();
        recorder
            .keep_resolver(&digest, self.resolver.document())
            .unwrap();
    }

    fn listing(&self, which: usize) -> Listing {
        let grants = LISTS[which].iter();
        Listing {
            candidate: self.candidates[which].clone(),
            grants: grants
                .map(|grant| (Arc::from(*grant), Arc::from("nas")))
                .collect(),
        }
    }

    /// Many calls of one thread, some of which end.
    fn call_often(&self, ledger: &Ledger, thread: usize, calls: usize) {
        let mut dice = Dice(thread as u64 + 7 * self.asked.load(Ordering::Relaxed) as u64 + 1);
        let mut open = Vec::new();
        for _ in 0..calls {
            let now = ledger.clock().now();
            ledger.clock().set(Micros(now.0 + dice.below(400_000)));
            if let Some(seq) = self.call(ledger, &mut dice, thread.is_multiple_of(2)) {
                open.push(seq);
            }
            if open.len() > 3 {
                let seq = open.swap_remove(dice.below(4) as usize);
                let given_back = dice.below(4) == 0;
                let outcome = if given_back {
                    Outcome::Unreachable
                } else {
                    Outcome::Ok
                };
                let finish = Finish::<&str> {
                    outcome,
                    given_back,
                    ..Finish::default()
                };
                drop(ledger.finish(seq, &finish));
            }
            self.asked.fetch_add(1, Ordering::Relaxed);
            // Others come too: a lock like this one is not fair.
            std::thread::yield_now();
        }
    }

    fn call(&self, ledger: &Ledger, dice: &mut Dice, is_evaluated_before: bool) -> Option<i64> {
        let (grant, policy) = &self.grants[dice.below(3) as usize];
        let tool = ["vm_stop", "vm_stop", "vm_list", "vm_start"][dice.below(4) as usize];
        let (id, force) = (dice.below(9), dice.below(6) == 0);
        let text = match dice.below(12) {
            0 => r#"{"id":"7"}"#.to_owned(),
            _ => format!(r#"{{"id":{id},"force":{force}}}"#),
        };
        let value = Value::parse(&text).unwrap();
        let ask = Ask::recorded(tool, &value);
        let resolution = self.resolver.resolve(&ask).unwrap();
        let received_at = ledger.clock().now();
        let context = Context {
            node: ledger.node(),
            server: "nas",
            grant,
            session: "s",
            client_name: "",
            client_version: "",
            received_at,
        };
        let heard = Heard::of(&resolution, None, &context);
        let evaluation = heard.evaluate(policy.as_ref());
        let digests = (
            policy.as_ref().map(|policy| policy.digest().to_string()),
            self.resolver.digest().to_string(),
        );
        let call = Call {
            received_at: received_at.0,
            server: Some("nas"),
            grant: Some(*grant),
            session: Some("s"),
            method: Some("tools/call"),
            wire_tool: Some(tool),
            tool: Some(tool),
            arguments: Some(&text),
            policy_digest: digests.0.as_deref(),
            resolver_digest: Some(&*digests.1),
            engine: Some(ENGINE),
            ..Call::default()
        };
        // After a reload some calls still come as they would have come before it.
        let known = if is_evaluated_before {
            &self.candidates[..]
        } else {
            &[]
        };
        loop {
            let heard = Heard::of(&resolution, None, &context).by(known);
            match ledger.decide(evaluation.clone(), heard, call.clone()) {
                Ok(decided) => {
                    return decided.decision.is_allow().then(|| decided.commit.seq());
                }
                Err(why) => assert!(matches!(why, weir_recorder::Unrecorded::QueueFull), "{why}"),
            }
            std::thread::yield_now();
        }
    }
}

/// Who lists which candidate.
const LISTS: [&[&str]; 4] = [
    &["ops", "dev"],
    &["ops"],
    &["dev", "night"],
    &["night", "ops"],
];

/// Puts candidates in place, as the proxy does.
fn put(world: &World, ledger: &Ledger, recorder: &Recorder, which: &[usize]) {
    let listings = which.iter().map(|which| world.listing(*which)).collect();
    let mut rebuild = ledger.begin_candidates(listings, recorder.reader());
    let event = ledger.event(&Event::of(EventKind::Grant));
    event.wait_blocking().unwrap();
    rebuild.read().unwrap();
    ledger.put_candidates_in_place(rebuild).unwrap();
}

fn open(record: &Path, at: i64) -> (Recorder, Ledger) {
    let options = RecordOptions {
        durability: Durability::Interval(Duration::from_millis(5)),
        seal_rows: 700,
        ..RecordOptions::new(record)
    };
    let (recorder, log, recovered) = Recorder::open(options, Arc::new(Disk)).unwrap();
    let options = LedgerOptions {
        node: recorder.node().to_owned(),
        counters_per_grant: COUNTERS_PER_GRANT,
        longest_window: Some(Micros(60_000_000)),
        gaps_start_empty: false,
    };
    let clock = Clock::simulated(Micros(at.max(recovered.last_decided_at.unwrap_or(at))));
    let (ledger, _) = Ledger::open(&options, clock, log, &recovered).unwrap();
    (recorder, ledger)
}

#[test]
fn candidates_say_what_replay_says_over_a_reload_and_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("record");
    let world = World::new();
    // One candidate from the start, then all of them midway, while calls come.
    let (recorder, ledger) = open(&record, BEGIN);
    world.keep(&recorder);
    put(&world, &ledger, &recorder, &[0]);
    let (barrier, is_done) = (Barrier::new(THREADS + 1), AtomicBool::new(false));
    let judging_from = std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (world, ledger, barrier, is_done) = (&world, &ledger, &barrier, &is_done);
            scope.spawn(move || {
                world.call_often(ledger, thread, CALLS);
                barrier.wait();
                for _ in 0..2_000 {
                    if is_done.load(Ordering::Relaxed) {
                        break;
                    }
                    world.call_often(ledger, thread, 20);
                }
                world.call_often(ledger, thread, CALLS);
            });
        }
        barrier.wait();
        let before = world.asked.load(Ordering::Relaxed);
        put(&world, &ledger, &recorder, &[0, 1, 2, 3]);
        let meanwhile = world.asked.load(Ordering::Relaxed) - before;
        println!("{meanwhile} calls came while the counters were rebuilt");
        assert!(meanwhile > 0);
        let judging_from = ledger.event(&Event::of(EventKind::Grant)).seq();
        is_done.store(true, Ordering::Relaxed);
        judging_from
    });
    recorder.close().unwrap();
    drop((recorder, ledger));
    // A restart, with calls that never ended; then one after a silence that is longer than any window that slides.
    let mut at = BEGIN;
    for silence in [0, 300_000_000] {
        let (recorder, ledger) = open(&record, at);
        ledger.clock().set(Micros(ledger.clock().now().0 + silence));
        put(&world, &ledger, &recorder, &[0, 1, 2, 3]);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (world, ledger) = (&world, &ledger);
                scope.spawn(move || world.call_often(ledger, thread, CALLS));
            }
        });
        at = ledger.clock().now().0;
        recorder.close().unwrap();
        drop((recorder, ledger));
    }

    let said = said(&record);
    for (which, candidate) in world.candidates.iter().enumerate() {
        let out = folder.path().join(format!("{which}.parquet"));
        let file = PolicyFile {
            path: candidate.name.to_string(),
            bytes: candidate.policy.document().to_vec(),
        };
        let assign = LISTS[which].iter();
        let options = ReplayOptions {
            record: record.clone(),
            assign: assign
                .map(|grant| ((*grant).to_owned(), file.clone()))
                .collect(),
            out: Some(out.clone()),
            ..ReplayOptions::default()
        };
        let report = replay(&options).unwrap();
        assert_eq!(report.classes.of(Class::EngineDrift), 0);
        let replayed = replayed(&out);
        let (mut compared, mut limited, mut flipped) = (0, 0, 0);
        for row in &said {
            let Some((verdict, rule)) = row.shadow.get(&*candidate.digest) else {
                let is_listed = LISTS[which].contains(&&*row.grant);
                let is_late = row.seq > judging_from;
                assert!(
                    !(is_listed && is_late),
                    "{which}: nothing is said of {row:?}"
                );
                continue;
            };
            let (would_verdict, would_rule) = &replayed[&row.seq];
            let would_verdict = would_verdict.replace("hold", "deny");
            assert_eq!(
                (verdict, rule),
                (&would_verdict, would_rule),
                "{which}: {row:?}"
            );
            compared += 1;
            limited += usize::from(rule.contains("/limits/"));
            flipped += usize::from(*verdict != row.verdict);
        }
        println!(
            "candidate {which}: {compared} calls alike, {limited} at a limit, {flipped} another way than live"
        );
        assert!(compared > 1_000 && limited > 50 && flipped > 100);
    }
}

/// What is on record of a call.
#[derive(Debug)]
struct Said {
    seq: i64,
    grant: String,
    verdict: String,
    /// Verdict and rule, by the candidate's digest.
    shadow: BTreeMap<String, (String, String)>,
}

fn said(record: &Path) -> Vec<Said> {
    let columns: Vec<&str> = [CallRows::COLUMNS, &[CallRows::SHADOW]].concat();
    let mut said = Vec::new();
    for batch in RecordReader::open(record).unwrap().calls(&columns).unwrap() {
        let batch = batch.unwrap();
        for row in CallRows::new(&batch).unwrap().iter() {
            let entries = row.shadow.iter().map(|entry| {
                let words = (entry.verdict.as_str().to_owned(), entry.rule.to_owned());
                (entry.policy_digest.to_owned(), words)
            });
            said.push(Said {
                seq: row.seq,
                grant: row.grant.unwrap_or_default().to_owned(),
                verdict: row.verdict.as_str().to_owned(),
                shadow: entries.collect(),
            });
        }
    }
    said
}

/// What replay says of every call: verdict and rule, by its place.
fn replayed(out: &Path) -> BTreeMap<i64, (String, String)> {
    let file = std::fs::File::open(out).unwrap();
    let batches = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let mut rows = BTreeMap::new();
    for batch in batches.build().unwrap() {
        let batch = batch.unwrap();
        let words = |name: &str| {
            let column = batch.column_by_name(name).unwrap();
            arrow::compute::cast(column, &DataType::Utf8).unwrap()
        };
        let (verdict, rule) = (words("would_verdict"), words("would_rule"));
        let seq = batch.column_by_name("seq").unwrap();
        let seq = seq.as_primitive::<Int64Type>();
        for place in 0..seq.len() {
            let word =
                |column: &arrow::array::ArrayRef| column.as_string::<i32>().value(place).to_owned();
            rows.insert(seq.value(place), (word(&verdict), word(&rule)));
        }
    }
    rows
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, end: i64) -> i64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as i64 % end
    }
}
