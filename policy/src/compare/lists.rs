//! The cells of the arrays at a path.

use std::collections::VecDeque;

use crate::Value;
use crate::operator::{Operator, Truth};

use super::cells::{Cells, constant};

/// Adds the cells of the arrays: those that are compared with, and of the rest one for each set of answers.
pub(super) fn add(cells: &mut Cells<'_, '_>) {
    let constants: Vec<_> = cells.operands().into_iter().filter_map(constant).collect();
    let longest = constants.iter().map(length).max().unwrap_or(0);
    for array in constants
        .into_iter()
        .filter(|value| matches!(value, Value::Array(_)))
    {
        cells.value(array);
    }
    let elements = elements(cells);
    cells.value(Value::Array(Vec::new()));
    // what an array answers follows from which elements are in it, so adding elements one by one meets every answer
    let mut seen: Vec<Vec<Truth>> = Vec::new();
    let mut waiting = VecDeque::from([Vec::new()]);
    while let Some(items) = waiting.pop_front() {
        for element in &elements {
            let mut more: Vec<Value<'static>> = items.clone();
            more.push(element.clone());
            let mut array = more.clone();
            // longer than whatever it is compared with
            while array.len() <= longest {
                array.push(element.clone());
            }
            let value = Value::Array(array);
            let truths: Vec<_> = cells.questions.iter().map(|q| q.ask(&value)).collect();
            if !seen.contains(&truths) {
                seen.push(truths);
                cells.value(value);
                waiting.push_back(more);
            }
        }
    }
}

/// Every element that a question looks for, and of each type one that none looks for.
fn elements(cells: &Cells<'_, '_>) -> Vec<Value<'static>> {
    let sought: Vec<_> = cells
        .questions
        .iter()
        .filter_map(|question| match question.operator() {
            Some(Operator::Contains(operand)) => Some(operand),
            _ => None,
        })
        .collect();
    let mut others = Vec::new();
    // one more than are looked for: of each type at least one is not
    for n in 0..=sought.len() {
        for text in [
            "null".to_owned(),
            "true".to_owned(),
            "false".to_owned(),
            format!("{n}.875"),
            format!("\"weir: other {n}\""),
            format!("[\"weir: other {n}\"]"),
            format!("{{\"weir: other {n}\":0}}"),
        ] {
            others.extend(Value::parse(&text).ok().map(|value| value.to_owned_value()));
        }
    }
    sought
        .into_iter()
        .filter_map(constant)
        .chain(others)
        .collect()
}

fn length(value: &Value<'_>) -> usize {
    if let Value::Array(items) = value {
        items.len()
    } else {
        0
    }
}
