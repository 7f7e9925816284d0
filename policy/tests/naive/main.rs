//! The engine agrees with an evaluator that is too simple to be wrong (DESIGN 9, I6), and keeps its promises.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    clippy::needless_pass_by_value,
    clippy::maybe_infinite_iter,
    clippy::disallowed_methods,
    reason = "tests"
)]

mod call;
mod generate;
mod json;
#[rustfmt::skip]
mod oracle;
mod text;
mod wider;

use proptest::prelude::*;
use smallvec::SmallVec;
use weir_policy::{
    Arguments, Context, Counters, Judgement, Micros, Policy, Reading, ReadingRole, Resolution,
    Value, foregone, judge,
};

use call::{Call, Role};
use generate::Event;
use json::J;
use oracle::{Answer, Taken};

/// The engine with its counters, and the oracle with its log, after the same history.
struct Both {
    document: J,
    policy: Policy,
    counters: Counters,
    log: Vec<Taken>,
    capacity: usize,
    now: i64,
}

impl Both {
    fn new(document: J, capacity: usize) -> Self {
        let policy = Policy::load(document.write().as_bytes(), "random")
            .unwrap_or_else(|problems| panic!("{problems}"));
        Self {
            document,
            policy,
            counters: Counters::new(capacity),
            log: Vec::new(),
            capacity,
            now: 1_700_000_000_000_000,
        }
    }

    fn engine(&mut self, event: &Event, at: i64) -> Judgement {
        let texts: Vec<String> = event
            .readings
            .iter()
            .map(|(.., args)| args.write())
            .collect();
        let values: Vec<Value<'_>> = texts
            .iter()
            .map(|text| Value::parse(text).unwrap())
            .collect();
        let readings = event
            .readings
            .iter()
            .zip(&values)
            .map(|((tool, role, _), value)| Reading {
                tool: tool.as_str().into(),
                arguments: Arguments::Message(value),
                role: match role {
                    Role::Dispatcher => ReadingRole::Dispatcher,
                    Role::Full => ReadingRole::Full,
                    Role::LiteralOnly => ReadingRole::LiteralOnly,
                },
            });
        let resolution = Resolution {
            readings: readings.collect(),
            via: SmallVec::new(),
            risk: None,
        };
        let context = Context {
            node: "node",
            server: event.server,
            grant: event.grant,
            session: event.session,
            client_name: event.client,
            client_version: "",
            received_at: Micros(event.received_at),
        };
        let judgement = judge(
            Some(&self.policy),
            &resolution,
            &context,
            &mut self.counters,
            Micros(at),
        );
        self.hold_foregone(&resolution, &context, &judgement);
        judgement
    }

    /// What is settled by names is settled for this call too, whatever its arguments, its session, its client and its time.
    fn hold_foregone(
        &self,
        resolution: &Resolution<'_>,
        context: &Context<'_>,
        judgement: &Judgement,
    ) {
        let mut names = resolution.clone();
        for reading in &mut names.readings {
            reading.arguments = Arguments::Built(Box::new(Value::parse("{}").unwrap()));
        }
        let anybody = Context {
            session: "",
            client_name: "",
            received_at: Micros(0),
            ..*context
        };
        if let Some(settled) = foregone(Some(&self.policy), &names, &anybody) {
            assert_eq!(settled, judgement.decision);
            let taken = judgement.reservation.as_ref();
            assert!(taken.is_none_or(|taken| self.counters.limit_counts(taken).is_empty()));
        }
    }

    fn oracle(&self, event: &Event, at: i64) -> Result<(Vec<Taken>, Option<String>), Answer> {
        let facts = vec![
            ("tool", event.readings.last().unwrap().0.clone()),
            ("wire_tool", event.readings[0].0.clone()),
            ("server", event.server.into()),
            ("grant", event.grant.into()),
            ("session", event.session.into()),
            ("client.name", event.client.into()),
        ];
        let call = Call {
            readings: event.readings.clone(),
            facts,
            received_at: event.received_at,
        };
        oracle::judge(&self.document, &call, &self.log, self.capacity, at)
    }

    /// Both judge the call; they must say the same.
    fn agree(&mut self, event: &Event) -> Result<Option<Admitted>, TestCaseError> {
        self.now += event.after;
        let judgement = self.engine(event, self.now);
        let decision = &judgement.decision;
        let said = (
            decision.is_allow(),
            decision.rule.to_string(),
            decision.reason.as_str(),
        );
        let expected = self.oracle(event, self.now);
        let answer = match &expected {
            Ok((_, None)) => (true, String::new(), "allowed"),
            Ok((_, Some(asking))) => (false, asking.clone(), "approval_pending"),
            Err(answer) => answer.clone(),
        };
        prop_assert_eq!(
            &said,
            &answer,
            "at {} of {}",
            self.now,
            event.readings[0].2.write()
        );
        if let Some(wait) = decision.retry_after_ms {
            let free = self.now + wait as i64 * 1_000;
            let still = |at| {
                self.oracle(event, at)
                    .err()
                    .is_some_and(|later| later == answer)
            };
            // where one limit counts several readings, a later one may take more than the one that was refused
            let alone = event.readings.len() == 1;
            prop_assert!(
                !alone || !still(free),
                "the limit is not free after {} ms",
                wait
            );
            prop_assert!(still(free - 1_000), "the limit is free before {} ms", wait);
        }
        let Ok((taken, _)) = expected else {
            prop_assert!(judgement.reservation.is_none());
            return Ok(None);
        };
        let first = self.log.len();
        self.log.extend(taken);
        Ok(judgement.reservation.map(|reservation| Admitted {
            reservation,
            log: first..self.log.len(),
        }))
    }

    fn give_back(&mut self, admitted: &Admitted) {
        self.counters
            .give_back(&admitted.reservation, Micros(self.now));
        for taken in &mut self.log[admitted.log.clone()] {
            taken.back = true;
        }
    }
}

struct Admitted {
    reservation: weir_policy::Reservation,
    log: std::ops::Range<usize>,
}

fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok())
        .unwrap_or(if cfg!(debug_assertions) { 200 } else { 2_000 });
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn engine_and_oracle_agree_on_every_history(
        document in generate::policy(),
        capacity in prop_oneof![3 => Just(100_usize), 1 => 1_usize..4],
        events in proptest::collection::vec(generate::event(), 1..25),
    ) {
        let mut both = Both::new(document, capacity);
        let mut admitted: Vec<Option<Admitted>> = Vec::new();
        for event in &events {
            let back = event.back.and_then(|back| admitted.len().checked_sub(back + 1));
            if let Some(admission) = back.and_then(|place| admitted[place].take()) {
                both.give_back(&admission);
            }
            admitted.push(both.agree(event)?);
        }
    }

    #[test]
    fn order_of_conditions_never_matters(document in generate::policy(), event in generate::event()) {
        let mut straight = Both::new(document.clone(), 100);
        let mut reversed = Both::new(reverse_conditions(document), 100);
        let (one, other) = (straight.engine(&event, 0).decision, reversed.engine(&event, 0).decision);
        prop_assert_eq!((one.verdict, one.reason), (other.verdict, other.reason));
    }

    #[test]
    fn a_denied_call_consumes_nothing(
        document in generate::policy(),
        events in proptest::collection::vec(generate::event(), 1..12),
    ) {
        let mut all = Both::new(document.clone(), 100);
        let mut admitted_only = Both::new(document, 100);
        for event in &events {
            all.now += event.after;
            let decision = all.engine(event, all.now).decision;
            if decision.is_allow() {
                prop_assert_eq!(admitted_only.engine(event, all.now).decision, decision);
            }
        }
    }
}

fn reverse_conditions(value: J) -> J {
    match value {
        J::Arr(items) => J::Arr(items.into_iter().map(reverse_conditions).collect()),
        J::Obj(members) => J::Obj(
            members
                .into_iter()
                .map(|(key, value)| match (key.as_str(), value) {
                    ("conditions", J::Arr(mut items)) => {
                        items.reverse();
                        (key, J::Arr(items))
                    }
                    ("value", value) => (key, value),
                    (_, value) => (key, reverse_conditions(value)),
                })
                .collect(),
        ),
        other => other,
    }
}
