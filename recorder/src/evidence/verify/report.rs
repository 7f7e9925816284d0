//! A verification in words.

use std::fmt;

use super::{LogVerification, State, Verification};

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Valid => "valid",
            Self::Altered => "altered",
            Self::Missing => "missing",
            Self::Truncated => "truncated",
            Self::UnsignedTail => "unsigned tail",
            Self::NotAnchored => "valid, not anchored",
        })
    }
}

impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.record.display(), self.state)?;
        for finding in &self.findings {
            writeln!(f, "  {}: {}", finding.state, finding.text)?;
        }
        for log in &self.logs {
            log.write(f, self.findings.is_empty())?;
        }
        write!(f, "  durability: {}", self.durability)
    }
}

impl LogVerification {
    fn write(&self, f: &mut fmt::Formatter<'_>, is_whole: bool) -> fmt::Result {
        let Self {
            node,
            calls,
            events,
            checkpoints,
            entries,
            ..
        } = self;
        if *entries == 0 {
            writeln!(f, "  {node}: nothing is signed yet")?;
        } else {
            writeln!(
                f,
                "  {node}: {calls} calls and {events} events read; {checkpoints} checkpoints hold"
            )?;
            let at = self.at.as_deref().unwrap_or("an unknown time");
            let complete = if is_whole { "complete" } else { "signed" };
            write!(f, "  {complete} up to checkpoint {entries} at {at}; ")?;
            match self.anchored {
                Some(anchored) if anchored >= *entries => writeln!(f, "the anchor has it")?,
                Some(anchored) => writeln!(
                    f,
                    "the anchor has the first {anchored} entries, later removal of the rest cannot be excluded"
                )?,
                None => writeln!(f, "later removal cannot be excluded")?,
            }
            writeln!(f, "  root {}", self.root)?;
        }
        if self.unsigned > 0 {
            let unsigned = self.unsigned;
            writeln!(f, "  {unsigned} entries of the journal are not signed yet")?;
        }
        Ok(())
    }
}
