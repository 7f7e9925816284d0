//! The rules of a policy in the form in which calls are judged: everything is found by one look-up.

#![expect(
    clippy::inline_always,
    reason = "the hot path: its results are large, and must not be moved"
)]

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::{Equivalent, HashMap};

use crate::Verdict;
use crate::calendar::Calendar;
use crate::glob::Glob;
use crate::limit::Limit;
use crate::path::Path;
use crate::predicate::Predicate;
use crate::problem::Span;
use crate::short::same;

/// What a document says.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub(crate) default: Verdict,
    pub(crate) calendar: Calendar,
    pub(crate) all_tools: Vec<Limit>,
    /// The entries of `tools`, in the order of the document.
    pub(crate) tools: Vec<Arc<ToolRules>>,
    /// The entries of `hide`, in the order of the document.
    pub(crate) hide: Vec<Hide>,
    names: HashMap<Word, Name, RandomState>,
    /// Longest first, equal lengths by code point.
    globs: Vec<(Glob, Arc<ToolRules>)>,
    hide_globs: Vec<Glob>,
}

/// One entry of `tools`.
#[derive(Debug, Clone)]
pub(crate) struct ToolRules {
    pub(crate) key: Box<str>,
    pub(crate) require: Vec<Predicate>,
    pub(crate) deny_if: Vec<Predicate>,
    pub(crate) limits: Vec<Limit>,
    pub(crate) approve_if: Vec<Predicate>,
    pub(crate) span: Span,
}

/// One entry of `hide`.
#[derive(Debug, Clone)]
pub(crate) struct Hide {
    pub(crate) key: Box<str>,
    pub(crate) glob: Option<Glob>,
    pub(crate) span: Span,
}

/// A name as a key: hashed and compared as the short text it nearly always is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Word(Box<str>);

/// A name that is looked up.
struct Sought<'a>(&'a str);

impl Hash for Word {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Sought(&self.0).hash(state);
    }
}

impl Hash for Sought<'_> {
    #[inline(always)]
    fn hash<H: Hasher>(&self, state: &mut H) {
        // nothing follows that could be taken for part of it
        state.write(self.0.as_bytes());
    }
}

impl Equivalent<Word> for Sought<'_> {
    #[inline(always)]
    fn equivalent(&self, word: &Word) -> bool {
        same(self.0.as_bytes(), word.0.as_bytes())
    }
}

/// What the document says of a name that stands in it literally.
#[derive(Debug, Clone, Default)]
struct Name {
    hidden: bool,
    rules: Option<Arc<ToolRules>>,
}

/// Where a name stands in a policy.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing<'p> {
    pub(crate) hidden: bool,
    /// Its rules; without any, the default decides.
    pub(crate) rules: Option<&'p ToolRules>,
    /// Whether `tools` lists the very name.
    pub(crate) literal: bool,
}

impl Rules {
    pub(crate) fn new(
        default: Verdict,
        calendar: Calendar,
        all_tools: Vec<Limit>,
        tools: Vec<(Option<Glob>, ToolRules)>,
        hide: Vec<Hide>,
    ) -> Self {
        let mut rules = Self {
            default,
            calendar,
            all_tools,
            tools: Vec::new(),
            names: HashMap::default(),
            globs: Vec::new(),
            hide_globs: hide.iter().filter_map(|hide| hide.glob.clone()).collect(),
            hide,
        };
        for hide in rules.hide.iter().filter(|hide| hide.glob.is_none()) {
            rules.names.insert(
                Word(hide.key.clone()),
                Name {
                    hidden: true,
                    rules: None,
                },
            );
        }
        for (glob, tool) in tools {
            let tool = Arc::new(tool);
            rules.tools.push(Arc::clone(&tool));
            if let Some(glob) = glob {
                rules.globs.push((glob, tool));
                continue;
            }
            let hidden = rules.hide_globs.iter().any(|glob| glob.reaches(&tool.key));
            let name = rules.names.entry(Word(tool.key.clone())).or_default();
            name.hidden |= hidden;
            name.rules = Some(tool);
        }
        let order = |rules: &ToolRules| {
            (
                std::cmp::Reverse(rules.key.chars().count()),
                rules.key.clone(),
            )
        };
        rules.globs.sort_by_cached_key(|(_, rules)| order(rules));
        rules
    }

    /// Where `name` stands.
    #[inline(always)]
    pub(crate) fn stand(&self, name: &str) -> Standing<'_> {
        match self.names.get(&Sought(name)) {
            Some(Name { hidden, rules }) => Standing {
                hidden: *hidden,
                rules: rules.as_deref(),
                literal: rules.is_some(),
            },
            None => Standing {
                hidden: self.is_hidden_by_glob(name),
                rules: self.glob_rules(name),
                literal: false,
            },
        }
    }

    fn is_hidden_by_glob(&self, name: &str) -> bool {
        self.hide_globs.iter().any(|glob| glob.reaches(name))
    }

    fn glob_rules(&self, name: &str) -> Option<&ToolRules> {
        self.globs
            .iter()
            .find(|(glob, _)| glob.reaches(name))
            .map(|(_, rules)| &**rules)
    }

    /// Every limit of the document.
    pub(crate) fn limits(&self) -> impl Iterator<Item = &Limit> {
        self.tools
            .iter()
            .flat_map(|tool| &tool.limits)
            .chain(&self.all_tools)
    }
}

impl ToolRules {
    /// Every predicate, stage by stage.
    pub(crate) fn predicates(&self) -> impl Iterator<Item = &Predicate> {
        self.require
            .iter()
            .chain(&self.deny_if)
            .chain(&self.approve_if)
    }

    /// Whether a predicate or a limit reads the arguments.
    pub(crate) fn reads_arguments(&self) -> bool {
        self.paths().any(Path::reads_arguments)
    }
}
