//! The record's evidence, checked before anything is judged.

use std::collections::BTreeSet;
use std::path::PathBuf;

use weir_recorder::{
    CallGroup, Finding, RecordError, RecordReader, State, VerifyOptions, verify, verify_files,
};

use crate::error::Failed;
use crate::{ReplayError, ReplayOptions, Stage, Verify};

/// The groups of a record whose evidence was checked as far as was asked for. That nothing outside of the record says that it is whole is
/// no fault of it.
pub(crate) fn groups(
    reader: &RecordReader,
    options: &ReplayOptions,
) -> Result<Vec<CallGroup>, Failed> {
    loop {
        let vouched = check(options)?;
        let groups = reader.groups()?;
        let is_vouched = |vouched: &BTreeSet<PathBuf>| {
            let mut files = groups.iter().filter_map(CallGroup::file);
            files.all(|file| vouched.contains(file))
        };
        if vouched.as_ref().is_none_or(is_vouched) {
            return Ok(groups);
        }
        // A file was sealed in between: it is looked at too.
    }
}

/// Checks as much of the evidence as was asked for; the files that it vouches for, if it was looked at.
fn check(options: &ReplayOptions) -> Result<Option<BTreeSet<PathBuf>>, ReplayError> {
    let progress = |done, all| {
        if let Some(progress) = &options.progress {
            progress(Stage::Verifying, done, all);
        }
    };
    let against = VerifyOptions {
        keys: options.keys.clone(),
        record_keys: options.record_keys.clone(),
        anchor: options.anchor.clone(),
        progress: Some(&progress),
        ..VerifyOptions::default()
    };
    let path = &options.record;
    let failed = |cause: RecordError| ReplayError::Record {
        path: path.clone(),
        cause: Box::new(cause),
    };
    let refuse = |findings: Vec<Finding>| {
        if findings.iter().any(|finding| is_fault(finding.state)) {
            let path = path.clone();
            return Err(ReplayError::Unverified { path, findings });
        }
        Ok(())
    };
    match options.verify {
        Verify::Nothing => return Ok(None),
        Verify::Files => {}
        Verify::Rows => refuse(verify(path, &against).map_err(failed)?.findings)?,
    }
    let found = verify_files(path, &against).map_err(failed)?;
    refuse(found.findings)?;
    Ok(Some(found.vouched))
}

fn is_fault(state: State) -> bool {
    match state {
        // Unread: who asks for the rows to be proved is not told that they were.
        State::Altered
        | State::Missing
        | State::Truncated
        | State::UnsignedTail
        | State::Unread => true,
        State::Valid | State::NotAnchored => false,
    }
}
