//! Whether a limit of one policy holds whatever a limit of another would hold.

use crate::limit::{Limit, Scope};
use crate::window::Window;

/// Whether `old` is never exceeded by calls that `new` lets through. Both see the same calls of one tool, or `new` sees more.
pub(crate) fn covers(new: &Limit, old: &Limit) -> bool {
    let amount = |limit: &Limit| limit.increment_from.as_ref().map(ToString::to_string);
    let paths = |limit: &Limit| {
        limit
            .per
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    let (finer, coarser) = (paths(old), paths(new));
    (new.all_tools || !old.all_tools)
        && shares(new.scope, old.scope)
        && coarser.iter().all(|path| finer.contains(path))
        && amount(new) == amount(old)
        && spans(new.window, old.window)
            .and_then(|spans| u128::from(spans).checked_mul(new.ceiling()))
            .is_some_and(|most| most <= old.ceiling())
}

/// Whether calls that count together in the scope `old` always count together in `new`. A session belongs to one grant.
fn shares(new: Scope, old: Scope) -> bool {
    new >= old
}

/// How many windows of `new` hold every call of any one window of `old`.
fn spans(new: Window, old: Window) -> Option<u64> {
    let (n, o) = (new.micros, old.micros);
    let many = u64::try_from(o.checked_add(n)? - 1).ok()? / u64::try_from(n).ok()?;
    Some(match (new.sliding, old.sliding) {
        // the last calls of the stretches of `n` that make up a window of `old` each see their stretch
        (true, _) => many,
        // aligned to the same moment, and one within the other
        (false, false) if n % o == 0 => 1,
        (false, false) if o % n == 0 => many,
        // begins and ends within windows
        (false, _) => many + 1,
    })
}

/// Whether every call that any of `group` (limits that may share a counter with `old`) counts, is counted by a limit of
/// `news` that would share that counter too, and one of them has no more room than `old`.
pub(super) fn covers_group(news: &[&Limit], old: &Limit, group: &[&Limit]) -> bool {
    let per = |limit: &Limit| {
        limit
            .per
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    let twin = |new: &&&Limit, old: &Limit| new.counts_with(old) && per(new) == per(old);
    group
        .iter()
        .all(|limit| news.iter().any(|new| twin(&new, limit)))
        && news.iter().any(|new| twin(&new, old) && new.max <= old.max)
}

/// Whether limits count by the same values.
pub(super) fn same_values(one: &Limit, other: &Limit) -> bool {
    let per = |limit: &Limit| {
        limit
            .per
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    per(one) == per(other)
}
