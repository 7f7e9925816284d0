//! What a decision costs: a call already parsed, then from its bytes, then the same question put to other engines.
//!
//! Judging a parsed call stands beside a bare loop (hash lookup, field compare, window count) in the same run; from
//! the bytes, the other engines are in the same run. Compare the ratios, not the times.
#![allow(
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a bench that cannot be set up should stop at once"
)]

use std::collections::HashMap;
use std::hint::black_box;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};
use weir_benches::peers::{Cedar, CommonExpression, Peer, Rego};
use weir_benches::{context, message, policy};
use weir_policy::{Counters, Message, Micros, Policy, Resolver, judge, judge_bytes};

const SIZES: [usize; 4] = [1, 10, 100, 1000];
const NOON: Micros = Micros(1_795_348_800_000_000);

fn load(tools: usize, limit: bool) -> Policy {
    Policy::load(policy(tools, limit).as_bytes(), "bench.json").expect("a good policy")
}

/// A call parsed and resolved once, judged over and over.
fn parsed(c: &mut Criterion) {
    let mut group = c.benchmark_group("judge a parsed call");
    for tools in SIZES {
        for (case, limit, force, tool) in [
            ("argument rule", false, false, tools / 2),
            ("denied by argument", false, true, tools / 2),
            ("limit and argument rule", true, false, tools / 2),
            ("miss", false, false, tools),
        ] {
            let policy = load(tools, limit);
            let bytes = message(tool, force);
            let Ok(Message::Request(request)) = Message::parse(&bytes) else {
                panic!("a request")
            };
            let ask = request.ask().expect("a tool call");
            let resolver = Resolver::plain();
            let resolution = resolver.resolve(&ask).expect("a plain tool");
            let mut counters = Counters::new(1024);
            let context = context();
            group.bench_function(format!("{case}, {tools} tools"), |b| {
                b.iter(|| {
                    judge(
                        Some(&policy),
                        black_box(&resolution),
                        &context,
                        &mut counters,
                        NOON,
                    )
                    .decision
                    .verdict
                });
            });
        }
    }
    // the floor: what any rate limiter has to do for a call
    let names: HashMap<String, bool> = (0..100).map(|n| (format!("tool_{n}"), true)).collect();
    let mut windows: HashMap<u64, (i64, u64)> = HashMap::new();
    group.bench_function("bare loop: hash lookup, field compare, window count", |b| {
        b.iter(|| {
            let known = *names.get(black_box("tool_50")).unwrap_or(&false);
            let forced = black_box(Some(false)) == Some(true);
            let window = windows.entry(black_box(7)).or_insert((0, 0));
            let start = NOON.0 / 60_000_000;
            if window.0 != start {
                *window = (start, 0);
            }
            window.1 += 1;
            known && !forced && window.1 < u64::MAX
        });
    });
    group.finish();
}

/// From the bytes of one call, strictly parsed, beside the other engines.
fn from_bytes(c: &mut Criterion) {
    for tools in [1, 100] {
        let mut group = c.benchmark_group(format!("from bytes, {tools} tools"));
        let bytes = message(tools / 2, false);
        let policy = load(tools, false);
        let resolver = Resolver::plain();
        let mut counters = Counters::new(1024);
        let context = context();
        let mut ask = |bytes: &[u8]| {
            judge_bytes(
                bytes,
                &resolver,
                Some(&policy),
                &context,
                &mut counters,
                NOON,
            )
            .is_allow()
        };
        assert!(ask(&bytes), "the call that is timed passes");
        group.bench_function("weir", |b| b.iter(|| ask(black_box(&bytes))));
        peer::<Rego>(&mut group, tools, &bytes);
        peer::<CommonExpression>(&mut group, tools, &bytes);
        peer::<Cedar>(&mut group, tools, &bytes);
        group.finish();
    }
}

fn peer<P: Peer>(group: &mut BenchmarkGroup<'_, WallTime>, tools: usize, bytes: &[u8]) {
    let mut engine = P::with_tools(tools);
    assert!(
        engine.allows(bytes),
        "{} must allow the call it is timed on",
        P::NAME
    );
    group.bench_function(P::NAME, |b| b.iter(|| engine.allows(black_box(bytes))));
}

criterion_group!(benches, parsed, from_bytes);
criterion_main!(benches);
