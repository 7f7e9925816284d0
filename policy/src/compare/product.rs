//! Every combination of kinds that some text really has, with such a text: all machines read at once.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use super::machine::{Machine, Place, within};

/// More places than these are not visited.
const PLACES_MAX: usize = 20_000;

/// Which texts there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Texts {
    /// Any.
    All,
    /// Those that are not empty.
    Filled,
    /// Names: not empty, and without control characters.
    Names,
}

/// A text of each combination of kinds, by the kinds; `None` if there are too many to visit.
pub(super) fn combinations(
    machines: &[Machine],
    texts: Texts,
) -> Option<BTreeMap<Vec<u32>, String>> {
    let letters = alphabet(machines, texts);
    let mut tracks: Vec<_> = machines.iter().map(Track::of).collect();
    let mut found = BTreeMap::new();
    let start = vec![0; tracks.len()];
    let mut seen: HashSet<Vec<usize>> = HashSet::from([start.clone()]);
    let mut waiting = VecDeque::from([(start, String::new())]);
    while let Some((places, text)) = waiting.pop_front() {
        if texts == Texts::All || !text.is_empty() {
            let kinds = tracks.iter().zip(&places);
            let kinds = kinds.map(|(track, place)| track.kind(*place)).collect();
            found.entry(kinds).or_insert_with(|| text.clone());
        }
        for letter in &letters {
            let next = tracks.iter_mut().zip(&places);
            let next: Vec<usize> = next
                .map(|(track, place)| track.step(*place, *letter))
                .collect();
            if seen.contains(&next) {
                continue;
            }
            if seen.len() == PLACES_MAX {
                return None;
            }
            seen.insert(next.clone());
            let mut longer = text.clone();
            longer.push(*letter);
            waiting.push_back((next, longer));
        }
    }
    Some(found)
}

/// One machine and the places it was seen in, each step taken once.
struct Track<'m> {
    machine: &'m Machine,
    places: Vec<Place>,
    numbers: HashMap<Place, usize>,
    steps: HashMap<(usize, char), usize>,
}

impl<'m> Track<'m> {
    fn of(machine: &'m Machine) -> Self {
        let start = machine.start();
        Self {
            machine,
            numbers: HashMap::from([(start.clone(), 0)]),
            places: vec![start],
            steps: HashMap::new(),
        }
    }

    fn kind(&self, place: usize) -> u32 {
        let place = self.places.get(place);
        place.map_or(0, |place| self.machine.kind(place))
    }

    fn step(&mut self, place: usize, letter: char) -> usize {
        if let Some(next) = self.steps.get(&(place, letter)) {
            return *next;
        }
        let from = self.places.get(place);
        let next = from.map_or_else(Place::new, |from| self.machine.step(from, letter));
        let fresh = self.places.len();
        let number = *self.numbers.entry(next.clone()).or_insert(fresh);
        if number == fresh {
            self.places.push(next);
        }
        self.steps.insert((place, letter), number);
        number
    }
}

/// One character for each way in which the machines tell characters apart; the plainest there is.
fn alphabet(machines: &[Machine], texts: Texts) -> Vec<char> {
    let mut sets: Vec<_> = machines.iter().flat_map(Machine::sets).collect();
    sets.sort_unstable();
    sets.dedup();
    let mut edges: Vec<u32> = vec![0, 0x20, 0x7f, 0x80];
    // tried before the edges, so that examples read well
    let plain = ('a'..='z')
        .chain('0'..='9')
        .chain(['_', '-', '.', '/', 'A']);
    for (first, last) in sets.iter().flatten() {
        edges.extend([u32::from(*first), u32::from(*last) + 1]);
    }
    edges.sort_unstable();
    edges.dedup();
    let edges = edges.into_iter().filter_map(|edge| match edge {
        // no characters: what follows them
        0xd800..=0xdfff => Some('\u{e000}'),
        edge => char::from_u32(edge),
    });
    let mut seen: HashSet<Vec<bool>> = HashSet::new();
    let mut letters = Vec::new();
    for c in plain.chain(edges) {
        if texts == Texts::Names && c.is_ascii_control() {
            continue;
        }
        let kind: Vec<bool> = sets.iter().map(|set| within(set, c)).collect();
        if seen.insert(kind) {
            letters.push(c);
        }
    }
    letters
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use regex::Regex;

    use super::*;
    use crate::compare::machine::Words;
    use crate::glob::Glob;

    #[test]
    fn combinations_are_those_that_some_text_has() {
        let glob = |text: &str| Machine::glob(&Glob::compile(text).unwrap()).unwrap();
        let machines = [glob("vm_*"), glob("*_stop"), glob("*")];
        let found = combinations(&machines, Texts::Names).unwrap();
        let kinds: Vec<_> = found.keys().cloned().collect();
        assert_eq!(
            kinds,
            [vec![0, 0, 1], vec![0, 1, 1], vec![1, 0, 1], vec![1, 1, 1]]
        );
        assert_eq!(found[&vec![1, 1, 1]], "vm_stop");
        let disjoint = [glob("vm_*"), glob("app_*")];
        assert!(
            !combinations(&disjoint, Texts::Names)
                .unwrap()
                .contains_key(&vec![1, 1])
        );
    }

    #[test]
    fn every_example_is_of_its_kind() {
        let patterns = [
            r"^vm-[0-9]+$",
            r"a.?b",
            r"(?i)KEY",
            r"^(x|yy){2,3}$",
            r"^$",
            r"\d{2}\z",
        ];
        let machines: Vec<_> = patterns
            .iter()
            .map(|text| Machine::regex(text).unwrap())
            .collect();
        let found = combinations(&machines, Texts::All).unwrap();
        assert!(found.len() > 10, "{found:?}");
        for (kinds, text) in found {
            for (pattern, kind) in patterns.iter().zip(kinds) {
                let is_match = Regex::new(pattern).unwrap().is_match(&text);
                assert_eq!(is_match, kind == 1, "{pattern} {text:?}");
            }
        }
        assert!(
            Machine::regex(r"\bvm\b").is_none(),
            "it looks around: not looked into"
        );
    }

    #[test]
    fn words_and_orders_are_told_apart() {
        let machines = [
            Machine::Words(Words::of(["b", "ba"])),
            Machine::Order("ba".chars().collect()),
        ];
        let found = combinations(&machines, Texts::All).unwrap();
        let kinds: Vec<_> = found.keys().cloned().collect();
        // `b` comes before `ba`, `ba` is equal; all others come before or after
        assert_eq!(kinds, [vec![0, 0], vec![0, 2], vec![1, 0], vec![2, 1]]);
    }
}
