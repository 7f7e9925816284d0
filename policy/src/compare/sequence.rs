//! The search for calls that one policy lets through one after the other, and the other does not.

use crate::limit::{Limit, Scope};
use crate::path::Path;
use crate::{Micros, Number, Policy, Value};

use super::call::{Reach, SampleCall, counters};

/// A longer sequence is not tried.
const CALLS_MAX: usize = 20_000;
/// So many variants are tried before time goes on.
const VARIANTS_MAX: usize = 40;

/// Two policies, and a limit of the older that the newer may not hold.
pub(super) struct Race<'p> {
    pub(super) old: &'p Policy,
    pub(super) new: &'p Policy,
    pub(super) limit: &'p Limit,
}

impl Race<'_> {
    /// Calls that `new` lets through one after the other, up to the first that `old` refuses. `calls` are calls that both let through.
    pub(super) fn run(&self, calls: &[SampleCall]) -> Option<Vec<SampleCall>> {
        let amounts = self.amounts();
        for amount in amounts {
            let calls: Vec<_> = calls.iter().map(|call| self.taking(call, amount)).collect();
            for start in self.starts(&calls) {
                let found = self.run_from(&calls, start);
                if found.is_some() {
                    return found;
                }
            }
        }
        None
    }

    fn run_from(&self, calls: &[SampleCall], start: Micros) -> Option<Vec<SampleCall>> {
        let (mut old, mut new) = (counters(), counters());
        let mut passed: Vec<SampleCall> = Vec::new();
        let mut now = start;
        let mut variant = 0;
        while passed.len() < CALLS_MAX && now.0 - start.0 <= self.limit.window.micros {
            let mut wait: Option<u64> = None;
            let mut next = None;
            for number in variant..variant + VARIANTS_MAX {
                let call = self.variant(calls, number, now)?;
                let decision = call.judge(self.new, &mut new);
                if decision.is_allow() {
                    next = Some((number, call));
                    break;
                }
                wait = match (wait, decision.retry_after_ms) {
                    (Some(one), Some(other)) => Some(one.min(other)),
                    (one, other) => one.or(other),
                };
            }
            let Some((number, call)) = next else {
                now = Micros(
                    now.0
                        .checked_add(i64::try_from(wait?).ok()?.max(1) * 1_000)?,
                );
                continue;
            };
            variant = number;
            let decision = call.judge(self.old, &mut old);
            passed.push(call);
            if Reach::of(&decision) < Reach::Allowed {
                return Some(passed);
            }
        }
        None
    }

    /// The `number`-th variant: another call, and in it whatever may differ without the old limit counting it apart.
    fn variant(&self, calls: &[SampleCall], number: usize, at: Micros) -> Option<SampleCall> {
        let call = calls.get(number % calls.len().max(1))?;
        let round = number / calls.len().max(1);
        let mut call = SampleCall { at, ..call.clone() };
        if round == 0 {
            return Some(call);
        }
        let scope = self.limit.scope;
        if scope >= Scope::Node {
            call.server = format!("{}-{round}", call.server);
        }
        if scope >= Scope::Server {
            call.grant = format!("{}-{round}", call.grant);
        }
        if scope >= Scope::Grant {
            call.session = format!("{}/{}", call.grant, round + 1);
        }
        for path in self.free() {
            if let Some(value) = call.at_path(path) {
                let value = another(value, round);
                call = call.with(path, value);
            }
        }
        Some(call)
    }

    /// The paths by which the new policy counts apart what the old limit counts together.
    fn free(&self) -> Vec<&Path> {
        let is_counted = |path: &Path| {
            let text = path.to_string();
            self.limit.paths().any(|known| known.to_string() == text)
        };
        let limits = self.new.rules().limits();
        let paths = limits.flat_map(|limit| &limit.per);
        paths
            .filter(|path| path.reads_arguments() && !is_counted(path))
            .collect()
    }

    /// Amounts worth trying: as much as either policy takes at once.
    fn amounts(&self) -> Vec<Option<u64>> {
        if self.limit.increment_from.is_none() {
            return vec![None];
        }
        let limits = self.new.rules().limits();
        let same = limits.filter(|limit| limit.increment_from.is_some());
        let mut amounts: Vec<_> = same
            .map(|limit| limit.max)
            .chain([self.limit.max, 1])
            .collect();
        amounts.sort_unstable();
        amounts.dedup();
        amounts.into_iter().rev().map(Some).chain([None]).collect()
    }

    fn taking(&self, call: &SampleCall, amount: Option<u64>) -> SampleCall {
        match (
            &self.limit.increment_from,
            amount.and_then(|amount| i64::try_from(amount).ok()),
        ) {
            (Some(path), Some(amount)) => call.with(path, Value::Number(Number::Integer(amount))),
            _ => call.clone(),
        }
    }

    /// When to begin: as the calls come, where windows begin, and just before.
    fn starts(&self, calls: &[SampleCall]) -> Vec<Micros> {
        let Some(first) = calls.first() else {
            return Vec::new();
        };
        let mut windows: Vec<i64> = self
            .new
            .rules()
            .limits()
            .chain([self.limit])
            .map(|limit| limit.window.micros)
            .collect();
        windows.sort_unstable();
        windows.dedup();
        let mut starts = vec![first.at];
        for window in windows {
            let next = first.at.0 - first.at.0.rem_euclid(window) + window;
            starts.extend([Micros(next), Micros(next - 1)]);
        }
        starts
    }
}

/// Another value of the same type.
fn another(value: &Value<'_>, round: usize) -> Value<'static> {
    match value {
        Value::String(text) => Value::String(format!("{text}{round}").into()),
        Value::Number(Number::Integer(number)) => {
            Value::Number(Number::Integer(number.saturating_add(round as i64)))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Value::Number(Number::Integer(round as i64))
        }
    }
}
