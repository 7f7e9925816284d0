//! The physical layout of a segment, asserted as data.

use std::fs::File;
use std::sync::Arc;

use parquet::basic::{Compression, Encoding};
use parquet::file::reader::{FileReader, SerializedFileReader};
use weir_recorder::{Disk, RecordOptions, Recorder, calls_schema};

use crate::support::*;

#[test]
fn a_segment_is_laid_out_as_the_design_says() {
    let folder = tempfile::tempdir().unwrap();
    let (recorder, mut log, _) = open(folder.path());
    for n in 0..500 {
        let commit = decide(&mut log, NOON, &call(n));
        drop(log.finish(NOON, commit.seq(), &finish(weir_recorder::Outcome::Ok)));
    }
    recorder.seal_now().unwrap();
    let segment = recorder.reader().segments().unwrap().remove(0);
    assert_eq!(
        segment.path,
        folder
            .path()
            .join("calls/date=2026-11-22/n1-000000000000-000000000998.parquet")
    );

    let file = SerializedFileReader::new(File::open(&segment.path).unwrap()).unwrap();
    let metadata = file.metadata();
    let pairs = metadata.file_metadata().key_value_metadata().unwrap();
    let value = |key: &str| {
        pairs
            .iter()
            .find(|pair| pair.key == key)
            .and_then(|pair| pair.value.clone())
    };
    assert_eq!(value("weir.schema").as_deref(), Some("1"));
    assert_eq!(value("weir.log_seq").as_deref(), Some("999"));
    assert_eq!(metadata.num_row_groups(), 1);
    let group = metadata.row_group(0);
    let sorting = group.sorting_columns().unwrap();
    assert_eq!(
        (sorting.len(), sorting[0].column_idx, sorting[0].descending),
        (1, 0, false)
    );
    let mut leaves = 0;
    for column in group.columns() {
        let name = column.column_path().string();
        leaves += 1;
        assert!(
            matches!(column.compression(), Compression::ZSTD(_)),
            "{name}"
        );
        assert!(
            column.offset_index_offset().is_some(),
            "{name} has a page index"
        );
        let bloom = column.bloom_filter_offset().is_some();
        assert_eq!(
            bloom,
            ["call_id", "session"].contains(&name.as_str()),
            "{name}"
        );
        if ["arguments", "call_id", "seq"].contains(&name.as_str()) {
            assert!(column.dictionary_page_offset().is_none(), "{name}");
        }
        if ["tool", "grant", "verdict"].contains(&name.as_str()) {
            assert!(
                column.encodings().any(|e| e == Encoding::RLE_DICTIONARY),
                "{name}"
            );
        }
        if name == "seq" {
            assert!(
                column
                    .encodings()
                    .any(|e| e == Encoding::DELTA_BINARY_PACKED)
            );
        }
    }
    assert!(leaves >= calls_schema().fields().len());
}

#[test]
fn a_folder_has_nothing_but_what_the_design_names() {
    let beside = tempfile::tempdir().unwrap();
    let folder = beside.path().join("record");
    let options = RecordOptions {
        signing_key: None,
        ..options(&folder)
    };
    let (recorder, mut log, _) = Recorder::open(options, Arc::new(Disk)).unwrap();
    whole(&mut log, NOON, 1);
    recorder.seal_now().unwrap();
    whole(&mut log, NOON, 2);
    recorder.seal_now().unwrap();
    recorder.close().unwrap();
    assert!(beside.path().join("record.key").exists() && beside.path().join("record.pub").exists());
    let mut names: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "calls",
            "checkpoints",
            "digest.key",
            "events",
            "journal",
            "lock",
            "node.json",
            "policies",
            "resolvers"
        ]
    );
    let identity = std::fs::read_to_string(folder.join("node.json")).unwrap();
    assert!(
        identity.contains("\"node\": \"n1\"") && identity.contains("\"durability\": \"sync\""),
        "{identity}"
    );
    let journals = std::fs::read_dir(folder.join("journal")).unwrap().count();
    assert_eq!(journals, 1, "only the one that keeps the place in the log");
}
