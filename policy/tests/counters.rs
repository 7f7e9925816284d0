//! Counters are exact, bounded, and a fold of the log.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

use smallvec::{SmallVec, smallvec};
use weir_policy::{
    Arguments, Context, Counters, Judgement, Micros, Policy, Reading, ReadingRole, Resolution,
    Value, judge,
};

fn policy(limits: &str) -> Policy {
    let source = format!(
        "{{\"version\": \"1\", \"default\": \"allow\", \"all_tools\": {{\"limits\": [{limits}]}}}}"
    );
    Policy::load(source.as_bytes(), "p").unwrap_or_else(|problems| panic!("{problems}"))
}

fn context(grant: &str) -> Context<'_> {
    Context {
        node: "n1",
        server: "truenas",
        grant,
        session: "s1",
        client_name: "",
        client_version: "",
        received_at: Micros(0),
    }
}

fn with<T>(id: &str, then: impl FnOnce(&Resolution<'_>) -> T) -> T {
    let text = format!("{{\"id\": {id}, \"n\": 2.5}}");
    let value = Value::parse(&text).unwrap();
    then(&Resolution {
        readings: smallvec![Reading {
            tool: "vm_stop".into(),
            arguments: Arguments::Message(&value),
            role: ReadingRole::Full,
        }],
        via: SmallVec::new(),
        risk: None,
    })
}

fn call(policy: &Policy, counters: &mut Counters, grant: &str, id: u64, second: i64) -> Judgement {
    let at = Micros(second * 1_000_000);
    with(&id.to_string(), |call| {
        judge(Some(policy), call, &context(grant), counters, at)
    })
}

fn reason(judgement: &Judgement) -> &'static str {
    judgement.decision.reason.as_str()
}

const PER_ID: &str = r#"{"counter": "c", "window": "minute", "max": 1, "per": ["args.id"]}"#;

#[test]
fn a_grant_holds_so_many_live_keys_and_no_more() {
    let policy = policy(PER_ID);
    let mut counters = Counters::new(3);
    for id in 0..3 {
        assert_eq!(reason(&call(&policy, &mut counters, "a", id, 0)), "allowed");
    }
    let denied = call(&policy, &mut counters, "a", 3, 1);
    assert_eq!(
        (reason(&denied), &*denied.decision.rule),
        ("counter_capacity", "/all_tools/limits/c")
    );
    assert_eq!(
        reason(&call(&policy, &mut counters, "a", 0, 1)),
        "limit_exceeded"
    );
    assert_eq!(reason(&call(&policy, &mut counters, "b", 3, 1)), "allowed");
    assert_eq!(reason(&call(&policy, &mut counters, "a", 3, 60)), "allowed");
    assert_eq!(
        counters.len(),
        1,
        "what ended with the minute is swept first"
    );
}

#[test]
fn giving_back_frees_the_key_as_well() {
    let policy = policy(PER_ID);
    let mut counters = Counters::new(1);
    let first = call(&policy, &mut counters, "a", 0, 0);
    assert_eq!(
        reason(&call(&policy, &mut counters, "a", 1, 0)),
        "counter_capacity"
    );
    counters.give_back(first.reservation.as_ref().unwrap(), Micros(1));
    assert!(counters.is_empty());
    assert_eq!(reason(&call(&policy, &mut counters, "a", 1, 0)), "allowed");
    counters.give_back(first.reservation.as_ref().unwrap(), Micros(2));
    assert_eq!(
        reason(&call(&policy, &mut counters, "a", 1, 0)),
        "limit_exceeded"
    );
}

#[test]
fn ended_windows_do_not_pile_up() {
    for limit in [
        PER_ID.to_owned(),
        PER_ID.replace("\"max\"", "\"sliding\": true, \"max\""),
    ] {
        let policy = policy(&limit);
        let mut counters = Counters::new(1_000_000);
        for second in 0..30_000 {
            let judgement = call(&policy, &mut counters, "a", second as u64, second);
            assert_eq!(reason(&judgement), "allowed");
        }
        assert!(
            counters.len() <= 1_024,
            "{} counters for at most 61 live keys",
            counters.len()
        );
    }
}

#[test]
fn a_fold_of_the_log_gives_the_same_counters() {
    let policy = policy(
        r#"{"counter": "c", "window": "minute", "max": 5},
           {"counter": "s", "window": 30, "max": 4, "sliding": true, "scope": "node"},
           {"counter": "n", "window": "hour", "max": 40, "increment_from": "args.n", "per": ["args.id"]}"#,
    );
    let (mut live, mut folded) = (Counters::new(100), Counters::new(100));
    let mut given = Vec::new();
    for step in 0..400_i64 {
        let (id, second, grant) = (
            (step % 3) as u64,
            step * 7 / 3,
            if step % 5 == 0 { "a" } else { "b" },
        );
        let judgement = call(&policy, &mut live, grant, id, second);
        let Some(reservation) = judgement.reservation else {
            continue;
        };
        let at = Micros(second * 1_000_000);
        let refold = with(&id.to_string(), |call| {
            folded.consume(&policy, call, &context(grant), at)
        });
        assert_eq!(
            live.limit_counts(&reservation),
            folded.limit_counts(&refold)
        );
        if step % 4 == 0 {
            given.push((reservation, refold));
        }
        if step % 9 == 0
            && let Some((one, other)) = given.pop()
        {
            live.give_back(&one, at);
            folded.give_back(&other, at);
        }
    }
    for step in 0..20 {
        let (one, other) = (
            call(&policy, &mut live, "a", 1, 930 + step),
            call(&policy, &mut folded, "a", 1, 930 + step),
        );
        assert_eq!(one.decision, other.decision);
    }
}

#[test]
fn consuming_goes_beyond_every_max() {
    let policy = policy(r#"{"counter": "c", "window": "minute", "max": 1}"#);
    let mut counters = Counters::new(10);
    for count in 1..=3 {
        let taken = with("1", |call| {
            counters.consume(&policy, call, &context("a"), Micros(0))
        });
        assert_eq!(counters.limit_counts(&taken)[0].value, count);
    }
    assert_eq!(
        reason(&call(&policy, &mut counters, "a", 1, 59)),
        "limit_exceeded"
    );
}

#[test]
fn the_record_gets_keys_as_text_and_values_after_the_call() {
    let policy = policy(
        r#"{"counter": "calls", "window": "minute", "max": 5},
           {"counter": "sum", "window": 30, "max": 40, "sliding": true, "increment_from": "args.n", "per": ["args.id"]}"#,
    );
    let mut counters = Counters::new(10);
    assert_eq!(
        reason(&call(&policy, &mut counters, "ops", 7, 0)),
        "allowed"
    );
    let judgement = call(&policy, &mut counters, "ops", 7, 1);
    let counts = counters.limit_counts(&judgement.reservation.unwrap());
    let told: Vec<_> = counts
        .iter()
        .map(|count| (&*count.key, count.value))
        .collect();
    assert_eq!(
        told,
        [
            (
                "server=truenas/grant=ops/all_tools/counter=calls/window=60s",
                2
            ),
            (
                "server=truenas/grant=ops/all_tools/counter=sum/sliding=30s/increment_from=args.n/per=7",
                5_000_000
            ),
        ]
    );
}

#[test]
fn a_reload_in_mid_window_neither_frees_nor_doubles_a_budget() {
    let (before, after) = (
        policy(r#"{"counter": "c", "window": "minute", "max": 2}"#),
        policy(r#"{"counter": "c", "window": 60, "max": 3, "on_deny": "Later."}"#),
    );
    let mut counters = Counters::new(10);
    for _ in 0..2 {
        assert_eq!(reason(&call(&before, &mut counters, "a", 1, 0)), "allowed");
    }
    assert_eq!(reason(&call(&after, &mut counters, "a", 1, 1)), "allowed");
    assert_eq!(
        reason(&call(&after, &mut counters, "a", 1, 2)),
        "limit_exceeded"
    );
}
