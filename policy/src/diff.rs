//! What changed in meaning from one policy to another, rule by rule.

use std::collections::BTreeMap;

use crate::compare::{compare_entry, compare_limits, compare_rules};
use crate::explain::Stage;
use crate::limit::Limit;
use crate::predicate::Predicate;
use crate::rules::ToolRules;
use crate::{Comparison, Policy};

/// What is otherwise in the newer of two policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diff {
    /// What concerns all tools: `default`, `timezone`, `hide`, the limits over all of them.
    pub general: Vec<Change>,
    /// Entries of `tools` that were added, removed or changed, by key.
    pub tools: Vec<ToolChange>,
}

/// One entry of `tools`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolChange {
    /// The tool, or the glob.
    pub key: String,
    /// What happened to the entry.
    pub kind: ChangeKind,
    /// What that does to the calls it speaks of.
    pub effect: Effect,
    /// Its rules that were added, removed or changed.
    pub rules: Vec<Change>,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The rule's id, or the member of the document.
    pub rule: String,
    /// What happened to it.
    pub kind: ChangeKind,
    /// What it said.
    pub before: Option<String>,
    /// What it says.
    pub after: Option<String>,
    /// What that does to the calls it is asked about, by itself.
    pub effect: Effect,
}

/// What happened to a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It says something else.
    Changed,
}

/// What a change does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// No call is judged otherwise.
    Same,
    /// Less passes.
    Tighter,
    /// More passes.
    Looser,
    /// Some calls pass that did not, and some no longer do.
    Mixed,
    /// It could not be told.
    Unclear,
}

impl ChangeKind {
    /// The word that reports use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Changed => "changed",
        }
    }
}

impl Effect {
    /// The word that reports use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Tighter => "tighter",
            Self::Looser => "looser",
            Self::Mixed => "mixed",
            Self::Unclear => "unclear",
        }
    }

    /// From whether all that passes now passed before, and the other way round.
    fn of(now_passed_before: bool, before_passes_now: bool) -> Self {
        match (now_passed_before, before_passes_now) {
            (true, true) => Self::Same,
            (true, false) => Self::Tighter,
            (false, true) => Self::Looser,
            (false, false) => Self::Mixed,
        }
    }
}

impl Diff {
    /// What is otherwise in `new`.
    pub fn of(old: &Policy, new: &Policy) -> Self {
        let mut diff = Self {
            general: general(old, new),
            tools: Vec::new(),
        };
        let entries = |policy: &'_ Policy| -> BTreeMap<String, usize> {
            let tools = policy.rules().tools.iter().enumerate();
            tools
                .map(|(place, tool)| (tool.key.to_string(), place))
                .collect()
        };
        let (before, after) = (entries(old), entries(new));
        let keys: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        for key in keys {
            let entry = |policy: &'_ Policy, place: Option<&usize>| {
                place.and_then(|place| policy.rules().tools.get(*place).cloned())
            };
            let one = entry(old, before.get(key));
            let other = entry(new, after.get(key));
            let kind = match (&one, &other) {
                (None, _) => ChangeKind::Added,
                (_, None) => ChangeKind::Removed,
                (Some(_), Some(_)) => ChangeKind::Changed,
            };
            let rules = Pair { old, new }.rules(one.as_deref(), other.as_deref());
            if kind == ChangeKind::Changed && rules.is_empty() {
                continue;
            }
            diff.tools.push(ToolChange {
                key: key.clone(),
                kind,
                effect: of_entry(old, new, key),
                rules,
            });
        }
        diff
    }

    /// Whether both say the same, to callers too.
    pub fn is_empty(&self) -> bool {
        self.general.is_empty() && self.tools.is_empty()
    }
}

/// What the two policies make of the calls that an entry speaks of.
fn of_entry(old: &Policy, new: &Policy, key: &str) -> Effect {
    use Comparison::{NowhereWider, Unknown, Wider};
    match (compare_entry(old, new, key), compare_entry(new, old, key)) {
        (Unknown(_), _) | (_, Unknown(_)) => Effect::Unclear,
        (forth, back) => Effect::of(matches!(forth, NowhereWider), !matches!(back, Wider(_))),
    }
}

fn general(old: &Policy, new: &Policy) -> Vec<Change> {
    let (one, other) = (old.rules(), new.rules());
    let mut changes = Vec::new();
    if one.default != other.default {
        let loosened = other.default == crate::Verdict::Allow;
        changes.push(Change {
            rule: "default".to_owned(),
            kind: ChangeKind::Changed,
            before: Some(one.default.as_str().to_owned()),
            after: Some(other.default.as_str().to_owned()),
            effect: if loosened {
                Effect::Looser
            } else {
                Effect::Tighter
            },
        });
    }
    if one.calendar != other.calendar {
        changes.push(Change {
            rule: "timezone".to_owned(),
            kind: ChangeKind::Changed,
            before: Some(one.calendar.to_string()),
            after: Some(other.calendar.to_string()),
            effect: Effect::Unclear,
        });
    }
    let hidden =
        |rules: &crate::rules::Rules, key: &str| rules.hide.iter().any(|hide| &*hide.key == key);
    for hide in other.hide.iter().filter(|hide| !hidden(one, &hide.key)) {
        changes.push(added("hide", hide.key.to_string()));
    }
    for hide in one.hide.iter().filter(|hide| !hidden(other, &hide.key)) {
        changes.push(removed("hide", hide.key.to_string()));
    }
    limits(&one.all_tools, &other.all_tools, &mut changes);
    changes
}

struct Pair<'p> {
    old: &'p Policy,
    new: &'p Policy,
}

impl Pair<'_> {
    fn rules(&self, one: Option<&ToolRules>, other: Option<&ToolRules>) -> Vec<Change> {
        let mut changes = Vec::new();
        let list = |rules: Option<&'_ ToolRules>, stage: Stage| match (rules, stage) {
            (Some(rules), Stage::Require) => rules.require.clone(),
            (Some(rules), Stage::DenyIf) => rules.deny_if.clone(),
            (Some(rules), Stage::ApproveIf) => rules.approve_if.clone(),
            _ => Vec::new(),
        };
        for stage in [Stage::Require, Stage::DenyIf] {
            self.predicates(stage, list(one, stage), list(other, stage), &mut changes);
        }
        let quotas =
            |rules: Option<&ToolRules>| rules.map_or(Vec::new(), |rules| rules.limits.clone());
        limits(&quotas(one), &quotas(other), &mut changes);
        let stage = Stage::ApproveIf;
        self.predicates(stage, list(one, stage), list(other, stage), &mut changes);
        changes
    }

    fn predicates(
        &self,
        stage: Stage,
        mut old: Vec<Predicate>,
        new: Vec<Predicate>,
        changes: &mut Vec<Change>,
    ) {
        let mut fresh = Vec::new();
        for rule in new {
            let same = |known: &Predicate| known.to_string() == rule.to_string();
            let Some(place) = old.iter().position(same) else {
                fresh.push(rule);
                continue;
            };
            let known = old.remove(place);
            if known.message != rule.message {
                changes.push(Change {
                    rule: rule.id.to_string(),
                    kind: ChangeKind::Changed,
                    before: Some(format!("tells: {}", known.message)),
                    after: Some(format!("tells: {}", rule.message)),
                    effect: Effect::Same,
                });
            }
        }
        for rule in fresh {
            let Some(place) = old.iter().position(|known| known.id == rule.id) else {
                changes.push(added(&rule.id, rule.to_string()));
                continue;
            };
            let known = old.remove(place);
            let calendars = (&self.old.rules().calendar, &self.new.rules().calendar);
            let effect = compare_rules(stage, (&known, calendars.0), (&rule, calendars.1));
            changes.push(Change {
                rule: rule.id.to_string(),
                kind: ChangeKind::Changed,
                before: Some(known.to_string()),
                after: Some(rule.to_string()),
                effect: effect.map_or(Effect::Unclear, |(forth, back)| Effect::of(forth, back)),
            });
        }
        changes.extend(old.iter().map(|rule| removed(&rule.id, rule.to_string())));
    }
}

fn limits(old: &[Limit], new: &[Limit], changes: &mut Vec<Change>) {
    let mut old: Vec<&Limit> = old.iter().collect();
    let mut fresh = Vec::new();
    for limit in new {
        let same = |known: &&Limit| known.says_the_same(limit);
        match old.iter().position(same) {
            Some(place) => drop(old.remove(place)),
            None => fresh.push(limit),
        }
    }
    for limit in fresh {
        let Some(place) = old.iter().position(|known| known.id == limit.id) else {
            changes.push(added(&limit.id, limit.to_string()));
            continue;
        };
        let known = old.remove(place);
        changes.push(Change {
            rule: limit.id.to_string(),
            kind: ChangeKind::Changed,
            before: Some(known.to_string()),
            after: Some(limit.to_string()),
            effect: Effect::of(compare_limits(limit, known), compare_limits(known, limit)),
        });
    }
    changes.extend(
        old.iter()
            .map(|limit| removed(&limit.id, limit.to_string())),
    );
}

/// Every rule refuses something, so one more lets no more pass.
fn added(rule: &str, text: String) -> Change {
    Change {
        rule: rule.to_owned(),
        kind: ChangeKind::Added,
        before: None,
        after: Some(text),
        effect: Effect::Tighter,
    }
}

fn removed(rule: &str, text: String) -> Change {
    Change {
        rule: rule.to_owned(),
        kind: ChangeKind::Removed,
        before: Some(text),
        after: None,
        effect: Effect::Looser,
    }
}
