//! A copy that somebody who can write to the bucket has altered.

use std::fs;

use weir_recorder::{State, Verification};

use crate::rig::Rig;

/// A copy with two seals, a call that goes on, and everything else that there is.
fn shipped() -> Rig {
    let mut rig = Rig::new();
    rig.open_call("{}");
    rig.calls(2);
    rig.ship().unwrap();
    rig.calls(2);
    rig.ship().unwrap();
    rig.assert_valid(4);
    rig
}

fn verdict(rig: &Rig) -> Verification {
    rig.verify().unwrap().verification
}

#[test]
fn every_object_that_is_gone_is_missed() {
    let rig = shipped();
    // Whose statement is gone was perhaps never finished: see the last test here.
    let known = |object: &String| {
        object == "record.pub" || object.starts_with("shipments/nas-1-000000000002")
    };
    for object in rig
        .server
        .objects()
        .into_iter()
        .filter(|object| !known(object))
    {
        let path = rig.server.object(&object);
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let verified = verdict(&rig);
        let missed = verified
            .findings
            .iter()
            .any(|found| found.state == State::Missing);
        assert!(missed, "{object}: {verified}");
        // Without its checkpoint nothing vouches for a sealed file, which is worse.
        if !object.starts_with("checkpoints/") {
            assert_eq!(verified.state, State::Missing, "{object}: {verified}");
        }
        fs::write(&path, bytes).unwrap();
    }
    rig.assert_valid(4);
}

#[test]
fn every_object_that_is_cut_or_changed_is_noticed() {
    let rig = shipped();
    for object in rig
        .server
        .objects()
        .into_iter()
        .filter(|object| object != "record.pub")
    {
        let path = rig.server.object(&object);
        let bytes = fs::read(&path).unwrap();
        let mut flipped = bytes.clone();
        flipped[bytes.len() / 2] ^= 1;
        for altered in [&flipped[..], &bytes[..bytes.len() - 1], &[]] {
            fs::write(&path, altered).unwrap();
            let verified = verdict(&rig);
            assert_eq!(verified.state, State::Altered, "{object}: {verified}");
        }
        fs::write(&path, bytes).unwrap();
    }
    rig.assert_valid(4);
}

/// Leaves stand for rows only where the record's own key says so: else rows could be taken away and their hashes left.
#[test]
fn nobody_but_the_record_can_put_leaves_in_the_place_of_rows() {
    let rig = shipped();
    let lists = rig
        .server
        .objects()
        .into_iter()
        .filter(|path| path.starts_with("shipments/") && path.ends_with(".json"));
    for list in lists {
        let path = rig.server.object(&list);
        let text = fs::read_to_string(&path).unwrap();
        let forged = text.replacen(
            "\"unsealed\":{\"nas-1\":{",
            "\"unsealed\":{\"nas-1\":{\"1\":\"00\",",
            1,
        );
        assert_ne!(text, forged);
        fs::write(&path, forged).unwrap();
        let verified = verdict(&rig);
        assert_eq!(verified.state, State::Altered, "{verified}");
        fs::write(&path, text).unwrap();
    }
}

#[test]
fn an_older_list_does_not_pass_for_the_newest() {
    let rig = shipped();
    let notes: Vec<_> = rig
        .server
        .objects()
        .into_iter()
        .filter(|path| path.starts_with("shipments/") && path.ends_with(".note"))
        .collect();
    let [first, second] = &notes[..] else {
        panic!("{notes:?}")
    };
    fs::copy(rig.server.object(first), rig.server.object(second)).unwrap();
    let verified = verdict(&rig);
    assert_eq!(verified.state, State::Altered, "{verified}");
}

/// As on disk: without an anchor nobody can notice that the end is gone, if all of it is.
#[test]
fn a_copy_whose_end_was_cut_off_is_noticed_with_an_anchor() {
    let rig = shipped();
    let anchor = weir_object_storage::FetchedAnchor::fetch(&rig.bucket(), &rig.runtime).unwrap();
    for object in rig.server.objects() {
        if object.starts_with("shipments/nas-1-000000000002") {
            fs::remove_file(rig.server.object(&object)).unwrap();
        }
    }
    let verified = rig.verify().unwrap();
    assert_eq!(
        verified.verification.state,
        State::NotAnchored,
        "{}",
        verified.verification
    );
    assert_eq!(
        (verified.list, verified.beyond),
        (1, Some(9)),
        "checkpoints are there still"
    );
    rig.assert_anchored(anchor.path(), State::Truncated);
}
