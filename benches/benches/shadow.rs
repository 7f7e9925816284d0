//! What candidates cost: a call decided by the ledger with none, one and three of them alongside, and the same judged without one.
//!
//! Each decision is evaluated, settled and queued for a journal that syncs at intervals; nobody waits for it. Compare the ratios
//! within one run, not the times.
#![allow(
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a bench that cannot be set up should stop at once"
)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use weir_benches::{context, message, policy};
use weir_policy::{Counters, ENGINE, Message, Micros, Policy, Resolution, Resolver};
use weir_proxy::ledger::{Candidate, Heard, Listing};
use weir_proxy::{Clock, Ledger, LedgerOptions};
use weir_recorder::{Call, Commit, Disk, Durability, RecordOptions, Recorder};

const NOON: Micros = Micros(1_795_348_800_000_000);
const COUNTERS: usize = 1024;
const TOOLS: usize = 100;
/// Decisions that are queued before the clock is stopped, so that the journal never fills.
const BURST: u64 = 256;

fn load(tools: usize) -> Arc<Policy> {
    let text = policy(tools, true);
    Arc::new(Policy::load(text.as_bytes(), "bench.json").expect("a good policy"))
}

/// Candidates with other digests than the policy in force, and as many rules.
fn candidates(count: usize) -> Vec<Candidate> {
    let candidate = |n: usize| Candidate::new(&format!("{n}.json"), load(TOOLS + 1 + n));
    (0..count).map(candidate).collect()
}

/// Evaluated and settled, without a log: the policy in force and each candidate with its own counters.
fn judged(c: &mut Criterion) {
    let mut group = c.benchmark_group("judge with candidates alongside");
    let bytes = message(TOOLS / 2, false);
    let Ok(Message::Request(request)) = Message::parse(&bytes) else {
        panic!("a request")
    };
    let ask = request.ask().expect("a tool call");
    let resolver = Resolver::plain();
    let resolution = resolver.resolve(&ask).expect("a plain tool");
    let context = context();
    for count in [0, 1, 3] {
        let enforced = load(TOOLS);
        let candidates = candidates(count);
        let mut counters: Vec<Counters> = (0..=count).map(|_| Counters::new(COUNTERS)).collect();
        group.bench_function(format!("{count} candidates"), |b| {
            b.iter(|| {
                let policies = candidates.iter().map(|candidate| &candidate.policy);
                let heard = Heard::of(black_box(&resolution), None, &context);
                let judges = [&enforced].into_iter().chain(policies);
                for (policy, counters) in judges.zip(&mut counters) {
                    let judgement = counters.settle(heard.evaluate(Some(policy)), NOON);
                    assert!(black_box(judgement).decision.is_allow());
                }
            });
        });
    }
    group.finish();
}

/// Decided by the ledger: all of it but waiting for the disk.
fn decided(c: &mut Criterion) {
    let mut group = c.benchmark_group("decide in the ledger with candidates alongside");
    group.measurement_time(Duration::from_secs(8));
    let bytes = message(TOOLS / 2, false);
    let Ok(Message::Request(request)) = Message::parse(&bytes) else {
        panic!("a request")
    };
    let ask = request.ask().expect("a tool call");
    let resolver = Resolver::plain();
    let resolution = resolver.resolve(&ask).expect("a plain tool");
    for count in [0, 1, 3] {
        let folder = tempfile::tempdir().expect("a folder");
        let options = RecordOptions {
            durability: Durability::Interval(Duration::from_millis(20)),
            seal_rows: usize::MAX,
            seal_age: Duration::from_hours(24),
            journal_bytes_max: u64::MAX,
            queue_max: 1 << 20,
            ..RecordOptions::new(folder.path().join("record"))
        };
        let opened = Recorder::open(options, Arc::new(Disk));
        let (recorder, log, recovered) = opened.expect("an empty folder");
        let options = LedgerOptions {
            node: recorder.node().to_owned(),
            counters_per_grant: COUNTERS,
            longest_window: None,
            gaps_start_empty: true,
        };
        let ledger = Ledger::open(&options, Clock::simulated(NOON), log, &recovered);
        let (ledger, _) = ledger.expect("nothing to fold");
        let candidates = candidates(count);
        let listing = |candidate: &Candidate| Listing {
            candidate: candidate.clone(),
            grants: BTreeMap::from([(Arc::from(context().grant), Arc::from("nas"))]),
        };
        let listings = candidates.iter().map(listing).collect();
        let rebuild = ledger.begin_candidates(listings, recorder.reader());
        ledger
            .put_candidates_in_place(rebuild)
            .expect("nothing to hear");
        let enforced = load(TOOLS);
        group.bench_function(format!("{count} candidates"), |b| {
            b.iter_custom(|times| {
                let mut spent = Duration::ZERO;
                let mut left = times;
                while left > 0 {
                    let burst = left.min(BURST);
                    let start = Instant::now();
                    let last = (0..burst).fold(None, |_, _| {
                        Some(decide(&ledger, &resolution, &enforced, &candidates))
                    });
                    spent += start.elapsed();
                    left -= burst;
                    let last = last.expect("a decision");
                    last.wait_blocking().expect("durable");
                }
                spent
            });
        });
        recorder.close().expect("closed");
    }
    group.finish();
}

fn decide(
    ledger: &Ledger,
    resolution: &Resolution<'_>,
    enforced: &Policy,
    candidates: &[Candidate],
) -> Commit {
    let context = context();
    let heard = Heard::of(resolution, None, &context);
    let evaluation = heard.evaluate(Some(enforced));
    let call = Call {
        received_at: NOON.0,
        server: Some(context.server),
        grant: Some(context.grant),
        session: Some(context.session),
        method: Some("tools/call"),
        wire_tool: Some("tool_50"),
        tool: Some("tool_50"),
        arguments: Some(r#"{"id":7,"force":false}"#),
        policy_digest: Some("sha256:0"),
        engine: Some(ENGINE),
        ..Call::default()
    };
    let decided = ledger.decide(evaluation, heard.by(candidates), call);
    let decided = decided.expect("room");
    assert!(decided.decision.is_allow() && decided.opinions.len() == candidates.len());
    decided.commit
}

criterion_group!(benches, judged, decided);
criterion_main!(benches);
