//! Calls that wait for a person: what the record says of them before, with and after the answer.

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;
use weir_recorder::{Log, Outcome, RecordReader, State, Unrecorded, Verdict};

use crate::evidence::Place;
use crate::memory::{Faults, Memory};
use crate::support::*;

const RULE: &str = "/tools/vm_stop/approve_if/always";

/// `verdict reason message outcome finish_seq answer_seq by answer given_back` of each row.
fn told(reader: &RecordReader) -> Vec<String> {
    let batch = all_columns(reader);
    let text = |column: &str| texts_of(&batch, column);
    let words = ["verdict", "reason", "message", "outcome"].map(text);
    let approval = batch.column_by_name("approval").unwrap().as_struct();
    let number = |column: &dyn Array, i: usize| {
        let column = column.as_primitive::<Int64Type>();
        column.is_valid(i).then(|| column.value(i))
    };
    let word = |name: &str, i: usize| {
        let column = approval.column_by_name(name).unwrap();
        let column = arrow::compute::cast(column, &arrow::datatypes::DataType::Utf8).unwrap();
        let column = column.as_string::<i32>();
        column.is_valid(i).then(|| column.value(i).to_owned())
    };
    let given_back = batch.column_by_name("given_back").unwrap().as_boolean();
    let row = |i: usize| {
        let [verdict, reason, message, outcome] =
            words.each_ref().map(|w| w[i].clone().unwrap_or("-".into()));
        let finish = number(batch.column_by_name("finish_seq").unwrap(), i);
        let answer = number(approval.column_by_name("answer_seq").unwrap(), i);
        let (by, said) = (word("by", i), word("answer", i));
        let back = given_back.is_valid(i).then(|| given_back.value(i));
        let places = [finish, answer].map(|n| n.map_or("-".into(), |n| n.to_string()));
        let said = [by, said].map(|w| w.unwrap_or("-".into()));
        let back = back.map_or("-".into(), |back| back.to_string());
        [
            vec![verdict, reason, message, outcome],
            places.to_vec(),
            said.to_vec(),
            vec![back],
        ]
        .concat()
        .join(" | ")
    };
    (0..batch.num_rows()).map(row).collect()
}

fn id(number: i64) -> [u8; 16] {
    call(number).call_id
}

/// Held at 0 to 3: approved and ended, approved and open, denied, never answered.
fn story(log: &mut Log) {
    for number in 0..4 {
        let commit = decide(log, NOON, &held(number));
        assert_eq!(commit.seq(), number + 1, "the record began with an event");
        assert!(commit.wait_blocking().unwrap().is_none(), "no permit yet");
    }
    let mut say = |number: i64, approves| {
        log.answer(NOON + 1, (number + 1, id(number)), &answer(approves))
            .wait_blocking()
            .unwrap()
    };
    let permit = say(0, true).expect("approved");
    assert_eq!((permit.seq(), permit.call_id()), (1, id(0)));
    assert_eq!(say(1, true).expect("approved").seq(), 2);
    assert!(say(2, false).is_none());
    log.finish(NOON + 2, 1, &finish(Outcome::Ok))
        .wait_blocking()
        .unwrap();
}

const OPEN: [&str; 4] = [
    "allow | approved | - | ok | 8 | 5 | anna | approved: ticket 4711 | false",
    "allow | approved | - | - | - | 6 | anna | approved: ticket 4711 | -",
    "deny | approval_denied | A person said no. | refused | 7 | 7 | anna | denied | true",
    "deny | approval_pending | - | - | - | - | - | - | -",
];

const CLOSED: [&str; 4] = [
    OPEN[0],
    "allow | approved | - | unknown | - | 6 | anna | approved: ticket 4711 | -",
    OPEN[2],
    "deny | approval_pending | - | refused | - | - | - | - | -",
];

#[test]
fn a_held_call_is_denied_until_it_is_answered_and_its_row_says_what_came_of_it() {
    let place = Place::new();
    let (recorder, mut log) = place.open();
    record(&mut log, NOON, &denied(100)).unwrap();
    story(&mut log);
    let reader = RecordReader::open(place.record()).unwrap();
    let rows = || told(&reader).split_off(1);
    assert_eq!(rows(), OPEN);
    assert_eq!(place.verify(false).findings, []);
    each(&reader, |row| {
        if row.seq > 0 {
            assert_eq!((row.rule, row.asked), (Some(RULE), true));
        }
    });

    // What may still end or be answered stays in the journal, with its answer.
    recorder.seal_now().unwrap();
    assert_eq!(rows(), OPEN);
    recorder.seal_now().unwrap();
    assert_eq!(rows(), OPEN);
    assert_eq!(place.verify(false).findings, []);

    recorder.close().unwrap();
    assert_eq!(rows(), CLOSED);
    assert_eq!(place.verify(true).state, State::Valid);
    for (number, leaves) in [(0, 3), (1, 2), (2, 2), (3, 1)] {
        assert_eq!(place.prove(number).unwrap().entries.len(), leaves);
    }
}

#[test]
fn an_answer_comes_once_and_only_to_a_held_call() {
    let place = Place::new();
    let (recorder, mut log) = place.open();
    let allowed = record(&mut log, NOON, &call(1)).unwrap().unwrap().seq();
    let commit = decide(&mut log, NOON, &held(2));
    let asked = commit.seq();
    commit.wait_blocking().unwrap();
    let mut say = |seq, approves| {
        let said = log.answer(NOON, (seq, id(2)), &answer(approves));
        said.wait_blocking().map(|permit| permit.is_some())
    };
    assert_eq!(say(allowed, true), Err(Unrecorded::NotOpen));
    assert_eq!(say(99, true), Err(Unrecorded::NotOpen));
    assert_eq!(say(asked, false), Ok(false));
    assert_eq!(say(asked, true), Err(Unrecorded::NotOpen));
    // And one that may not pass has no end of its own.
    let ended = log.finish(NOON, asked, &finish(Outcome::Ok));
    assert_eq!(ended.refused(), Some(&Unrecorded::NotOpen));
    recorder.close().unwrap();
    assert_eq!(place.verify(true).state, State::Valid);
}

#[test]
fn after_a_crash_what_was_held_stays_denied_and_what_was_approved_is_unknown() {
    let place = Place::new();
    let (recorder, mut log) = place.open();
    record(&mut log, NOON, &denied(100)).unwrap();
    story(&mut log);
    let killed = Place::new();
    crate::evidence::copy_killed(place.folder.path(), killed.folder.path());
    drop((recorder, log));
    let (recorder, mut log) = killed.open();
    let said = log.answer(NOON + 9, (4, id(3)), &answer(true));
    assert_eq!(said.refused(), Some(&Unrecorded::NotOpen), "it is over");
    recorder.close().unwrap();
    let reader = RecordReader::open(killed.record()).unwrap();
    assert_eq!(told(&reader).split_off(1), CLOSED);
    assert_eq!(killed.verify(true).state, State::Valid);
}

#[test]
fn an_approval_that_the_disk_does_not_confirm_gives_no_permit_and_is_written_later() {
    let storage = Memory::new();
    let (recorder, mut log, _) = open_on(&storage).unwrap();
    record(&mut log, NOON, &denied(100)).unwrap();
    let commit = decide(&mut log, NOON, &held(0));
    let asked = commit.seq();
    commit.wait_blocking().unwrap();
    storage.set(Faults {
        sync: true,
        ..Faults::default()
    });
    let said = log.answer(NOON, (asked, id(0)), &answer(true));
    assert!(matches!(said.wait_blocking(), Err(Unrecorded::Storage(_))));
    // So whoever asked gives the call up, and says so.
    let over = weir_recorder::Finish::<String> {
        outcome: Outcome::Cancelled,
        given_back: true,
        ..weir_recorder::Finish::default()
    };
    drop(log.finish(NOON, asked, &over));
    storage.set(Faults::default());
    assert_eq!(healed(&mut log), [] as [i64; 0], "no decision became void");
    recorder.close().unwrap();
    let reader = reader(&storage);
    // Where the outcome stands depends on when the fault was told of.
    let row = told(&reader).remove(1);
    assert!(
        row.starts_with("allow | approved | - | cancelled | ")
            && row.ends_with(" | 2 | anna | approved: ticket 4711 | true"),
        "{row}"
    );
    each(&reader, |row| {
        assert_eq!(row.verdict == Verdict::Allow, row.seq == asked);
    });
}
