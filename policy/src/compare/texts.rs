//! The cells of the texts at a path.

use ipnet::IpNet;

use crate::Value;
use crate::operand::Operand;
use crate::operator::{Operator, Truth};

use super::cells::Cells;
use super::machine::{Machine, Words};
use super::product::{Texts, combinations};
use super::question::Question;

/// So many questions that no machine answers are looked into.
const CLOSED_MAX: usize = 5;

/// A text nobody compares with.
const OTHER: &str = "weir: other";

/// Adds the cells of the texts; `None` if they cannot be told apart.
pub(super) fn add(cells: &mut Cells<'_, '_>, texts: Texts) -> Option<()> {
    let (machines, closed) = machines(cells, texts);
    let (found, closed) = if let Some(found) = combinations(&machines, texts) {
        (found, closed)
    } else {
        // too much to visit: the words apart, and of the rest whatever there may be
        let words = machines.into_iter().take(1).collect::<Vec<_>>();
        (combinations(&words, texts)?, asked(cells))
    };
    if closed.len() > CLOSED_MAX {
        return None;
    }
    let string = |text: &str| Value::String(text.to_owned().into());
    for text in found.values() {
        cells.value(string(text));
    }
    for text in addresses(cells) {
        cells.value(string(&text));
    }
    for (kinds, text) in &found {
        if kinds.first().is_none_or(|word| *word == 0) {
            let value = string(text);
            let truths: Vec<_> = cells.questions.iter().map(|q| q.ask(&value)).collect();
            whatever(cells, truths, &closed);
        }
    }
    Some(())
}

/// The words that are compared with and what else machines can answer, and the places of the questions they cannot.
fn machines(cells: &Cells<'_, '_>, texts: Texts) -> (Vec<Machine>, Vec<usize>) {
    let operands = cells.operands();
    let mut words: Vec<&str> = operands.iter().filter_map(|o| text_of(o)).collect();
    words.sort_unstable();
    words.dedup();
    words.retain(|word| texts == Texts::All || !word.is_empty());
    let mut machines = vec![Machine::Words(Words::of(words))];
    let mut closed = Vec::new();
    for (place, question) in cells.questions.iter().enumerate() {
        let machine = match question.operator() {
            Some(Operator::Order(_, operand)) => {
                text_of(operand).map(|text| Machine::Order(text.chars().collect()))
            }
            Some(Operator::Contains(operand)) => text_of(operand).and_then(|part| {
                let machine = Machine::containing(part);
                if machine.is_none() {
                    closed.push(place);
                }
                machine
            }),
            Some(Operator::Regex(regex)) => {
                let machine = Machine::regex(regex.as_str());
                if machine.is_none() {
                    closed.push(place);
                }
                machine
            }
            Some(Operator::Glob(glob)) => {
                let machine = Machine::glob(glob);
                if machine.is_none() {
                    closed.push(place);
                }
                machine
            }
            Some(Operator::Cidr(_)) => {
                closed.push(place);
                None
            }
            Some(
                Operator::Equal(_)
                | Operator::NotEqual(_)
                | Operator::In(_)
                | Operator::NotIn(_)
                | Operator::Exists(_)
                | Operator::Type(_),
            )
            | None => None,
        };
        machines.extend(machine);
    }
    (machines, closed)
}

/// The places of every question that looks into a text.
fn asked(cells: &Cells<'_, '_>) -> Vec<usize> {
    let looks = |question: &Question<'_>| {
        matches!(
            question.operator(),
            Some(
                Operator::Order(_, Operand::String(_))
                    | Operator::Contains(Operand::String(_))
                    | Operator::Regex(_)
                    | Operator::Glob(_)
                    | Operator::Cidr(_)
            )
        )
    };
    let places = cells.questions.iter().enumerate();
    let places = places.filter(|(_, question)| looks(question));
    places.map(|(place, _)| place).collect()
}

fn text_of(operand: &Operand) -> Option<&str> {
    if let Operand::String(text) = operand {
        Some(text)
    } else {
        None
    }
}

/// Adds every way in which the questions at `closed` could be answered, as far as they do not contradict each other.
fn whatever(cells: &mut Cells<'_, '_>, truths: Vec<Truth>, closed: &[usize]) {
    let mut ways = vec![truths];
    for place in closed {
        let is_network = networks(cells, *place).is_some();
        let answers: &[Truth] = if is_network {
            &[Truth::True, Truth::False, Truth::Mismatch]
        } else {
            &[Truth::True, Truth::False]
        };
        let with = |way: &Vec<Truth>, answer: Truth| {
            let mut way = way.clone();
            if let Some(truth) = way.get_mut(*place) {
                *truth = answer;
            }
            way
        };
        let all = ways
            .iter()
            .flat_map(|way| answers.iter().map(|answer| with(way, *answer)));
        ways = all.collect();
    }
    for way in ways {
        if !contradicts(cells, &way) {
            cells.unknown(way);
        }
    }
}

/// Whether no text is answered so: one is an address for all lists of networks or for none, and is in the larger if it is
/// in the smaller.
fn contradicts(cells: &Cells<'_, '_>, way: &[Truth]) -> bool {
    let asked: Vec<_> = (0..cells.questions.len())
        .filter_map(|place| Some((networks(cells, place)?, *way.get(place)?)))
        .collect();
    let holds = |outer: &[IpNet], inner: &[IpNet]| {
        inner
            .iter()
            .all(|net| outer.iter().any(|outer| outer.contains(net)))
    };
    asked.iter().any(|(one, truth)| {
        (*truth == Truth::True && one.is_empty())
            || asked.iter().any(|(other, truth_there)| {
                (*truth == Truth::Mismatch) != (*truth_there == Truth::Mismatch)
                    || (*truth == Truth::True && *truth_there == Truth::False && holds(other, one))
            })
    })
}

fn networks<'c>(cells: &'c Cells<'_, '_>, place: usize) -> Option<&'c [IpNet]> {
    if let Operator::Cidr(networks) = cells.questions.get(place)?.operator()? {
        Some(networks)
    } else {
        None
    }
}

/// Addresses at and around the edges of all networks, and texts that are none.
fn addresses(cells: &Cells<'_, '_>) -> Vec<String> {
    let mut texts = Vec::new();
    for place in 0..cells.questions.len() {
        for network in networks(cells, place).unwrap_or_default() {
            texts.extend([
                network.network().to_string(),
                network.broadcast().to_string(),
            ]);
            texts.extend(beside(*network));
        }
    }
    if !texts.is_empty() {
        texts.extend(["192.0.2.1", "2001:db8::1", OTHER].map(ToOwned::to_owned));
    }
    texts
}

/// The addresses just outside of a network.
fn beside(network: IpNet) -> Vec<String> {
    match network {
        IpNet::V4(net) => {
            let before = u32::from(net.network()).checked_sub(1);
            let after = u32::from(net.broadcast()).checked_add(1);
            let all = before.into_iter().chain(after);
            all.map(|bits| std::net::Ipv4Addr::from(bits).to_string())
                .collect()
        }
        IpNet::V6(net) => {
            let before = u128::from(net.network()).checked_sub(1);
            let after = u128::from(net.broadcast()).checked_add(1);
            let all = before.into_iter().chain(after);
            all.map(|bits| std::net::Ipv6Addr::from(bits).to_string())
                .collect()
        }
    }
}
