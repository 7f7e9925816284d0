//! What the record keeps of a result: redacted; a short one in its row, a longer one in a file beside the record, one that is
//! too long only by its length and digest.

use std::sync::Arc;

use bytes::Bytes;
use weir_policy::Redacted;
use weir_recorder::names_spilled;

use super::open_call::End;

impl End {
    /// Writes the end of a call down with its result. A long one goes to its file first, so that no row names a file that is
    /// not there; nobody waits for that, and only so many are under way at once.
    pub(super) fn write_with(self, result: Bytes) {
        let keeping = &self.caller.server.keeping;
        if result.len() <= keeping.inline_bytes_max {
            match self.shown(&result) {
                Some(text) if self.fits_its_row(&text) => return self.write(Some(&text)),
                Some(_) => {}
                None => return self.write(None),
            }
        }
        let place = Arc::clone(&self.gate.spilling).try_acquire_owned();
        let (true, Ok(place)) = (result.len() <= keeping.bytes_max, place) else {
            self.gate
                .telemetry
                .result_not_kept(&self.caller.server.name);
            return self.write(None);
        };
        let tracker = self.gate.carriers.clone();
        tracker.spawn_blocking(move || {
            self.spill(&result);
            drop(place);
        });
    }

    fn spill(self, result: &Bytes) {
        let Some(text) = self.shown(result) else {
            return self.write(None);
        };
        if self.fits_its_row(&text) {
            return self.write(Some(&text));
        }
        match self.gate.recorder.keep_result(text.as_bytes()) {
            Ok(name) => self.write(Some(&name)),
            Err(error) => {
                self.gate
                    .telemetry
                    .result_not_kept(&self.caller.server.name);
                tracing::warn!(server = %self.caller.server.name, %error, "a result could not be kept");
                self.write(None);
            }
        }
    }

    /// A result that looks like the name of a file is none.
    fn fits_its_row(&self, text: &str) -> bool {
        text.len() <= self.caller.server.keeping.inline_bytes_max && !names_spilled(text)
    }

    /// The result without what is redacted; none if it cannot be read.
    fn shown(&self, result: &Bytes) -> Option<String> {
        let text = std::str::from_utf8(result).ok()?;
        let key = &self.gate.digest_key;
        let redaction = &self.caller.server.keeping.results;
        match redaction.redact(text, &|bytes| key.digest(bytes)) {
            Redacted::Nothing => Some(text.to_owned()),
            Redacted::Values { text, .. } => Some(text),
            Redacted::Whole => None,
        }
    }
}
