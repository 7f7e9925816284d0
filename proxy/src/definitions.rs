//! What a server says its tools are, as far as its lists have passed through.
//!
//! A tool that says today it lists and tomorrow that it deletes is a known trick. So every definition that is new or
//! changed is an event, and every call names the definition its caller could know.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use weir_policy::{Digest, Micros};
use weir_recorder::{Event, EventKind};

use crate::gate::{Gate, Served};
use crate::listing;

/// Tools of one server that are remembered; what a server lists beyond them has no digest.
const TOOLS_MAX: usize = 10_000;
/// A tool with a longer name is not remembered: no client could be told apart by it.
const NAME_BYTES_MAX: usize = 256;
/// Bytes of a definition that its event shows.
const TEXT_BYTES_MAX: usize = 16 * 1024;
/// Definitions of one server that are written down in an hour; the rest are counted, so that no server can fill the record.
const EVENTS_PER_HOUR_MAX: u32 = 2_000;
const HOUR_MICROS: i64 = 3_600_000_000;

/// The definitions of one server's tools.
#[derive(Debug, Default)]
pub(crate) struct Definitions(RwLock<Known>);

#[derive(Debug, Default)]
struct Known {
    /// Digests by the tool's name.
    digests: HashMap<Box<str>, Arc<str>>,
    /// The hour at hand, and what was written down in it.
    hour: i64,
    written: u32,
    /// What was not written down, and not yet told.
    suppressed: i64,
}

/// A definition that was not known.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    tool: String,
    digest: Arc<str>,
    text: String,
    /// It had another one before.
    changed: bool,
}

impl Definitions {
    /// The digest of the definition last told of this tool.
    pub(crate) fn digest(&self, tool: &str) -> Option<Arc<str>> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.digests.get(tool).cloned()
    }

    /// How many definitions were not written down since this was last asked.
    pub(crate) fn suppressed(&self) -> Option<i64> {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        Some(std::mem::take(&mut known.suppressed)).filter(|count| *count > 0)
    }

    /// Remembers what a list tells at `now`; what of it is news, as far as it is to be written down.
    fn learn(&self, tools: Vec<(String, String)>, now: Micros) -> Vec<Told> {
        // A name that stands twice means what it means at last.
        let last: BTreeMap<String, String> = tools.into_iter().collect();
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let known = &mut *known;
        let hour = now.0.div_euclid(HOUR_MICROS);
        if known.hour != hour {
            (known.hour, known.written) = (hour, 0);
        }
        let mut news = Vec::new();
        for (tool, text) in last {
            let digest: Arc<str> = Digest::of(text.as_bytes()).to_string().into();
            let before = known.digests.get(tool.as_str());
            let has_room = before.is_some() || known.digests.len() < TOOLS_MAX;
            if before == Some(&digest) || !has_room || tool.len() > NAME_BYTES_MAX {
                continue;
            }
            let changed = before.is_some();
            known
                .digests
                .insert(tool.as_str().into(), Arc::clone(&digest));
            if known.written >= EVENTS_PER_HOUR_MAX {
                known.suppressed += 1;
                continue;
            }
            known.written += 1;
            news.push(Told {
                tool,
                digest,
                text,
                changed,
            });
        }
        news
    }
}

impl Gate {
    /// Writes down what an answer to `tools/list` says that was not known. What cannot be read tells nothing.
    pub(crate) fn note_definitions(&self, server: &Served, message: &[u8]) {
        let Ok(tools) = listing::tools(message) else {
            return;
        };
        for told in server.definitions.learn(tools, self.ledger.clock().now()) {
            if told.changed {
                tracing::warn!(server = %server.name, tool = told.tool, "a server changed what it says a tool is");
            }
            let text = if told.changed {
                "the server changed the tool's definition"
            } else {
                "the server defined the tool"
            };
            let detail = (told.text.len() <= TEXT_BYTES_MAX).then_some(told.text.as_str());
            drop(self.ledger.event(&Event {
                server: Some(&server.name),
                tool: Some(&told.tool),
                digest: Some(&told.digest),
                count: i64::try_from(told.text.len()).ok(),
                text: Some(text),
                detail,
                ..Event::of(EventKind::ToolDefinition)
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Micros = Micros(12 * HOUR_MICROS);

    fn tool(text: &str) -> (String, String) {
        ("vm_list".to_owned(), text.to_owned())
    }

    #[test]
    fn only_what_is_new_or_changed_is_news() {
        let definitions = Definitions::default();
        let first = definitions.learn(vec![tool("{1}")], NOON);
        assert!(first.len() == 1 && first.iter().all(|told| !told.changed));
        assert_eq!(definitions.learn(vec![tool("{1}")], NOON), []);
        let second = definitions.learn(vec![tool("{2}")], NOON);
        assert!(second.len() == 1 && second.iter().all(|told| told.changed));
        assert_eq!(
            definitions.digest("vm_list").as_deref(),
            Some(Digest::of(b"{2}").to_string().as_str())
        );
        assert_eq!(definitions.digest("vm_stop"), None);
    }

    #[test]
    fn a_server_cannot_fill_the_record_with_definitions() {
        let definitions = Definitions::default();
        let twice = definitions.learn(vec![tool("{1}"), tool("{2}"), tool("{1}")], NOON);
        assert_eq!(twice.len(), 1, "a name that stands twice counts once");
        let long = ("x".repeat(NAME_BYTES_MAX + 1), "{}".to_owned());
        assert_eq!(definitions.learn(vec![long], NOON), []);
        let many = (0..EVENTS_PER_HOUR_MAX + 9).map(|n| tool(&n.to_string()));
        let written: usize = many
            .map(|tool| definitions.learn(vec![tool], NOON).len())
            .sum();
        assert_eq!(written, EVENTS_PER_HOUR_MAX as usize - 1);
        assert_eq!(definitions.suppressed(), Some(10));
        assert_eq!(definitions.suppressed(), None);
        let later = Micros(NOON.0 + HOUR_MICROS);
        assert_eq!(definitions.learn(vec![tool("{3}")], later).len(), 1);
    }
}
