//! The physical layout of a segment, asserted as data.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::basic::{Compression, Encoding};
use parquet::file::metadata::ParquetMetaDataReader;
use parquet::file::metadata::{ColumnChunkMetaData, PageIndexPolicy, ParquetMetaData};
use weir_recorder::{
    Approval, Call, Disk, Event, EventKind, Finish, LimitCount, Outcome, RecordOptions, Recorder,
    Shadow, Verdict,
};

use crate::support::*;

/// Every leaf column of a segment of calls: type, nesting (greatest definition and repetition level), encodings of its
/// values, and what stands beside them.
const CALLS: &str = "
seq: INT64 0/0 DELTA_BINARY_PACKED statistics
finish_seq: INT64 1/0 DELTA_BINARY_PACKED statistics
node: BYTE_ARRAY 0/0 RLE_DICTIONARY dictionary
direction: BYTE_ARRAY 0/0 RLE_DICTIONARY dictionary
call_id: FIXED_LEN_BYTE_ARRAY 0/0 PLAIN bloom
decided_at: INT64 0/0 DELTA_BINARY_PACKED statistics
received_at: INT64 0/0 DELTA_BINARY_PACKED statistics
finished_at: INT64 1/0 DELTA_BINARY_PACKED statistics
server: BYTE_ARRAY 1/0 RLE_DICTIONARY dictionary statistics
grant: BYTE_ARRAY 1/0 RLE_DICTIONARY dictionary statistics
session: BYTE_ARRAY 1/0 RLE_DICTIONARY dictionary bloom statistics
principal: BYTE_ARRAY 1/0 RLE_DICTIONARY dictionary statistics
client_name: BYTE_ARRAY 1/0 RLE_DICTIONARY dictionary
client_version: BYTE_ARRAY 1/0 RLE_DICTIONARY dictionary
client_address: BYTE_ARRAY 1/0 RLE_DICTIONARY dictionary
protocol: BYTE_ARRAY 1/0 RLE_DICTIONARY dictionary
trace_id: FIXED_LEN_BYTE_ARRAY 1/0 PLAIN
method: BYTE_ARRAY 1/0 RLE_DICTIONARY dictionary
wire_tool: BYTE_ARRAY 1/0 RLE_DICTIONARY dictionary
tool: BYTE_ARRAY 1/0 RLE_DICTIONARY dictionary statistics
risk: BYTE_ARRAY 1/0 RLE_DICTIONARY dictionary
request_id: BYTE_ARRAY 1/0 PLAIN
request_bytes: INT64 1/0 PLAIN statistics
arguments: BYTE_ARRAY 1/0 PLAIN
effective_arguments: BYTE_ARRAY 1/0 PLAIN
arguments_digest: FIXED_LEN_BYTE_ARRAY 1/0 PLAIN
redacted.list.item: BYTE_ARRAY 2/1 RLE_DICTIONARY dictionary
verdict: BYTE_ARRAY 0/0 RLE_DICTIONARY dictionary statistics
reason: BYTE_ARRAY 1/0 RLE_DICTIONARY dictionary
rule: BYTE_ARRAY 1/0 RLE_DICTIONARY dictionary
message: BYTE_ARRAY 1/0 RLE_DICTIONARY dictionary
via.list.item: BYTE_ARRAY 2/1 RLE_DICTIONARY dictionary
policy_digest: BYTE_ARRAY 1/0 RLE_DICTIONARY dictionary statistics
resolver_digest: BYTE_ARRAY 1/0 RLE_DICTIONARY dictionary
engine: BYTE_ARRAY 1/0 RLE_DICTIONARY dictionary
tool_definition_digest: BYTE_ARRAY 1/0 RLE_DICTIONARY dictionary
shadow.list.item.verdict: BYTE_ARRAY 2/1 RLE_DICTIONARY dictionary
shadow.list.item.rule: BYTE_ARRAY 2/1 RLE_DICTIONARY dictionary
shadow.list.item.policy_digest: BYTE_ARRAY 2/1 RLE_DICTIONARY dictionary
approval.asked_at: INT64 1/0 RLE_DICTIONARY dictionary statistics
approval.answered_at: INT64 2/0 RLE_DICTIONARY dictionary statistics
approval.answer_seq: INT64 2/0 RLE_DICTIONARY dictionary statistics
approval.by: BYTE_ARRAY 2/0 RLE_DICTIONARY dictionary
approval.answer: BYTE_ARRAY 2/0 RLE_DICTIONARY dictionary
given_back: BOOLEAN 1/0 PLAIN statistics
limit_counts.list.item.counter: BYTE_ARRAY 2/1 RLE_DICTIONARY dictionary
limit_counts.list.item.value: INT64 2/1 RLE_DICTIONARY dictionary
decide_ns: INT32 1/0 PLAIN statistics
commit_us: INT32 1/0 PLAIN statistics
upstream_us: INT64 1/0 PLAIN statistics
outcome: BYTE_ARRAY 1/0 RLE_DICTIONARY dictionary statistics
status: INT32 1/0 RLE_DICTIONARY dictionary statistics
result_bytes: INT64 1/0 PLAIN statistics
result_digest: FIXED_LEN_BYTE_ARRAY 1/0 PLAIN
result: BYTE_ARRAY 1/0 PLAIN
";

const EVENTS: &str = "
seq: INT64 0/0 DELTA_BINARY_PACKED statistics
node: BYTE_ARRAY 0/0 RLE_DICTIONARY dictionary
at: INT64 0/0 DELTA_BINARY_PACKED statistics
kind: BYTE_ARRAY 0/0 RLE_DICTIONARY dictionary statistics
digest: BYTE_ARRAY 1/0 RLE_DICTIONARY dictionary statistics
server: BYTE_ARRAY 1/0 RLE_DICTIONARY dictionary statistics
grant: BYTE_ARRAY 1/0 RLE_DICTIONARY dictionary statistics
tool: BYTE_ARRAY 1/0 RLE_DICTIONARY dictionary statistics
address: BYTE_ARRAY 1/0 RLE_DICTIONARY dictionary
count: INT64 1/0 RLE_DICTIONARY dictionary statistics
text: BYTE_ARRAY 1/0 PLAIN
detail: BYTE_ARRAY 1/0 PLAIN
";

/// As [`CALLS`], of the projection of calls that change something, sorted by the first three.
const CHANGES: &str = "
tool: BYTE_ARRAY 1/0 RLE_DICTIONARY dictionary statistics
grant: BYTE_ARRAY 1/0 RLE_DICTIONARY dictionary statistics
seq: INT64 0/0 DELTA_BINARY_PACKED statistics
node: BYTE_ARRAY 0/0 RLE_DICTIONARY dictionary
decided_at: INT64 0/0 DELTA_BINARY_PACKED statistics
server: BYTE_ARRAY 1/0 RLE_DICTIONARY dictionary statistics
session: BYTE_ARRAY 1/0 RLE_DICTIONARY dictionary statistics
risk: BYTE_ARRAY 1/0 RLE_DICTIONARY dictionary
verdict: BYTE_ARRAY 0/0 RLE_DICTIONARY dictionary statistics
rule: BYTE_ARRAY 1/0 RLE_DICTIONARY dictionary
outcome: BYTE_ARRAY 1/0 RLE_DICTIONARY dictionary statistics
";

#[test]
fn a_segment_of_calls_is_laid_out_as_the_design_says() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 3000);
    let path = only(&folder.path().join("calls/date=2026-11-22"));
    let name = path.file_name().unwrap().to_str().unwrap();
    assert_eq!(name, "n1-000000000000-000000005249.parquet");
    let metadata = metadata(&path);
    assert_eq!(
        pairs(&metadata),
        [
            ("weir.schema", "1"),
            ("weir.log_seq", "5250"),
            ("weir.log_at", "1795348800003000")
        ]
    );
    assert_eq!(sorting(&metadata), [(0, false, false)]);
    assert_eq!(layout(&metadata), CALLS, "\n{}", layout(&metadata));
}

#[test]
fn a_segment_of_events_is_laid_out_as_the_design_says() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 10);
    let metadata = metadata(&only(&folder.path().join("events/date=2026-11-22")));
    assert_eq!(sorting(&metadata), [(0, false, false)]);
    assert_eq!(layout(&metadata), EVENTS, "\n{}", layout(&metadata));
}

#[test]
fn a_projection_of_changes_is_laid_out_as_the_guide_says() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 3000);
    let (recorder, _log, _) = open(folder.path());
    recorder.compact(|_| ()).unwrap();
    recorder.close().unwrap();
    let path = only(&folder.path().join("changes/date=2026-11-22"));
    let metadata = metadata(&path);
    assert_eq!(pairs(&metadata)[0], ("weir.schema", "1"));
    let by = (0..3).map(|column| (column, false, true));
    assert_eq!(sorting(&metadata), by.collect::<Vec<_>>());
    assert_eq!(layout(&metadata), CHANGES, "\n{}", layout(&metadata));
    let bytes = |path: &Path| fs::metadata(path).unwrap().len();
    let calls = bytes(&only(&folder.path().join("calls/date=2026-11-22")));
    assert!(bytes(&path) * 5 < calls, "{} of {calls}", bytes(&path));
}

#[test]
fn the_same_entries_become_the_same_bytes() {
    let [one, other] = [0, 1].map(|_| {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), 20_000);
        ["calls", "events"].map(|table| {
            let path = only(&folder.path().join(table).join("date=2026-11-22"));
            (
                path.file_name().unwrap().to_owned(),
                fs::read(path).unwrap(),
            )
        })
    });
    assert!(one == other);
}

/// A record of so many realistic calls and one event, sealed.
fn write(folder: &Path, calls: i64) {
    let (recorder, mut log, _) = open(folder);
    for number in 0..calls {
        let call = realistic(number);
        let commit = decide(&mut log, NOON + number, &call);
        if call.verdict == Verdict::Allow {
            drop(log.finish(NOON + number, commit.seq(), &answered(number)));
        }
        // However slow the disk is, nothing is refused for want of room in the queue.
        if number % 1000 == 999 {
            commit.wait_blocking().unwrap();
        }
    }
    let event = Event {
        server: Some("truenas"),
        text: Some("that is enough"),
        ..Event::of(EventKind::Stop)
    };
    log.event(NOON + calls, &event).wait_blocking().unwrap();
    recorder.seal_now().unwrap();
    recorder.close().unwrap();
}

/// A call that has something in every column now and then.
fn realistic(number: i64) -> Call<String> {
    let text = |text: &str| Some(text.to_owned());
    let allow = number % 4 != 3;
    Call {
        principal: text("CN=ops"),
        server: text("truenas"),
        client_name: text("claude-code"),
        client_version: text("2.1.0"),
        client_address: text("127.0.0.1"),
        protocol: text("2025-11-25"),
        trace_id: Some(number.pow(3).to_be_bytes().repeat(2).try_into().unwrap()),
        method: text("tools/call"),
        wire_tool: text("truenas"),
        risk: text("execute"),
        request_id: Some(number.to_string()),
        request_bytes: Some(100 + number % 50),
        effective_arguments: Some(format!("{{\"id\":{number}}}")),
        arguments_digest: Some([number as u8; 16]),
        redacted: vec!["/params/password".into()],
        verdict: if allow { Verdict::Allow } else { Verdict::Deny },
        reason: text(if allow { "allowed" } else { "limit_exceeded" }),
        message: (!allow).then(|| "enough".into()),
        via: vec!["truenas".into(), "vm_stop".into()],
        policy_digest: text("sha256:5feceb66"),
        resolver_digest: text("sha256:6b86b273"),
        engine: text("1"),
        tool_definition_digest: text("sha256:d4735e3a"),
        shadow: vec![Shadow {
            verdict: Verdict::Deny,
            rule: "(default deny)".into(),
            policy_digest: "sha256:4e074085".into(),
        }],
        approval: (number % 7 == 0).then(|| Approval {
            asked_at: NOON,
            answered_at: Some(NOON + number),
            answer_seq: None,
            by: text("root"),
            answer: text("yes"),
        }),
        limit_counts: vec![LimitCount {
            counter: "truenas/grant/ops/vm_stop/vm_stop_rate/60".into(),
            value: number % 30,
        }],
        decide_ns: Some(400),
        ..call(number)
    }
}

fn answered(number: i64) -> Finish<String> {
    Finish {
        result_bytes: Some(number % 900),
        result_digest: Some([number as u8; 16]),
        result: Some(format!("{{\"state\":\"STOPPED\",\"id\":{number}}}")),
        commit_us: Some(140),
        upstream_us: Some(900 + number),
        ..finish(Outcome::Ok)
    }
}

fn only(folder: &Path) -> PathBuf {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

fn metadata(path: &Path) -> ParquetMetaData {
    let reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Required);
    reader.parse_and_finish(&File::open(path).unwrap()).unwrap()
}

/// What the file says of itself, but for the schema that arrow adds.
fn pairs(metadata: &ParquetMetaData) -> Vec<(&str, &str)> {
    let pairs = metadata.file_metadata().key_value_metadata().unwrap();
    let pairs = pairs.iter().filter(|pair| pair.key != "ARROW:schema");
    pairs
        .map(|pair| (pair.key.as_str(), pair.value.as_deref().unwrap()))
        .collect()
}

/// The columns that a file is sorted by: place, whether descending, whether those without a value come first.
fn sorting(metadata: &ParquetMetaData) -> Vec<(i32, bool, bool)> {
    let sorting = metadata.row_group(0).sorting_columns().unwrap();
    sorting
        .iter()
        .map(|it| (it.column_idx, it.descending, it.nulls_first))
        .collect()
}

/// The layout of a file with one row group as a table; what holds for every column is asserted here.
fn layout(metadata: &ParquetMetaData) -> String {
    assert_eq!(metadata.num_row_groups(), 1);
    let group = metadata.row_group(0);
    let mut table = String::from("\n");
    for (i, column) in group.columns().iter().enumerate() {
        let name = column.column_path().string();
        assert!(
            matches!(column.compression(), Compression::ZSTD(_)),
            "{name}"
        );
        let pages = metadata.offset_index().unwrap()[0][i].page_locations();
        assert!(!pages.is_empty(), "{name} has no page index");
        writeln!(table, "{name}: {}", described(column)).unwrap();
    }
    table
}

fn described(column: &ColumnChunkMetaData) -> String {
    let of = column.column_descr();
    let levels = (of.max_def_level(), of.max_rep_level());
    // Levels are always RLE, and the dictionary page itself is PLAIN.
    let dictionary = column.dictionary_page_offset().is_some();
    let beside = |e: &Encoding| *e == Encoding::RLE || (dictionary && *e == Encoding::PLAIN);
    let encodings: BTreeSet<String> = column
        .encodings()
        .filter(|e| !beside(e))
        .map(|e| e.to_string())
        .collect();
    let mut words = vec![
        column.column_type().to_string(),
        format!("{}/{}", levels.0, levels.1),
    ];
    words.extend(encodings);
    let extra = [
        (dictionary, "dictionary"),
        (column.bloom_filter_offset().is_some(), "bloom"),
        (column.column_index_offset().is_some(), "statistics"),
    ];
    words.extend(
        extra
            .iter()
            .filter(|(is, _)| *is)
            .map(|(_, word)| (*word).to_owned()),
    );
    words.join(" ")
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
