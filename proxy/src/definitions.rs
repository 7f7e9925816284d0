//! What a server says its tools are, as far as its lists have passed through.
//!
//! A tool that says today it lists and tomorrow that it deletes is a known trick. So every definition that is new or
//! changed is an event, and every call names the definition its caller could know.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use weir_policy::Digest;
use weir_recorder::{Event, EventKind};

use crate::gate::{Gate, Served};
use crate::listing;

/// Tools of one server that are remembered; what a server lists beyond them has no digest.
const TOOLS_MAX: usize = 10_000;
/// Bytes of a definition that its event shows.
const TEXT_BYTES_MAX: usize = 16 * 1024;

/// The definitions of one server's tools, by name.
#[derive(Debug, Default)]
pub(crate) struct Definitions(RwLock<HashMap<Box<str>, Arc<str>>>);

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
        known.get(tool).cloned()
    }

    /// Remembers what a list tells; what of it is news.
    fn learn(&self, tools: Vec<(String, String)>) -> Vec<Told> {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut news = Vec::new();
        for (tool, text) in tools {
            let digest: Arc<str> = Digest::of(text.as_bytes()).to_string().into();
            let before = known.get(tool.as_str());
            if before == Some(&digest) || (before.is_none() && known.len() >= TOOLS_MAX) {
                continue;
            }
            let changed = before.is_some();
            known.insert(tool.as_str().into(), Arc::clone(&digest));
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
        for told in server.definitions.learn(tools) {
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

    fn tool(text: &str) -> (String, String) {
        ("vm_list".to_owned(), text.to_owned())
    }

    #[test]
    fn only_what_is_new_or_changed_is_news() {
        let definitions = Definitions::default();
        let first = definitions.learn(vec![tool("{1}")]);
        assert!(first.len() == 1 && first.iter().all(|told| !told.changed));
        assert_eq!(definitions.learn(vec![tool("{1}")]), []);
        let second = definitions.learn(vec![tool("{2}")]);
        assert!(second.len() == 1 && second.iter().all(|told| told.changed));
        assert_eq!(
            definitions.digest("vm_list").as_deref(),
            Some(Digest::of(b"{2}").to_string().as_str())
        );
        assert_eq!(definitions.digest("vm_stop"), None);
    }
}
