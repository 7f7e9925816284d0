//! What two policies ask of the calls to one tool, path by path, and how either judges by the answers.

use crate::calendar::Calendar;
use crate::limit::Limit;
use crate::message::AskKind;
use crate::operator::Truth;
use crate::path::{Path, Root};
use crate::predicate::Predicate;
use crate::{Policy, Text, Verdict};

use super::cells::{Answer, Cell, Domain, cells};
use super::question::Question;

/// The calls to one tool, or to all tools that both policies treat alike.
#[derive(Debug)]
pub(super) struct Matter<'p> {
    /// The tool, or an example of the tools.
    pub(super) tool: &'p str,
    pub(super) paths: Vec<Asked<'p>>,
    pub(super) old: Side<'p>,
    pub(super) new: Side<'p>,
}

/// A path that a rule reads, what is asked there, and the values that may stand there.
#[derive(Debug)]
pub(super) struct Asked<'p> {
    pub(super) path: &'p Path,
    pub(super) calendar: &'p Calendar,
    domain: Domain<'p>,
    questions: Vec<Question<'p>>,
    pub(super) cells: Vec<Cell>,
}

/// How one policy judges the calls.
#[derive(Debug, Default)]
pub(super) struct Side<'p> {
    /// The rule that refuses them all by their name.
    pub(super) refused: Option<&'static str>,
    pub(super) require: Vec<Rule>,
    pub(super) deny_if: Vec<Rule>,
    pub(super) approve_if: Vec<Rule>,
    pub(super) limits: Vec<Quota<'p>>,
}

/// A predicate: its questions, all of which must be answered with true.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) id: Text,
    pub(super) asks: Vec<Ask>,
}

/// A limit, and what it asks of a single call.
#[derive(Debug)]
pub(super) struct Quota<'p> {
    pub(super) limit: &'p Limit,
    pub(super) asks: Vec<Ask>,
    /// Whether it has no room for any call.
    pub(super) closed: bool,
}

/// A question at a path, by their places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) path: usize,
    pub(super) question: usize,
}

impl<'p> Matter<'p> {
    /// What `old` and `new` ask of calls to `tool`; with `one` false, of calls to all tools that stand where it stands.
    pub(super) fn of(
        old: &'p Policy,
        new: &'p Policy,
        tool: &'p str,
        one: bool,
    ) -> Result<Self, Unclear> {
        let mut matter = Self {
            tool,
            paths: Vec::new(),
            old: Side::default(),
            new: Side::default(),
        };
        matter.old = matter.side(old, tool, one);
        matter.new = matter.side(new, tool, one);
        matter.sorted()
    }

    /// Two predicates alone, each as the only one of `deny_if`.
    pub(super) fn of_rules(
        old: (&'p Predicate, &'p Calendar),
        new: (&'p Predicate, &'p Calendar),
    ) -> Result<Self, Unclear> {
        let mut matter = Self {
            tool: "",
            paths: Vec::new(),
            old: Side::default(),
            new: Side::default(),
        };
        let place = |calendar| Place {
            calendar,
            tool: Domain::Name,
            bare: false,
        };
        matter.old.deny_if = matter.rules(std::slice::from_ref(old.0), place(old.1));
        matter.new.deny_if = matter.rules(std::slice::from_ref(new.0), place(new.1));
        matter.sorted()
    }

    /// The values at each path, sorted by the answers to all that is asked there.
    fn sorted(mut self) -> Result<Self, Unclear> {
        for asked in &mut self.paths {
            asked.cells = cells(asked.domain, &asked.questions).ok_or_else(|| Unclear {
                path: asked.path.text().to_owned(),
            })?;
        }
        Ok(self)
    }

    fn side(&mut self, policy: &'p Policy, tool: &'p str, one: bool) -> Side<'p> {
        let rules = policy.rules();
        let standing = rules.stand(tool);
        let (hidden, listed) = (standing.hidden, standing.rules.is_some());
        if hidden || (!listed && rules.default == Verdict::Deny) {
            return Side {
                refused: Some(if hidden { "(hidden)" } else { "(default deny)" }),
                ..Side::default()
            };
        }
        let place = Place {
            calendar: &rules.calendar,
            tool: if one {
                Domain::Text(tool)
            } else {
                Domain::Name
            },
            bare: is_bare(tool),
        };
        let listed = standing.rules;
        let require = listed.map_or(&[][..], |rules| rules.require.as_slice());
        let deny_if = listed.map_or(&[][..], |rules| rules.deny_if.as_slice());
        let approve_if = listed.map_or(&[][..], |rules| rules.approve_if.as_slice());
        let limits = listed.map_or(&[][..], |rules| rules.limits.as_slice());
        Side {
            refused: None,
            require: self.rules(require, place),
            deny_if: self.rules(deny_if, place),
            approve_if: self.rules(approve_if, place),
            limits: limits
                .iter()
                .chain(&rules.all_tools)
                .map(|limit| self.quota(limit, place))
                .collect(),
        }
    }

    fn rules(&mut self, predicates: &'p [Predicate], place: Place<'p>) -> Vec<Rule> {
        let rule = |predicate: &'p Predicate| {
            let asks = predicate
                .conditions
                .iter()
                .map(|condition| self.ask(&condition.path, Question::Asks(condition), place));
            Rule {
                id: predicate.id.clone(),
                asks: asks.collect(),
            }
        };
        predicates.iter().map(rule).collect()
    }

    fn quota(&mut self, limit: &'p Limit, place: Place<'p>) -> Quota<'p> {
        let mut asks = Vec::new();
        for path in &limit.per {
            asks.push(self.ask(path, Question::Counted, place));
        }
        if let Some(path) = &limit.increment_from {
            asks.push(self.ask(path, Question::Amount(limit), place));
        }
        Quota {
            limit,
            asks,
            closed: limit.max == 0 && limit.increment_from.is_none(),
        }
    }

    /// Notes that a rule asks this of what stands at `path`.
    fn ask(&mut self, path: &'p Path, question: Question<'p>, at: Place<'p>) -> Ask {
        let same = |asked: &Asked<'_>| match path.root {
            Root::Arguments => asked.path.to_string() == path.to_string(),
            Root::Tool | Root::WireTool => {
                matches!(asked.path.root, Root::Tool | Root::WireTool)
            }
            Root::Hour | Root::Weekday => {
                asked.path.root == path.root && asked.calendar == at.calendar
            }
            Root::Server | Root::Grant | Root::Session | Root::ClientName | Root::ClientVersion => {
                asked.path.root == path.root
            }
        };
        let known = self.paths.iter().position(same);
        let place = known.unwrap_or_else(|| {
            self.paths.push(Asked {
                path,
                calendar: at.calendar,
                domain: at.domain(path),
                questions: Vec::new(),
                cells: Vec::new(),
            });
            self.paths.len() - 1
        });
        let question = self
            .paths
            .get_mut(place)
            .map_or(0, |asked| asked.add(question));
        Ask {
            path: place,
            question,
        }
    }

    /// Which cells of the path of `ask` give an answer that `wanted` takes.
    pub(super) fn answering(&self, ask: Ask, wanted: impl Fn(Answer) -> bool) -> Vec<bool> {
        let cells = self.paths.get(ask.path).map_or(&[][..], |path| &path.cells);
        let answers = cells.iter().map(|cell| cell.answers.get(ask.question));
        answers
            .map(|answer| answer.copied().is_some_and(&wanted))
            .collect()
    }
}

/// Where a rule stands, for the paths that do not lead into the arguments.
#[derive(Debug, Clone, Copy)]
struct Place<'p> {
    calendar: &'p Calendar,
    tool: Domain<'p>,
    /// Whether such calls have no arguments.
    bare: bool,
}

/// Whether what goes by this name is judged without arguments.
pub(super) fn is_bare(tool: &str) -> bool {
    matches!(AskKind::of_name(tool), AskKind::Resource | AskKind::Method)
}

impl<'p> Place<'p> {
    fn domain(self, path: &Path) -> Domain<'p> {
        match path.root {
            Root::Arguments if self.bare && path.steps.is_empty() => Domain::Bare,
            Root::Arguments if self.bare && path.has_each() => Domain::NoElements,
            Root::Arguments if self.bare => Domain::Nothing,
            Root::Arguments if path.has_each() => Domain::Elements,
            Root::Arguments if path.steps.is_empty() => Domain::Object,
            Root::Arguments => Domain::Any,
            Root::Tool | Root::WireTool => self.tool,
            Root::Server | Root::Grant | Root::Session => Domain::Filled,
            Root::ClientName | Root::ClientVersion => Domain::MaybeFilled,
            Root::Hour => Domain::Whole(0, 23),
            Root::Weekday => Domain::Whole(1, 7),
        }
    }
}

impl<'p> Asked<'p> {
    fn add(&mut self, question: Question<'p>) -> usize {
        let text = question.text();
        let known = self.questions.iter().position(|known| known.text() == text);
        known.unwrap_or_else(|| {
            self.questions.push(question);
            self.questions.len() - 1
        })
    }

    pub(super) fn has_each(&self) -> bool {
        self.path.has_each()
    }
}

/// The values at a path could not be sorted.
#[derive(Debug)]
pub(super) struct Unclear {
    pub(super) path: String,
}

impl Answer {
    /// `require` asks every element, the others any; limits read one value, where both are the same.
    pub(super) fn holds_every(self) -> bool {
        self.every == Truth::True
    }

    pub(super) fn holds_not(self) -> bool {
        self.any == Truth::False
    }
}
