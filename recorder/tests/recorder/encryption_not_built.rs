//! A build without encryption says so, and writes nothing in the clear that was to be encrypted.

use std::sync::Arc;

use weir_recorder::{Disk, RecordError, RecordKeys, RecordOptions, Recorder};

use crate::support::*;

#[test]
fn a_build_without_encryption_opens_no_record_that_is_to_be_encrypted() {
    let folder = tempfile::tempdir().unwrap();
    let line = RecordKeys::new_line("k1").unwrap();
    let options = RecordOptions {
        keys: RecordKeys::parse(&line).unwrap(),
        ..options(folder.path())
    };
    let opened = Recorder::open(options, Arc::new(Disk));
    assert!(matches!(opened.map(drop), Err(RecordError::NotBuilt)));
}
