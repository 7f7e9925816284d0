//! The search for a call: what may stand at each path if one policy lets the call through and the other does not.

use std::ops::ControlFlow;

use crate::operator::Truth;

use super::cells::Answer;
use super::matter::{Ask, Asked, Matter, Rule, Side};

/// Steps after which a search gives up.
const STEPS_MAX: usize = 20_000;

/// What is asked of the calls that are sought.
#[derive(Debug, Clone, Default)]
pub(super) struct Demands {
    /// Whether no call can meet them.
    impossible: bool,
    /// At this path only such values (for a `*`: all elements).
    all: Vec<Such>,
    /// At this path such a value (for a `*`: at least one element).
    some: Vec<Such>,
    /// At least one of each.
    either: Vec<Vec<Such>>,
}

/// Some values at one path.
#[derive(Debug, Clone)]
struct Such {
    path: usize,
    cells: Vec<bool>,
}

/// What may stand at each path.
#[derive(Debug, Clone)]
pub(super) struct Stand {
    /// By path: the values that are left.
    pub(super) all: Vec<Vec<bool>>,
    /// Elements there must be, by path.
    some: Vec<Such>,
}

/// How a search ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Search {
    /// There is no such call.
    Nothing,
    /// It was stopped by who looked at what it found.
    Stopped,
    /// There may be such calls, but no look was satisfied.
    Open,
}

impl Demands {
    /// The rules of `side` let the call through, up to the people it asks.
    pub(super) fn admits(&mut self, matter: &Matter<'_>, side: &Side<'_>) {
        self.impossible |= side.refused.is_some();
        for rule in &side.require {
            for ask in &rule.asks {
                self.all(matter, *ask, Answer::holds_every);
            }
        }
        for rule in &side.deny_if {
            self.holds_not(matter, rule);
        }
        for quota in &side.limits {
            self.impossible |= quota.closed;
            for ask in &quota.asks {
                self.all(matter, *ask, Answer::holds_every);
            }
        }
    }

    /// Nobody is asked either.
    pub(super) fn passes(&mut self, matter: &Matter<'_>, side: &Side<'_>) {
        self.admits(matter, side);
        for rule in &side.approve_if {
            self.holds_not(matter, rule);
        }
    }

    /// The first rule of `approve_if` that does not clearly not hold is this one, and it holds.
    pub(super) fn holds_first(&mut self, matter: &Matter<'_>, rules: &[Rule], place: usize) {
        for rule in rules.iter().take(place) {
            self.holds_not(matter, rule);
        }
        for ask in rules.get(place).map_or(&[][..], |rule| &rule.asks) {
            self.some(matter, *ask, |answer| answer.any == Truth::True);
        }
    }

    /// A predicate of `deny_if` or `approve_if` does not hold.
    pub(super) fn holds_not(&mut self, matter: &Matter<'_>, rule: &Rule) {
        let such = |ask: &Ask| Such {
            path: ask.path,
            cells: matter.answering(*ask, Answer::holds_not),
        };
        self.either.push(rule.asks.iter().map(such).collect());
    }

    pub(super) fn all(&mut self, matter: &Matter<'_>, ask: Ask, wanted: impl Fn(Answer) -> bool) {
        self.all.push(Such {
            path: ask.path,
            cells: matter.answering(ask, wanted),
        });
    }

    pub(super) fn some(&mut self, matter: &Matter<'_>, ask: Ask, wanted: impl Fn(Answer) -> bool) {
        self.some.push(Such {
            path: ask.path,
            cells: matter.answering(ask, wanted),
        });
    }

    /// Shows `look` what may stand at each path, one way after the other, until it says stop.
    pub(super) fn search(
        &self,
        matter: &Matter<'_>,
        mut look: impl FnMut(&Stand) -> ControlFlow<()>,
    ) -> Search {
        if self.impossible {
            return Search::Nothing;
        }
        let everything = matter.paths.iter().map(|path| vec![true; path.cells.len()]);
        let mut stand = Stand {
            all: everything.collect(),
            some: Vec::new(),
        };
        let met = self.all.iter().all(|such| stand.keep(such))
            && self.some.iter().all(|such| stand.need(such, matter));
        if !met {
            return Search::Nothing;
        }
        let mut steps = 0;
        let mut found = false;
        let either: Vec<_> = self.either.iter().map(Vec::as_slice).collect();
        match split(&stand, &either, &mut steps, &mut |stand| {
            found = true;
            look(stand)
        }) {
            ControlFlow::Break(Stop::Looked) => Search::Stopped,
            ControlFlow::Break(Stop::Tired) => Search::Open,
            ControlFlow::Continue(()) if found => Search::Open,
            ControlFlow::Continue(()) => Search::Nothing,
        }
    }
}

enum Stop {
    Looked,
    Tired,
}

/// Chooses for each of `either` one that is met, those with the fewest choices first.
fn split(
    stand: &Stand,
    either: &[&[Such]],
    steps: &mut usize,
    look: &mut impl FnMut(&Stand) -> ControlFlow<()>,
) -> ControlFlow<Stop> {
    *steps += 1;
    if *steps > STEPS_MAX {
        return ControlFlow::Break(Stop::Tired);
    }
    let mut open: Vec<(Vec<Stand>, usize)> = Vec::new();
    for (place, choices) in either.iter().enumerate() {
        if choices.iter().any(|such| stand.is_met(such)) {
            continue;
        }
        let ways = choices.iter().filter_map(|such| {
            let mut next = stand.clone();
            next.keep(such).then_some(next)
        });
        let ways: Vec<_> = ways.collect();
        if ways.is_empty() {
            return ControlFlow::Continue(());
        }
        open.push((ways, place));
    }
    let Some((ways, place)) = open.into_iter().min_by_key(|(ways, _)| ways.len()) else {
        return match look(stand) {
            ControlFlow::Break(()) => ControlFlow::Break(Stop::Looked),
            ControlFlow::Continue(()) => ControlFlow::Continue(()),
        };
    };
    let others = either
        .iter()
        .enumerate()
        .filter(|(other, _)| *other != place);
    let others: Vec<_> = others.map(|(_, choices)| *choices).collect();
    for way in ways {
        split(&way, &others, steps, look)?;
    }
    ControlFlow::Continue(())
}

impl Stand {
    /// Keeps only such values; false if nothing can stand there then.
    fn keep(&mut self, such: &Such) -> bool {
        let Some(all) = self.all.get_mut(such.path) else {
            return false;
        };
        for (kept, such) in all.iter_mut().zip(&such.cells) {
            *kept &= such;
        }
        let all = &*all;
        all.contains(&true)
            && self
                .some
                .iter()
                .all(|some| some.path != such.path || meet(all, &some.cells))
    }

    /// One such value must be there; false if none can.
    fn need(&mut self, such: &Such, matter: &Matter<'_>) -> bool {
        let has_each = matter.paths.get(such.path).is_some_and(Asked::has_each);
        if !has_each {
            return self.keep(such);
        }
        let possible = self
            .all
            .get(such.path)
            .is_some_and(|all| meet(all, &such.cells));
        self.some.push(such.clone());
        possible
    }

    /// Whether all values that are left are such values.
    fn is_met(&self, such: &Such) -> bool {
        let all = self.all.get(such.path).map_or(&[][..], |all| all);
        all.iter()
            .zip(&such.cells)
            .all(|(left, such)| !left || *such)
    }

    /// The cells that one element each must be of, at this path.
    pub(super) fn needed(&self, path: usize) -> Vec<Vec<bool>> {
        let all = self.all.get(path).map_or(&[][..], |all| all);
        let needed = self.some.iter().filter(|such| such.path == path);
        let both = |such: &Such| all.iter().zip(&such.cells).map(|(a, b)| *a && *b).collect();
        needed.map(both).collect()
    }
}

fn meet(all: &[bool], cells: &[bool]) -> bool {
    all.iter().zip(cells).any(|(a, b)| *a && *b)
}
