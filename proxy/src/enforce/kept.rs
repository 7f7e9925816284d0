//! What may be written down of a call that policy is asked about: its names and arguments without what is redacted, as far as
//! its audit level goes.
//!
//! Limits count by the same: what a counter's key shows stands in the record too, and a restart or a replay, which have only
//! the record, must find the same counters.

use std::borrow::Cow;

use weir_policy::{Ask, Redacted, Resolution, Resolver, Value, recorded_arguments};
use weir_recorder::DigestKey;

use crate::keeping::{AuditLevel, Keeping};

/// The pointer to the arguments as a whole.
const WHOLE: &str = "";
/// What is said to be replaced where that stands in the name of a resource.
const URI: &str = "/uri";

/// Name and arguments of a call, redacted.
pub(super) struct Kept {
    name: Option<String>,
    arguments: Redacted,
}

/// The columns of a call that redaction touches.
pub(super) struct Written<'a> {
    /// The name of a resource, where something in it was replaced.
    pub(super) name: Option<&'a str>,
    pub(super) arguments: Option<&'a str>,
    pub(super) redacted: Vec<&'a str>,
    /// The call as the record tells it, where that is not as it came: what limits count by.
    pub(super) resolution: Option<Resolution<'a>>,
}

impl Kept {
    pub(super) fn of(
        keeping: &Keeping,
        level: AuditLevel,
        ask: &Ask<'_>,
        arguments: Option<&str>,
        key: &DigestKey,
    ) -> Self {
        let digest = |bytes: &[u8]| key.digest(bytes);
        Self {
            name: keeping.arguments.redact_name(&ask.wire_tool, &digest),
            arguments: match arguments {
                Some(_) if level == AuditLevel::Metadata => Redacted::Whole,
                Some(text) => keeping.arguments.redact(text, &digest),
                None => Redacted::Nothing,
            },
        }
    }

    /// The name as it may be shown.
    pub(super) fn name<'a>(&'a self, ask: &'a Ask<'_>) -> &'a str {
        self.name.as_deref().unwrap_or(&ask.wire_tool)
    }

    /// What is left of the arguments, parsed; none where nothing is kept, or nothing was replaced.
    pub(super) fn left<'a>(&'a self, ask: &'a Ask<'_>, raw: Option<&'a str>) -> Option<Value<'a>> {
        let text = match &self.arguments {
            Redacted::Nothing if self.name.is_none() => return None,
            Redacted::Nothing => raw,
            Redacted::Values { text, .. } => Some(text.as_str()),
            Redacted::Whole => return None,
        };
        Value::parse(recorded_arguments(&ask.wire_tool, text)).ok()
    }

    /// The columns of a call that cannot be resolved.
    pub(super) fn unresolved<'a>(&'a self, raw: Option<&'a str>) -> Written<'a> {
        let (arguments, mut redacted) = match &self.arguments {
            Redacted::Nothing => (raw, Vec::new()),
            Redacted::Values { text, pointers } => (
                Some(text.as_str()),
                pointers.iter().map(String::as_str).collect(),
            ),
            Redacted::Whole => (None, vec![WHOLE]),
        };
        redacted.extend(self.name.is_some().then_some(URI));
        Written {
            name: self.name.as_deref(),
            arguments,
            redacted,
            resolution: None,
        }
    }

    /// The columns of a call that goes by the names of `resolution`. What is left of its arguments must lead to the same
    /// names; where it does not, since what led there was redacted, nothing of them is kept.
    pub(super) fn resolved<'a>(
        &'a self,
        resolver: &'a Resolver,
        resolution: &'a Resolution<'_>,
        raw: Option<&'a str>,
        left: Option<&'a Value<'a>>,
    ) -> Written<'a> {
        let written = self.unresolved(raw);
        if self.name.is_none() && self.arguments == Redacted::Nothing {
            return written;
        }
        let via: Vec<&str> = resolution.via.iter().map(Cow::as_ref).collect();
        let name = |reading: Option<&'a weir_policy::Reading<'_>>| {
            let reading = reading.map_or("", |reading| reading.tool.as_ref());
            self.name.as_deref().unwrap_or(reading)
        };
        let (wire_tool, tool) = (
            name(resolution.readings.first()),
            name(resolution.readings.last()),
        );
        let read = |left| resolver.from_redacted(wire_tool, &via, tool, left);
        match left.and_then(|left| read(Some(left))) {
            Some(counted) => Written {
                resolution: Some(counted),
                ..written
            },
            None => Written {
                arguments: None,
                redacted: vec![WHOLE],
                resolution: read(None),
                ..written
            },
        }
    }
}

impl Written<'_> {
    /// Whether nothing is kept of the arguments.
    pub(super) fn is_withheld(&self) -> bool {
        self.redacted.contains(&WHOLE)
    }
}
