//! What is shipped, in which order, and what it is worth.

use std::collections::BTreeMap;

use weir_object_storage::{FetchedAnchor, ObjectStorageError, Replica, public_key};
use weir_recorder::{State, VerifyOptions, verify};

use crate::rig::{Rig, open};

#[test]
fn what_is_sealed_is_shipped_and_verified_from_there() {
    let mut rig = Rig::new();
    assert_eq!(rig.ship().unwrap().list, 0, "nothing is sealed yet");
    rig.calls(3);
    let round = rig.ship().unwrap();
    assert_eq!((round.list, round.entries), (1, 6));
    rig.assert_valid(3);
    rig.calls(2);
    assert_eq!(rig.ship().unwrap().list, 2);
    rig.assert_valid(5);

    let objects = rig.server.objects();
    let has = |start: &str| {
        objects
            .iter()
            .filter(|path| path.starts_with(start))
            .count()
    };
    assert_eq!(
        (
            has("calls/date=2026-11-22/nas-1-"),
            has("checkpoints/"),
            has("policies/")
        ),
        (2, 2, 1),
        "{objects:?}"
    );
    assert_eq!(
        (
            has("journal"),
            has("lock"),
            has("digest.key"),
            has("record.key")
        ),
        (0, 0, 0, 0),
        "{objects:?}"
    );
}

#[test]
fn a_round_without_news_writes_nothing() {
    let mut rig = Rig::new();
    rig.calls(3);
    let mut replica = Replica::new(rig.bucket());
    rig.round(&mut replica).unwrap();
    rig.server.seen();
    rig.round(&mut replica).unwrap();
    assert_eq!(rig.server.seen().len(), 0);
    // Nor does one of a process that begins.
    rig.ship().unwrap();
    assert_eq!(
        rig.server
            .seen()
            .iter()
            .filter(|seen| seen.writes())
            .count(),
        0
    );
}

/// Open calls are covered by checkpoints and are in no sealed file: a copy of sealed files alone would be called incomplete.
#[test]
fn a_copy_with_calls_that_go_on_is_valid() {
    let mut rig = Rig::new();
    let canary = "{\"secret\":\"canary-of-an-open-call\"}";
    let open = rig.open_call(canary);
    rig.calls(3);
    rig.ship().unwrap();
    rig.assert_valid(3);
    assert_eq!(rig.verify().unwrap().unsealed, 1);
    for object in rig.server.objects() {
        let bytes = std::fs::read(rig.server.object(&object)).unwrap();
        let has = bytes.windows(12).any(|window| window == b"canary-of-an");
        assert!(!has, "`{object}` has what is not sealed");
    }
    rig.end_call(open);
    rig.calls(0);
    rig.ship().unwrap();
    rig.assert_valid(4);
    assert_eq!(rig.verify().unwrap().unsealed, 0);
}

/// As if the process were killed after every single write: what is in the bucket is a valid copy, and the next process goes on.
#[test]
fn every_part_of_a_shipment_leaves_a_valid_copy() {
    let mut rig = Rig::new();
    let _open = rig.open_call("{}");
    rig.calls(2);
    rig.ship().unwrap();
    rig.calls(2);
    rig.recorder
        .keep_resolver(
            "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
            b"{}",
        )
        .unwrap();
    rig.calls(3);
    let mut stops = 0;
    loop {
        let result = rig.ship_one_object();
        if result.is_ok() {
            break;
        }
        stops += 1;
        assert!(stops < 100, "{result:?}");
        rig.assert_valid(2);
    }
    assert_eq!(stops, 6, "seven objects are new");
    rig.server.heal();
    rig.assert_valid(7);
    let mut written: BTreeMap<String, usize> = BTreeMap::new();
    for seen in rig
        .server
        .seen()
        .iter()
        .filter(|seen| seen.writes() && seen.status == Some(200))
    {
        *written.entry(seen.path().to_owned()).or_default() += 1;
    }
    assert!(written.values().all(|count| *count == 1), "{written:?}");
}

#[test]
fn lists_that_say_what_changed_are_followed_by_a_whole_one() {
    let mut rig = Rig::new();
    let mut replica = Replica::new(rig.bucket());
    for _ in 0..70 {
        rig.calls(1);
        rig.round(&mut replica).unwrap();
    }
    let mut whole = Vec::new();
    for path in rig
        .server
        .objects()
        .into_iter()
        .filter(|path| path.ends_with(".json") && path.starts_with("shipments/"))
    {
        let text = std::fs::read_to_string(rig.server.object(&path)).unwrap();
        whole.push(text.contains("\"whole\":true"));
    }
    let at: Vec<_> = whole
        .iter()
        .enumerate()
        .filter(|(_, whole)| **whole)
        .map(|(i, _)| i + 1)
        .collect();
    assert_eq!(at, [1, 66]);
    rig.assert_valid(70);
    assert_eq!(rig.verify().unwrap().list, 70);
}

#[test]
fn a_copy_is_believed_by_whoever_believes_the_key_it_began_with() {
    let mut rig = Rig::new();
    rig.calls(1);
    rig.ship().unwrap();
    let first = rig.recorder.public_key();
    rig.recorder.rotate_key().unwrap();
    rig.calls(1);
    rig.recorder.rotate_key().unwrap();
    rig.calls(1);
    rig.ship().unwrap();
    assert_eq!(
        public_key(&rig.bucket(), &rig.runtime).unwrap(),
        Some(first.clone())
    );
    let verified = rig.verify_with(vec![first]).unwrap().verification;
    assert_eq!(verified.findings, [], "{verified}");
    assert_eq!(verified.logs[0].calls, 3);
    // Who has the newest key only is told of the copy what he is told of the record.
    let copy = rig.verify().unwrap().verification;
    let keys = vec![rig.recorder.public_key()];
    let options = VerifyOptions {
        keys,
        ..VerifyOptions::default()
    };
    let here = verify(rig.record(), &options).unwrap();
    assert_eq!(copy.state, here.state, "{copy} {here}");
}

#[test]
fn a_key_that_nobody_believes_proves_nothing() {
    let mut rig = Rig::new();
    rig.calls(1);
    rig.ship().unwrap();
    let other = open(rig.folder.path().join("other")).0.public_key();
    let verified = rig.verify_with(vec![other]).unwrap().verification;
    assert_eq!(verified.state, State::Altered, "{verified}");
}

#[test]
fn the_bucket_is_an_anchor_of_the_record_on_disk() {
    let mut rig = Rig::new();
    rig.calls(2);
    rig.recorder.close().unwrap();
    rig.ship().unwrap();
    let anchor = FetchedAnchor::fetch(&rig.bucket(), &rig.runtime).unwrap();
    assert!(anchor.count() > 0);
    let options = VerifyOptions {
        keys: vec![rig.recorder.public_key()],
        anchor: Some(anchor.path().to_owned()),
        ..VerifyOptions::default()
    };
    let verified = verify(rig.record(), &options).unwrap();
    assert_eq!(verified.state, State::Valid, "{verified}");
    // And a folder is one of the copy.
    let options = VerifyOptions {
        keys: vec![rig.recorder.public_key()],
        ..options
    };
    let verified = weir_object_storage::verify(&rig.bucket(), &rig.runtime, options).unwrap();
    assert_eq!(
        verified.verification.state,
        State::Valid,
        "{}",
        verified.verification
    );
}

#[test]
fn a_record_that_was_brought_back_from_an_older_copy_is_not_shipped() {
    let mut rig = Rig::new();
    rig.calls(2);
    rig.recorder.close().unwrap();
    let older = rig.folder.path().join("older");
    copy(&rig.record(), &older);
    std::fs::copy(
        rig.folder.path().join("record.key"),
        rig.folder.path().join("older.key"),
    )
    .unwrap();
    std::fs::copy(
        rig.folder.path().join("record.pub"),
        rig.folder.path().join("older.pub"),
    )
    .unwrap();
    (rig.recorder, rig.log) = open(rig.record());
    rig.calls(2);
    rig.ship().unwrap();
    rig.recorder.close().unwrap();
    (rig.recorder, rig.log) = open(older);
    let refused = rig.ship().unwrap_err();
    assert!(
        matches!(
            refused,
            ObjectStorageError::Ahead {
                there: 8,
                here: 4,
                ..
            }
        ),
        "{refused}"
    );
    // And once it has as many entries, they are others.
    rig.calls(5);
    let refused = rig.ship().unwrap_err();
    assert!(
        matches!(refused, ObjectStorageError::Forked { .. }),
        "{refused}"
    );
    rig.assert_valid(4);
}

#[test]
fn a_prefix_holds_one_record() {
    let mut rig = Rig::new();
    rig.calls(1);
    rig.ship().unwrap();
    (rig.recorder, rig.log) = open(rig.folder.path().join("other"));
    rig.calls(1);
    let refused = rig.ship().unwrap_err();
    assert!(
        matches!(refused, ObjectStorageError::OtherRecord { .. }),
        "{refused}"
    );
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}
