//! What stood at one path.

use std::collections::BTreeMap;

use crate::number::Decimal;
use crate::operand::Kind;
use crate::{Value, is_replaced};

use super::Margin;

/// So many different values are remembered; more are no enumeration.
const VALUES_MAX: usize = 12;
/// How often each value must have come, on average, before the values are taken for all there are.
const EVIDENCE: u64 = 3;

/// The values of one path.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// How many values.
    pub(super) values: u64,
    /// In how many calls.
    pub(super) calls: u64,
    last_call: u64,
    kinds: Vec<Kind>,
    all_whole: Option<bool>,
    /// The values by their JSON text, as long as they are few.
    pub(super) texts: BTreeMap<String, u64>,
    has_many: bool,
    low: Option<(Decimal, String)>,
    high: Option<(Decimal, String)>,
    letters: Letters,
    /// Whether a value was replaced before it was recorded.
    pub(super) is_redacted: bool,
}

/// The characters of texts, and how many there were at most.
#[derive(Debug, Default)]
struct Letters {
    /// Ranges of letters and digits, as a class writes them.
    ranges: Vec<&'static str>,
    others: Vec<char>,
    is_strange: bool,
    shortest: Option<usize>,
    longest: usize,
}

/// What a rule can hold of a path.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shape {
    /// One of these JSON texts.
    OneOf(Vec<String>),
    /// A number of this type between the two.
    Range(&'static str, String, String),
    /// A text that this regex matches.
    Like(String),
    /// This type.
    Type(&'static str),
    /// Nothing.
    Anything,
}

impl Seen {
    pub(super) fn observe(&mut self, value: &Value<'_>, call: u64) {
        self.values += 1;
        if self.last_call != call {
            self.last_call = call;
            self.calls += 1;
        }
        let kind = Kind::of(value);
        if !self.kinds.contains(&kind) {
            self.kinds.push(kind);
        }
        match value {
            Value::Number(number) => {
                if let Some(number) = Decimal::of(number) {
                    self.number(number);
                }
            }
            Value::String(text) if is_replaced(text) => self.is_redacted = true,
            Value::String(text) => self.letters.observe(text),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {}
        }
        if matches!(kind, Kind::Array | Kind::Object) || self.has_many {
            return;
        }
        *self.texts.entry(canonical(value)).or_default() += 1;
        if self.texts.len() > VALUES_MAX {
            self.has_many = true;
            self.texts.clear();
        }
    }

    fn number(&mut self, number: Decimal) {
        let is_whole = number.is_integer();
        self.all_whole = Some(self.all_whole.unwrap_or(true) && is_whole);
        let text = number.plain();
        if self.low.as_ref().is_none_or(|(low, _)| number < *low) {
            self.low = Some((number.clone(), text.clone()));
        }
        if self.high.as_ref().is_none_or(|(high, _)| number > *high) {
            self.high = Some((number, text));
        }
    }

    /// The tightest that a rule can say.
    pub(super) fn shape(&self, margin: Margin) -> Shape {
        let [kind] = self.kinds.as_slice() else {
            return Shape::Anything;
        };
        if self.is_redacted {
            return Shape::Type("string");
        }
        let is_scalar = !matches!(kind, Kind::Array | Kind::Object | Kind::Null);
        let is_enumeration = !self.has_many
            && is_scalar
            && (*kind == Kind::Bool || self.values >= EVIDENCE * self.texts.len() as u64);
        if is_enumeration {
            return Shape::OneOf(self.texts.keys().cloned().collect());
        }
        match kind {
            Kind::Number => self.range(margin),
            Kind::String => self.letters.shape(margin),
            Kind::Bool => Shape::Type("boolean"),
            Kind::Array => Shape::Type("array"),
            Kind::Object => Shape::Type("object"),
            Kind::Null => Shape::Type("null"),
        }
    }

    fn range(&self, margin: Margin) -> Shape {
        let name = if self.all_whole == Some(true) {
            "integer"
        } else {
            "number"
        };
        let (Some((low, low_text)), Some((high, high_text))) = (&self.low, &self.high) else {
            return Shape::Type(name);
        };
        let (Ok(from), Ok(to)) = (low_text.parse::<f64>(), high_text.parse::<f64>()) else {
            return Shape::Type(name);
        };
        let room = (to - from) * margin.0;
        let (mut from, mut to) = (from - room, to + room);
        if name == "integer" {
            (from, to) = (from.floor(), to.ceil());
        }
        // what is not negative has seldom a reason to become so
        if *low >= Decimal::from(0) {
            from = from.max(0.0);
        }
        let bound = |value: f64, seen: &Decimal, text: &str, is_low: bool| {
            let written = format!("{value}");
            let holds = Decimal::parse(&written).is_some_and(|bound| {
                bound.fits_policy()
                    && if is_low {
                        bound <= *seen
                    } else {
                        bound >= *seen
                    }
            });
            // rounded the wrong way, or beyond what floats can write: as seen
            if holds { written } else { text.to_owned() }
        };
        Shape::Range(
            name,
            bound(from, low, low_text, true),
            bound(to, high, high_text, false),
        )
    }
}

impl Letters {
    fn observe(&mut self, text: &str) {
        let mut length = 0;
        for c in text.chars() {
            length += 1;
            let range = match c {
                'a'..='z' => Some("a-z"),
                'A'..='Z' => Some("A-Z"),
                '0'..='9' => Some("0-9"),
                _ => None,
            };
            match (range, c) {
                (Some(range), _) => {
                    if !self.ranges.contains(&range) {
                        self.ranges.push(range);
                    }
                }
                (None, ' '..='~') => {
                    if !self.others.contains(&c) {
                        self.others.push(c);
                    }
                }
                (None, _) => self.is_strange = true,
            }
        }
        self.longest = self.longest.max(length);
        self.shortest = Some(
            self.shortest
                .map_or(length, |shortest| shortest.min(length)),
        );
    }

    /// Its letters, and no more of them than there were, and a margin.
    fn shape(&self, margin: Margin) -> Shape {
        if self.is_strange || self.longest == 0 {
            return Shape::Type("string");
        }
        let mut ranges = self.ranges.clone();
        ranges.sort_unstable();
        let mut class = ranges.concat();
        let mut others = self.others.clone();
        others.sort_unstable();
        for c in others {
            if c.is_ascii_punctuation() {
                class.push('\\');
            }
            class.push(c);
        }
        let least = self.shortest.unwrap_or(0).min(1);
        let most = margin.over(self.longest as u64).min(1_000);
        if (most as usize) < self.longest {
            return Shape::Like(format!(r"\A[{class}]*\z"));
        }
        Shape::Like(format!(r"\A[{class}]{{{least},{most}}}\z"))
    }
}

/// The JSON text of a value; the same for equal ones.
fn canonical(value: &Value<'_>) -> String {
    match value {
        Value::Number(number) => {
            Decimal::of(number).map_or_else(|| value.to_json(), |number| number.plain())
        }
        Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            value.to_json()
        }
    }
}
