//! One policy: a document, its digest, and its rules in the form in which calls are judged.

use std::sync::Arc;

use crate::{Digest, Micros, Problems};

/// A loaded policy.
#[derive(Debug)]
pub struct Policy {
    source: Arc<str>,
    digest: Digest,
}

impl Policy {
    /// Reads a policy document; `name` is what its problems call it, usually the file's path.
    pub fn load(source: &[u8], name: &str) -> Result<Self, Problems> {
        let text = String::from_utf8_lossy(source);
        let mut problems = Problems::none(text.as_ref(), name);
        problems.error(0..0, "policy documents cannot be read yet", None);
        Err(problems.sorted())
    }

    /// The SHA-256 of the document's bytes as loaded.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The document's bytes as loaded.
    pub fn document(&self) -> &[u8] {
        self.source.as_bytes()
    }

    /// Whether `name` is hidden: left out of lists and denied when called.
    pub fn hides(&self, _name: &str) -> bool {
        true
    }

    /// Whether any rule reads the arguments.
    pub fn needs_arguments(&self) -> bool {
        true
    }

    /// The longest window of any limit, as a span.
    pub fn longest_window(&self) -> Option<Micros> {
        None
    }
}
