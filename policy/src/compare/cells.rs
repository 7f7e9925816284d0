//! All values that may stand at a path, sorted into finitely many cells: values of one cell get the same answer to every
//! question that is asked there. What a cell answers is what the engine answers for an example of it.

use crate::number::Decimal;
use crate::operand::Operand;
use crate::operator::{Operator, Truth};
use crate::{Object, Value};

use super::lists;
use super::numbers::{between, sorted};
use super::product::Texts;
use super::question::Question;
use super::texts;

/// More cells than these are not looked into.
const CELLS_MAX: usize = 4_096;

/// The values of one cell.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    pub(super) what: What,
    /// The answer to each question: of `require`, where a `*` asks every element, and of the others, where it asks any.
    pub(super) answers: Vec<Answer>,
}

/// An answer under either quantifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) every: Truth,
    pub(super) any: Truth,
}

/// An example of a cell.
#[derive(Debug, Clone)]
pub(super) enum What {
    /// Nothing stands there.
    Missing,
    /// No array stands where the path says `*`.
    NoList,
    /// An array without elements stands there.
    EmptyList,
    /// Such a value.
    Like(Value<'static>),
    /// Values of which no example is known, and which may not exist.
    Unknown,
}

/// What may stand at a path at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Domain<'p> {
    /// Any value, or none.
    Any,
    /// Elements of arrays, or no arrays.
    Elements,
    /// An object: the arguments themselves.
    Object,
    /// Nothing: there are no arguments.
    Nothing,
    /// No arrays: there are no arguments.
    NoElements,
    /// Arguments that are none.
    Bare,
    /// This text.
    Text(&'p str),
    /// The name of a tool.
    Name,
    /// A text that is not empty.
    Filled,
    /// A text that is not empty, or nothing.
    MaybeFilled,
    /// A whole number from the first to the last.
    Whole(i64, i64),
}

/// The cells of a path; `None` if there are too many, or some that cannot be told apart.
pub(super) fn cells(domain: Domain<'_>, questions: &[Question<'_>]) -> Option<Vec<Cell>> {
    let mut cells = Cells {
        questions,
        list: Vec::new(),
    };
    match domain {
        Domain::Text(text) => cells.value(Value::String(text.to_owned().into())),
        Domain::Whole(first, last) => {
            for number in first..=last {
                cells.value(integer(number));
            }
        }
        Domain::Name => texts::add(&mut cells, Texts::Names)?,
        Domain::Filled => texts::add(&mut cells, Texts::Filled)?,
        Domain::MaybeFilled => {
            cells.missing();
            texts::add(&mut cells, Texts::Filled)?;
        }
        Domain::Object => cells.objects(),
        Domain::Nothing => cells.missing(),
        Domain::NoElements => cells.no_elements(),
        Domain::Bare => cells.value(Value::Object(Object::default())),
        Domain::Any => {
            cells.missing();
            cells.values()?;
        }
        Domain::Elements => {
            cells.values()?;
            cells.missing();
            cells.no_elements();
        }
    }
    (cells.list.len() <= CELLS_MAX).then_some(cells.list)
}

/// The cells of one path as they are found.
pub(super) struct Cells<'q, 'p> {
    pub(super) questions: &'q [Question<'p>],
    list: Vec<Cell>,
}

impl Cells<'_, '_> {
    fn values(&mut self) -> Option<()> {
        self.value(Value::Bool(true));
        self.value(Value::Bool(false));
        self.numbers()?;
        texts::add(self, Texts::All)?;
        lists::add(self);
        self.objects();
        self.value(Value::Null);
        Some(())
    }

    /// Adds the cell of this value, unless its answers are those of an earlier one.
    pub(super) fn value(&mut self, value: Value<'static>) {
        let truths: Vec<_> = self.questions.iter().map(|q| q.ask(&value)).collect();
        let answers = truths.into_iter().map(Answer::of).collect();
        self.push(What::Like(value), answers);
    }

    /// Adds a cell of which only the answers are known.
    pub(super) fn unknown(&mut self, truths: Vec<Truth>) {
        let answers: Vec<_> = truths.into_iter().map(Answer::of).collect();
        if !self.list.iter().any(|cell| cell.answers == answers) {
            self.push(What::Unknown, answers);
        }
    }

    fn missing(&mut self) {
        let answers = self.questions.iter().map(|q| Answer::of(q.ask_missing()));
        let answers = answers.collect();
        self.push(What::Missing, answers);
    }

    fn no_elements(&mut self) {
        let absent = |any: Truth| Answer {
            every: Truth::False,
            any,
        };
        let no_list = self.questions.iter().map(|q| absent(q.ask_missing()));
        let no_list = no_list.collect();
        self.push(What::NoList, no_list);
        let empty = self.questions.iter().map(|_| absent(Truth::False));
        let empty = empty.collect();
        self.push(What::EmptyList, empty);
    }

    fn push(&mut self, what: What, answers: Vec<Answer>) {
        let is_value = |what: &What| matches!(what, What::Like(_));
        let known = |cell: &Cell| is_value(&cell.what) && cell.answers == answers;
        if self.list.len() <= CELLS_MAX && !(is_value(&what) && self.list.iter().any(known)) {
            self.list.push(Cell { what, answers });
        }
    }

    fn numbers(&mut self) -> Option<()> {
        let operands = self.operands();
        let numbers = operands.iter().filter_map(|operand| {
            if let Operand::Number(number) = operand {
                Some(number.decimal().clone())
            } else {
                None
            }
        });
        let bounds = self.questions.iter().filter_map(Question::bound);
        let bounds: Vec<Decimal> = sorted(numbers.chain(bounds).collect());
        // small whole numbers read best: they come first where they are as good as any
        self.value(integer(1));
        for bound in &bounds {
            self.value(number(&bound.plain())?);
        }
        let lows = [None].into_iter().chain(bounds.iter().map(Some));
        let highs = bounds.iter().map(Some).chain([None]);
        for (low, high) in lows.zip(highs) {
            let found = between(low, high);
            if found.unsure || found.broken.is_none() {
                return None;
            }
            for text in [found.whole, found.broken].into_iter().flatten() {
                self.value(number(&text)?);
            }
        }
        Some(())
    }

    fn objects(&mut self) {
        let constants: Vec<_> = self.operands().into_iter().filter_map(constant).collect();
        // one more than there are to compare with: at least one of them is equal to none
        let others = (0..=constants.len()).map(|n| format!(r#"{{"weir: other {n}":null}}"#));
        let others: Vec<_> = ["{}".to_owned()].into_iter().chain(others).collect();
        let objects = constants.into_iter();
        for object in objects.filter(|value| matches!(value, Value::Object(_))) {
            self.value(object);
        }
        for text in others {
            if let Ok(value) = Value::parse(&text) {
                self.value(value.to_owned_value());
            }
        }
    }

    /// Every value that a question compares the whole value with.
    pub(super) fn operands(&self) -> Vec<&Operand> {
        let mut all = Vec::new();
        for question in self.questions {
            match question.operator() {
                Some(
                    Operator::Equal(operand)
                    | Operator::NotEqual(operand)
                    | Operator::Order(_, operand),
                ) => all.push(operand),
                Some(Operator::In(list) | Operator::NotIn(list)) => all.extend(list),
                Some(
                    Operator::Exists(_)
                    | Operator::Regex(_)
                    | Operator::Contains(_)
                    | Operator::Type(_)
                    | Operator::Glob(_)
                    | Operator::Cidr(_),
                )
                | None => {}
            }
        }
        all
    }
}

impl Answer {
    fn of(truth: Truth) -> Self {
        Self {
            every: truth,
            any: truth,
        }
    }
}

/// A value of a policy as a value of a call.
pub(super) fn constant(operand: &Operand) -> Option<Value<'static>> {
    let text = operand.to_string();
    Value::parse(&text).ok().map(|value| value.to_owned_value())
}

fn number(text: &str) -> Option<Value<'static>> {
    Value::parse(text).ok().map(|value| value.to_owned_value())
}

fn integer(value: i64) -> Value<'static> {
    Value::Number(crate::Number::Integer(value))
}
