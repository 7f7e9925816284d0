//! Sets of texts as machines that read one character at a time: patterns, words, and an order.

use std::collections::HashMap;

use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, Hir, HirKind, Look};

use crate::glob::Glob;

/// A pattern that needs more states is not looked into.
const NODES_MAX: usize = 4_000;

/// Where a machine stands after some characters.
pub(super) type Place = Vec<u32>;

/// Marks the place before the first character.
const FRESH: u32 = u32::MAX;
/// In an order: the text is already decided to be smaller, or greater.
const LESS: u32 = u32::MAX - 1;
const GREATER: u32 = u32::MAX;

/// Characters from the first to the last.
pub(super) type Range = (char, char);

/// Sorts texts into a few kinds: those a pattern matches and those it does not, each of some words and the rest,
/// those before, at and after a text.
#[derive(Debug)]
pub(super) enum Machine {
    /// Kind 1 is what matches.
    Pattern(Pattern),
    /// Kind `n` is the `n`-th word.
    Words(Words),
    /// Kinds 0, 1 and 2 are before, equal and after.
    Order(Vec<char>),
}

impl Machine {
    /// What a regex finds, searched as the engine does; `None` if it looks around in ways that are not looked into.
    pub(super) fn regex(pattern: &str) -> Option<Self> {
        let hir = ParserBuilder::new().build().parse(pattern).ok()?;
        Pattern::of(&hir).map(Self::Pattern)
    }

    /// What a glob matches.
    pub(super) fn glob(glob: &Glob) -> Option<Self> {
        let mut parser = ParserBuilder::new().dot_matches_new_line(true).build();
        let hir = parser.parse(&glob.pattern().ok()?).ok()?;
        Pattern::of(&hir).map(Self::Pattern)
    }

    /// The texts that begin with `prefix`.
    pub(super) fn prefix(prefix: &str) -> Option<Self> {
        Self::regex(&format!(r"\A{}", regex::escape(prefix)))
    }

    /// The texts that contain `part`.
    pub(super) fn containing(part: &str) -> Option<Self> {
        Self::regex(&regex::escape(part))
    }

    pub(super) fn start(&self) -> Place {
        match self {
            Self::Pattern(pattern) => pattern.start(),
            Self::Words(_) | Self::Order(_) => vec![0],
        }
    }

    pub(super) fn step(&self, place: &Place, c: char) -> Place {
        match self {
            Self::Pattern(pattern) => pattern.step(place, c),
            Self::Words(words) => words.step(place, c),
            Self::Order(text) => vec![step_order(text, place, c)],
        }
    }

    /// The kind of the text that led here.
    pub(super) fn kind(&self, place: &Place) -> u32 {
        match self {
            Self::Pattern(pattern) => u32::from(pattern.accepts(place)),
            Self::Words(words) => words.kind(place),
            Self::Order(text) => match place.first() {
                Some(&LESS) => 0,
                Some(&GREATER) | None => 2,
                Some(&read) => u32::from(read as usize == text.len()),
            },
        }
    }

    /// The sets of characters it tells apart.
    pub(super) fn sets(&self) -> Vec<Vec<Range>> {
        match self {
            Self::Pattern(pattern) => pattern.sets(),
            Self::Words(words) => words.next.keys().map(|(_, c)| vec![(*c, *c)]).collect(),
            Self::Order(text) => {
                let split = |c: &char| [vec![('\0', *c)], vec![(*c, *c)]];
                text.iter().flat_map(split).collect()
            }
        }
    }
}

fn step_order(text: &[char], place: &Place, c: char) -> u32 {
    match place.first() {
        Some(&LESS) => LESS,
        Some(&GREATER) | None => GREATER,
        Some(&read) => match text.get(read as usize) {
            Some(next) if c == *next => read + 1,
            Some(next) if c < *next => LESS,
            // longer than the text, or greater at this place
            Some(_) | None => GREATER,
        },
    }
}

/// Some words, told apart from each other and from all else.
#[derive(Debug, Default)]
pub(super) struct Words {
    next: HashMap<(u32, char), u32>,
    /// The kind of each place.
    kinds: Vec<u32>,
}

impl Words {
    pub(super) fn of<'w>(words: impl IntoIterator<Item = &'w str>) -> Self {
        let mut trie = Self {
            next: HashMap::new(),
            kinds: vec![0],
        };
        for (number, word) in words.into_iter().enumerate() {
            let mut at = 0;
            for c in word.chars() {
                let fresh = trie.kinds.len() as u32;
                at = *trie.next.entry((at, c)).or_insert(fresh);
                if at == fresh {
                    trie.kinds.push(0);
                }
            }
            if let Some(kind) = trie.kinds.get_mut(at as usize) {
                *kind = number as u32 + 1;
            }
        }
        trie
    }

    fn step(&self, place: &Place, c: char) -> Place {
        let at = place.first();
        let next = at.and_then(|at| self.next.get(&(*at, c)));
        next.copied().into_iter().collect()
    }

    fn kind(&self, place: &Place) -> u32 {
        let at = place.first().and_then(|at| self.kinds.get(*at as usize));
        at.copied().unwrap_or(0)
    }
}

/// A pattern as a machine that is in several places at once.
#[derive(Debug, Default)]
pub(super) struct Pattern {
    nodes: Vec<Node>,
    start: u32,
}

#[derive(Debug, Clone)]
enum Node {
    /// Reads one of these.
    Read(Vec<Range>, u32),
    /// Is in all of these at once.
    Fork(Vec<u32>),
    /// Goes on only before the first character.
    AtStart(u32),
    /// Goes on only after the last.
    AtEnd(u32),
    Found,
}

/// The node that has found: the first one made.
const FOUND: u32 = 0;

impl Pattern {
    fn of(hir: &Hir) -> Option<Self> {
        let mut pattern = Self {
            nodes: vec![Node::Found],
            start: FOUND,
        };
        let found = pattern.add(hir, FOUND)?;
        // searched, not anchored: any characters may come before
        let skip = pattern.push(Node::Fork(Vec::new()))?;
        let any = pattern.push(Node::Read(vec![('\0', char::MAX)], skip))?;
        if let Some(node) = pattern.nodes.get_mut(skip as usize) {
            *node = Node::Fork(vec![found, any]);
        }
        pattern.start = skip;
        Some(pattern)
    }

    fn push(&mut self, node: Node) -> Option<u32> {
        let number = self.nodes.len();
        self.nodes.push(node);
        (number < NODES_MAX).then_some(number as u32)
    }

    /// Adds what reads `hir` and then goes on at `then`; its first node.
    fn add(&mut self, hir: &Hir, then: u32) -> Option<u32> {
        match hir.kind() {
            HirKind::Empty => Some(then),
            HirKind::Literal(literal) => {
                let text = std::str::from_utf8(&literal.0).ok()?;
                let mut first = then;
                for c in text.chars().rev() {
                    first = self.push(Node::Read(vec![(c, c)], first))?;
                }
                Some(first)
            }
            HirKind::Class(Class::Unicode(class)) => {
                let ranges = class.iter().map(|range| (range.start(), range.end()));
                self.push(Node::Read(ranges.collect(), then))
            }
            HirKind::Class(Class::Bytes(class)) => {
                let ranges = class
                    .iter()
                    .map(|range| (char::from(range.start()), char::from(range.end())));
                class
                    .is_ascii()
                    .then(|| self.push(Node::Read(ranges.collect(), then)))?
            }
            HirKind::Look(Look::Start) => self.push(Node::AtStart(then)),
            HirKind::Look(Look::End) => self.push(Node::AtEnd(then)),
            HirKind::Look(_) => None,
            HirKind::Repetition(repetition) => {
                let mut first = then;
                match repetition.max {
                    None => {
                        let fork = self.push(Node::Fork(Vec::new()))?;
                        let again = self.add(&repetition.sub, fork)?;
                        if let Some(node) = self.nodes.get_mut(fork as usize) {
                            *node = Node::Fork(vec![again, then]);
                        }
                        first = fork;
                    }
                    Some(max) => {
                        for _ in repetition.min..max {
                            let once = self.add(&repetition.sub, first)?;
                            first = self.push(Node::Fork(vec![once, then]))?;
                        }
                    }
                }
                for _ in 0..repetition.min {
                    first = self.add(&repetition.sub, first)?;
                }
                Some(first)
            }
            HirKind::Capture(capture) => self.add(&capture.sub, then),
            HirKind::Concat(parts) => {
                let mut first = then;
                for part in parts.iter().rev() {
                    first = self.add(part, first)?;
                }
                Some(first)
            }
            HirKind::Alternation(choices) => {
                let firsts: Option<Vec<u32>> = choices
                    .iter()
                    .map(|choice| self.add(choice, then))
                    .collect();
                self.push(Node::Fork(firsts?))
            }
        }
    }

    fn start(&self) -> Place {
        let mut place = self.closure(vec![self.start], true, false);
        place.push(FRESH);
        place
    }

    fn step(&self, place: &Place, c: char) -> Place {
        if place.contains(&FOUND) {
            return vec![FOUND];
        }
        let reads = |node: &u32| match self.nodes.get(*node as usize) {
            Some(Node::Read(ranges, then)) => within(ranges, c).then_some(*then),
            _ => None,
        };
        let place = self.closure(place.iter().filter_map(reads).collect(), false, false);
        if place.contains(&FOUND) {
            return vec![FOUND];
        }
        place
    }

    fn accepts(&self, place: &Place) -> bool {
        let fresh = place.contains(&FRESH);
        self.closure(place.clone(), fresh, true).contains(&FOUND)
    }

    /// Every node that is reached from `from` without reading, sorted.
    fn closure(&self, from: Vec<u32>, fresh: bool, ended: bool) -> Place {
        let mut reached = Vec::new();
        let mut left = from;
        while let Some(node) = left.pop() {
            if reached.contains(&node) {
                continue;
            }
            let Some(kind) = self.nodes.get(node as usize) else {
                continue;
            };
            reached.push(node);
            match kind {
                Node::Fork(all) => left.extend(all),
                Node::AtStart(then) if fresh => left.push(*then),
                Node::AtEnd(then) if ended => left.push(*then),
                Node::Read(..) | Node::AtStart(_) | Node::AtEnd(_) | Node::Found => {}
            }
        }
        reached.sort_unstable();
        reached
    }

    fn sets(&self) -> Vec<Vec<Range>> {
        let read = |node: &Node| match node {
            Node::Read(ranges, _) => Some(ranges.clone()),
            Node::Fork(_) | Node::AtStart(_) | Node::AtEnd(_) | Node::Found => None,
        };
        let mut sets: Vec<_> = self.nodes.iter().filter_map(read).collect();
        sets.sort_unstable();
        sets.dedup();
        sets
    }
}

/// Whether a character is in one of the ranges.
pub(super) fn within(ranges: &[Range], c: char) -> bool {
    ranges
        .iter()
        .any(|(first, last)| (*first..=*last).contains(&c))
}
