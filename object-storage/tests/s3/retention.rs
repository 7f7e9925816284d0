//! A record whose old days are removed, and what its copy is worth then.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use weir_object_storage::{Shipper, runtime, verify_as_of};
use weir_recorder::{State, VerifyOptions};

use crate::rig::Rig;

fn days_of(objects: &[String]) -> Vec<&str> {
    let mut days: Vec<_> = objects
        .iter()
        .filter_map(|path| path.strip_prefix("calls/")?.split('/').next())
        .collect();
    days.dedup();
    days
}

#[test]
fn a_copy_follows_retention_and_keeps_the_objects_of_what_was_removed() {
    let mut rig = Rig::with_retention();
    rig.days(5);
    rig.ship().unwrap();
    rig.assert_valid(10);
    let before = rig.server.objects();
    assert_eq!(rig.recorder.retain().unwrap().len(), 2);
    // What was shipped before is a copy of what was there before.
    rig.assert_valid(10);
    assert_eq!(rig.ship().unwrap().list, 2);
    rig.assert_valid(6);
    let verified = rig.verify().unwrap();
    let removed = &verified.verification.logs[0].removed;
    let told: Vec<_> = removed
        .iter()
        .map(|it| (&*it.day, it.calls, it.results))
        .collect();
    assert_eq!(told, [("2026-11-22", 2, 1), ("2026-11-23", 2, 1)]);

    // Nobody deletes an object: those of the removed days are there, and the list before still proves them.
    let after = rig.server.objects();
    assert!(before.iter().all(|path| after.contains(path)));
    assert_eq!(days_of(&after)[..2], ["date=2026-11-22", "date=2026-11-23"]);
    let options = VerifyOptions {
        keys: vec![rig.recorder.public_key()],
        ..VerifyOptions::default()
    };
    let older = verify_as_of(&rig.bucket(), &rig.runtime, options, 1).unwrap();
    assert_eq!(older.verification.findings, [], "{}", older.verification);
    assert_eq!((older.list, older.verification.logs[0].calls), (1, 10));
    assert!(older.verification.logs[0].removed.is_empty());

    // It goes on, for a process that knows nothing of it too.
    rig.days(1);
    rig.recorder.compact(|_| ()).unwrap();
    rig.ship().unwrap();
    rig.assert_valid(8);
}

#[test]
fn what_was_taken_from_an_older_list_is_missing_there_and_nowhere_else() {
    let mut rig = Rig::with_retention();
    rig.days(5);
    rig.ship().unwrap();
    rig.recorder.retain().unwrap();
    rig.ship().unwrap();
    let objects = rig.server.objects();
    let old = objects
        .iter()
        .find(|path| path.starts_with("calls/date=2026-11-22/"));
    // As a lifecycle rule of the bucket would.
    std::fs::remove_file(rig.server.object(old.unwrap())).unwrap();
    rig.assert_valid(6);
    let options = VerifyOptions {
        keys: vec![rig.recorder.public_key()],
        ..VerifyOptions::default()
    };
    let older = verify_as_of(&rig.bucket(), &rig.runtime, options, 1).unwrap();
    assert_eq!(
        older.verification.state,
        State::Missing,
        "{}",
        older.verification
    );
    let options = VerifyOptions::default();
    assert!(verify_as_of(&rig.bucket(), &rig.runtime, options, 7).is_err());
}

#[test]
fn days_that_went_before_they_were_shipped_are_told_of() {
    let mut rig = Rig::with_retention();
    rig.days(1);
    rig.ship().unwrap();
    rig.days(5);
    assert_eq!(rig.recorder.retain().unwrap().len(), 3);
    rig.ship().unwrap();
    rig.assert_valid(6);
    assert_eq!(rig.verify().unwrap().verification.logs[0].removed.len(), 3);
}

/// As if the process were killed after every single write of the round that follows a removal.
#[test]
fn every_part_of_a_shipment_after_a_removal_leaves_a_valid_copy() {
    let mut rig = Rig::with_retention();
    rig.days(5);
    rig.ship().unwrap();
    rig.recorder.retain().unwrap();
    rig.days(1);
    let mut stops = 0;
    loop {
        let result = rig.ship_one_object();
        if result.is_ok() {
            break;
        }
        stops += 1;
        assert!(stops < 100, "{result:?}");
        rig.assert_valid(10);
    }
    assert!(stops >= 4, "{stops} writes");
    rig.server.heal();
    rig.assert_valid(8);
}

#[test]
fn every_copy_is_valid_while_days_are_removed_and_shipped() {
    let mut rig = Rig::with_retention();
    rig.days(1);
    rig.ship().unwrap();
    let shipper =
        Shipper::start(rig.bucket(), rig.recorder.clone(), Duration::from_millis(1)).unwrap();
    let watch = shipper.watch();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (place, key) = (rig.server.place(), rig.recorder.public_key());
        let done = &done;
        let reader = scope.spawn(move || {
            let bucket = weir_object_storage::Bucket::open(place).unwrap();
            let runtime = runtime().unwrap();
            let mut copies = 0;
            while !done.load(Ordering::Relaxed) || copies < 3 {
                let options = VerifyOptions {
                    keys: vec![key.clone()],
                    ..VerifyOptions::default()
                };
                let verified = weir_object_storage::verify(&bucket, &runtime, options);
                let verified = verified.unwrap().verification;
                assert_eq!(verified.findings, [], "{verified}");
                copies += 1;
            }
        });
        for _ in 0..25 {
            rig.days(1);
            rig.recorder.retain().unwrap();
        }
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    });
    rig.recorder.close().unwrap();
    shipper.finish(Duration::from_mins(1));
    assert_eq!(watch().fault, None);
    let verified = rig.verify().unwrap().verification;
    assert_eq!(verified.findings, [], "{verified}");
    assert_eq!(verified.logs[0].calls, 6);
}
