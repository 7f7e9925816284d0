//! The projection of calls that change something: it is what `calls` says, sorted; it can be thrown away; and nobody who reads at that
//! moment, or after it was cut short, sees anything else.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use weir_recorder::{
    CHANGES_COLUMNS, CHANGES_RISKS, Disk, Log, Outcome, RecordOptions, RecordReader, Recorder,
    Retain, State,
};

use crate::compaction::DAY;
use crate::evidence::{Place, names};
use crate::memory::{Loss, Memory, Shared};
use crate::support::*;

/// A row of the projection, as text.
type Row = Vec<Option<String>>;

fn rows_of(batch: &RecordBatch) -> Vec<Row> {
    let columns: Vec<_> = CHANGES_COLUMNS
        .iter()
        .map(|it| texts_of(batch, it))
        .collect();
    (0..batch.num_rows())
        .map(|i| columns.iter().map(|column| column[i].clone()).collect())
        .collect()
}

/// What it should hold, from `calls`, by place.
fn expected(reader: &RecordReader) -> Vec<Row> {
    let batches = reader.calls(&CHANGES_COLUMNS).unwrap().map(Result::unwrap);
    let rows = batches.flat_map(|batch| rows_of(&batch));
    rows.filter(|row| CHANGES_RISKS.contains(&row[7].as_deref().unwrap()))
        .collect()
}

/// What a reader finds, by place, and how many of these come from the projection.
fn found(storage: &Arc<Memory>) -> (Vec<Row>, usize) {
    let reader = reader(storage);
    let changes = reader.changes().unwrap();
    let mut rows = rows_of(&changes.live);
    for segment in &changes.others {
        for batch in reader.segment(segment, &CHANGES_COLUMNS).unwrap() {
            let of_calls = rows_of(&batch.unwrap()).into_iter();
            rows.extend(of_calls.filter(|row| CHANGES_RISKS.contains(&row[7].as_deref().unwrap())));
        }
    }
    let before = rows.len();
    for path in &changes.projected {
        let bytes = storage.bytes_of(path);
        let opened = parquet::arrow::arrow_reader::ParquetRecordBatchReader::try_new(bytes, 1024);
        rows.extend(opened.unwrap().flat_map(|batch| rows_of(&batch.unwrap())));
    }
    let projected = rows.len() - before;
    rows.sort_by_key(|row| row[2].clone().unwrap().parse::<i64>().unwrap());
    (rows, projected)
}

/// Calls of every class, of three days, and some that are not sealed.
fn three_days(recorder: &Recorder, log: &mut Log) {
    let classes = ["read", "write", "execute", "destructive", "financial"];
    for day in 0..3 {
        for number in 0..25_i64 {
            let call = weir_recorder::Call {
                risk: Some(classes[number as usize % 5].to_owned()),
                tool: Some(format!("tool_{}", number * 7 % 4)),
                ..call(day * 100 + number)
            };
            let permit = record(log, NOON + day * DAY, &call).unwrap().unwrap();
            if number % 6 != 5 {
                drop(log.finish(NOON + day * DAY, permit.seq(), &finish(Outcome::Ok)));
            }
            if number % 10 == 9 {
                recorder.seal_now().unwrap();
            }
        }
        recorder.seal_now().unwrap();
    }
    let call = weir_recorder::Call {
        risk: Some("write".to_owned()),
        ..call(999)
    };
    record(log, NOON + 2 * DAY, &call).unwrap();
}

fn open_retaining(storage: &Arc<Memory>) -> (Recorder, Log) {
    let options = RecordOptions {
        retain: Retain {
            age: Some(Duration::from_hours(24)),
            ..Retain::default()
        },
        ..options("/record")
    };
    let storage = Arc::new(Shared(Arc::clone(storage)));
    let (recorder, log, _) = Recorder::open(options, storage).unwrap();
    (recorder, log)
}

#[test]
fn the_projection_is_what_calls_says_before_and_after_it_is_made_and_once_it_is_stale() {
    let storage = Memory::new();
    let (recorder, mut log, _) = open_on(&storage).unwrap();
    three_days(&recorder, &mut log);
    let all = expected(&recorder.reader());
    assert_eq!(all.len(), 61);
    assert_eq!(found(&storage), (all.clone(), 0));
    assert_eq!(recorder.compact(|_| ()).unwrap().projected, 3);
    let (rows, projected) = found(&storage);
    assert_eq!(rows, all);
    assert!(projected > 40, "{projected}");
    assert_eq!(recorder.compact(|_| ()).unwrap().projected, 0);
    // A call of today is sealed: today's projection stands for what was there before.
    let late = weir_recorder::Call {
        risk: Some("execute".to_owned()),
        ..call(1000)
    };
    record(&mut log, NOON + 2 * DAY, &late).unwrap();
    recorder.close().unwrap();
    let (rows, fewer) = found(&storage);
    assert_eq!(rows, expected(&reader(&storage)));
    assert!(rows.len() > all.len() && fewer < projected);
    let (recorder, _log, _) = open_on(&storage).unwrap();
    recorder.compact(|_| ()).unwrap();
    let (again, projected) = found(&storage);
    assert_eq!((again, projected), (rows.clone(), rows.len()));
}

#[test]
fn a_projection_that_was_thrown_away_is_made_again_byte_by_byte() {
    let place = Place::new();
    let (recorder, mut log) = place.open();
    three_days(&recorder, &mut log);
    recorder.close().unwrap();
    let (recorder, _log) = place.open();
    recorder.compact(|_| ()).unwrap();
    let folder = place.record().join("changes");
    let read = |folder: &Path| -> BTreeMap<String, Vec<u8>> {
        let days = names(folder).into_iter().flat_map(|day| {
            let of_day = names(&folder.join(&day)).into_iter();
            of_day.map(move |name| format!("{day}/{name}"))
        });
        days.map(|path| (path.clone(), fs::read(folder.join(path)).unwrap()))
            .collect()
    };
    let before = read(&folder);
    assert_eq!(before.len(), 3);
    assert_eq!(place.verify(true).findings, []);
    fs::remove_dir_all(&folder).unwrap();
    assert_eq!(place.verify(true).findings, [], "it is no evidence");
    assert_eq!(recorder.compact(|_| ()).unwrap().projected, 3);
    assert!(read(&folder) == before);
    recorder.close().unwrap();
    assert_eq!(place.verify(true).state, State::Valid);
    // Each file is sorted by tool and grant.
    let (_, bytes) = before.into_iter().next().unwrap();
    let opened = parquet::arrow::arrow_reader::ParquetRecordBatchReader::try_new(
        bytes::Bytes::from(bytes),
        1024,
    );
    let rows: Vec<Row> = opened
        .unwrap()
        .flat_map(|batch| rows_of(&batch.unwrap()))
        .collect();
    let key = |row: &Row| {
        (
            row[0].clone(),
            row[1].clone(),
            row[2].clone().unwrap().parse::<i64>().unwrap(),
        )
    };
    assert!(rows.is_sorted_by_key(key) && rows.len() > 10);
}

#[test]
fn days_that_are_over_are_projected_in_the_background_and_go_with_retention() {
    let place = Place::new();
    let options = RecordOptions {
        tidy_pause: Duration::from_millis(2),
        retain: Retain {
            age: Some(Duration::from_hours(48)),
            ..Retain::default()
        },
        ..place.options()
    };
    let (recorder, mut log, _) = Recorder::open(options, Arc::new(Disk)).unwrap();
    three_days(&recorder, &mut log);
    let begun = std::time::Instant::now();
    let days = || {
        let folder = place.record().join("changes");
        if folder.exists() {
            names(&folder)
        } else {
            Vec::new()
        }
    };
    while days() != ["date=2026-11-22", "date=2026-11-23"] {
        assert!(begun.elapsed().as_secs() < 20, "{:?}", days());
        std::thread::yield_now();
    }
    whole(&mut log, NOON + 4 * DAY, 3);
    recorder.seal_now().unwrap();
    while days().contains(&"date=2026-11-22".to_owned())
        || recorder.reader().complete_from().unwrap().is_none()
    {
        assert!(begun.elapsed().as_secs() < 20, "{:?}", days());
        std::thread::yield_now();
    }
    recorder.close().unwrap();
    assert_eq!(place.verify(true).state, State::Valid);
}

#[test]
fn a_projection_or_its_removal_cut_short_at_any_change_shows_nothing_else() {
    let storage = Memory::new();
    let (recorder, mut log) = open_retaining(&storage);
    three_days(&recorder, &mut log);
    // One is there already and gets stale, so that it is exchanged.
    recorder.compact(|_| ()).unwrap();
    let key = recorder.public_key();
    recorder.close().unwrap();
    drop(log);
    let mut changes = 0;
    loop {
        let cut = storage.after(Loss::Process);
        let (recorder, log) = open_retaining(&cut);
        cut.cut_power_after(changes);
        let whole = recorder.compact(|_| ()).is_ok() && recorder.retain().is_ok();
        cut.cut_power();
        drop((recorder, log));
        for loss in [Loss::Process, Loss::Unsynced, Loss::Half] {
            let what = format!("cut after {changes} changes, {loss:?}");
            let after = cut.after(loss);
            assert_eq!(found(&after).0, expected(&reader(&after)), "{what}");
            let (recorder, _log) = open_retaining(&after);
            assert_eq!(found(&after).0, expected(&reader(&after)), "{what}");
            recorder.compact(|_| ()).unwrap();
            recorder.retain().unwrap();
            let (rows, projected) = found(&after);
            assert_eq!(rows, expected(&reader(&after)), "{what}");
            assert_eq!(projected, rows.len(), "{what}");
            let gone = after
                .paths()
                .iter()
                .any(|path| path.to_string_lossy().contains("changes/date=2026-11-22"));
            assert!(!gone, "{what}");
            assert_clean(&after, &key);
        }
        if whole {
            break;
        }
        changes += 1;
    }
    assert!(changes > 30, "{changes}");
}
