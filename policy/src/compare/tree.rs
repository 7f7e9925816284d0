//! Arguments as they are put together, path by path.

use std::collections::BTreeMap;

use crate::path::Step;
use crate::{Object, Value};

use super::cells::What;

/// A value in the making.
#[derive(Debug, Default)]
pub(super) struct Tree {
    leaf: Option<Value<'static>>,
    members: BTreeMap<Box<str>, (Option<usize>, Tree)>,
    items: Vec<Tree>,
    is_list: bool,
}

impl Tree {
    /// Puts a value at the end of `steps`; the first `*` is the element `item`, later ones the first.
    pub(super) fn insert(
        &mut self,
        steps: &[Step],
        value: &Value<'static>,
        item: usize,
    ) -> Option<()> {
        self.reach(steps, item, &mut |end| end.leaf = Some(value.clone()))
    }

    /// Puts elements where a path with `*` leads; `None` if they do not go together.
    pub(super) fn insert_each(&mut self, steps: &[Step], elements: &[&What]) -> Option<()> {
        let first = steps.iter().position(|step| *step == Step::Each)?;
        match elements {
            [What::NoList] => return Some(()),
            [What::EmptyList] => {
                return self.reach(steps.get(..first)?, 0, &mut |end| end.is_list = true);
            }
            _ => {}
        }
        for (item, what) in elements.iter().enumerate() {
            match what {
                What::Like(value) => self.insert(steps, value, item)?,
                What::Missing => {
                    let (last, before) = steps.split_last()?;
                    if *last == Step::Each {
                        return None;
                    }
                    self.reach(before, item, &mut |_| {})?;
                }
                What::NoList | What::EmptyList | What::Unknown => return None,
            }
        }
        Some(())
    }

    fn reach(
        &mut self,
        steps: &[Step],
        item: usize,
        then: &mut impl FnMut(&mut Self),
    ) -> Option<()> {
        let Some((step, rest)) = steps.split_first() else {
            then(self);
            return Some(());
        };
        match step {
            Step::Each => {
                self.is_list = true;
                while self.items.len() <= item {
                    self.items.push(Self::default());
                }
                self.items.get_mut(item)?.reach(rest, 0, then)
            }
            Step::Key(key, index) => {
                let member = self.members.entry(key.clone());
                let (_, tree) = member.or_insert_with(|| (*index, Self::default()));
                tree.reach(rest, item, then)
            }
        }
    }

    /// The value; `None` if what was put together cannot stand in one.
    pub(super) fn value(self) -> Option<Value<'static>> {
        let is_list = self.is_list
            || (self.leaf.is_none()
                && !self.members.is_empty()
                && self.members.values().all(|(index, _)| index.is_some()));
        let base = match self.leaf {
            Some(leaf) => leaf,
            None if is_list => Value::Array(Vec::new()),
            None => Value::Object(Object::default()),
        };
        if self.members.is_empty() && !self.is_list {
            return Some(base);
        }
        match base {
            Value::Object(mut object) if !self.is_list => {
                for (key, (_, tree)) in self.members {
                    set(&mut object, &key, tree.value()?);
                }
                Some(Value::Object(object))
            }
            Value::Array(mut items) => {
                let listed = self.items.into_iter().enumerate();
                let members = self.members.into_values();
                let members = members.map(|(index, tree)| Some((index?, tree)));
                let members: Option<Vec<_>> = members.collect();
                for (index, tree) in listed.chain(members?) {
                    while items.len() <= index {
                        items.push(Value::Null);
                    }
                    *items.get_mut(index)? = tree.value()?;
                }
                Some(Value::Array(items))
            }
            Value::Object(_)
            | Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_) => None,
        }
    }
}

/// Puts `value` at the end of `steps`, where objects lead there or can be made to.
pub(super) fn put(at: &mut Value<'static>, steps: &[Step], value: Value<'static>) {
    let Some((step, rest)) = steps.split_first() else {
        *at = value;
        return;
    };
    match (at, step) {
        (Value::Object(object), Step::Key(key, _)) => {
            if object.get(key).is_none() {
                set(object, key, Value::Object(Object::default()));
            }
            let member = object.0.iter_mut().find(|(known, _)| **known == **key);
            if let Some((_, member)) = member {
                put(member, rest, value);
            }
        }
        (Value::Array(items), Step::Key(_, Some(index))) => {
            if let Some(item) = items.get_mut(*index) {
                put(item, rest, value);
            }
        }
        _ => {}
    }
}

fn set(object: &mut Object<'static>, key: &str, value: Value<'static>) {
    match object.0.iter_mut().find(|(known, _)| *known == key) {
        Some((_, member)) => *member = value,
        None => object.0.push((key.to_owned().into(), value)),
    }
}
