//! Storage that is slow, away, or loses its answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use weir_object_storage::{ObjectStorageError, Replica, Shipper};

use crate::rig::Rig;
use crate::server::{Fate, Server};

const FATES: [Fate; 5] = [
    Fate::Refuse(500),
    Fate::Refuse(503),
    Fate::Drop,
    Fate::DropAnswer,
    Fate::Cut,
];

/// Two writes of five fail, in every way.
#[test]
fn whatever_fails_is_tried_again_and_nothing_is_written_twice() {
    for (first, fate) in FATES.into_iter().enumerate() {
        let mut rig = Rig::new();
        rig.calls(2);
        let mut state = first as u64 + 1;
        rig.server.judge(move |seen| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            if seen.writes() && (state >> 33) % 5 < 2 {
                fate
            } else {
                Fate::Pass
            }
        });
        let mut replica = Replica::new(rig.bucket());
        let mut rounds = 1;
        while let Err(error) = rig.round(&mut replica) {
            assert!(
                matches!(error, ObjectStorageError::Store { .. }),
                "{fate:?}: {error}"
            );
            assert!(!error.is_lasting(), "{fate:?}: {error}");
            rounds += 1;
            assert!(rounds < 200, "{fate:?}: {error}");
        }
        rig.server.heal();
        rig.assert_valid(2);
    }
}

#[test]
fn a_wrong_key_is_told_as_such() {
    let mut rig = Rig::new();
    rig.calls(1);
    let mut place = rig.server.place();
    if let Some(credentials) = &mut place.credentials {
        credentials.secret_access_key = "canary-of-a-secret".into();
    }
    let refused = rig
        .round(&mut Replica::new(rig.bucket_at(place)))
        .unwrap_err();
    assert!(refused.is_lasting(), "{refused}");
    assert!(
        !format!("{refused} {refused:?}").contains("canary"),
        "{refused:?}"
    );
}

/// The recorder goes on while the storage is away; how far behind the copy is, is told; and it catches up by itself.
#[test]
fn storage_that_is_away_holds_up_nobody_and_is_caught_up_with() {
    let mut rig = Rig::new();
    rig.server.judge(|_| Fate::Drop);
    let shipper = Shipper::start(
        rig.bucket(),
        rig.recorder.clone(),
        Duration::from_millis(10),
    )
    .unwrap();
    let watch = shipper.watch();
    rig.calls(3);
    until(|| watch().fault.is_some());
    rig.calls(3);
    assert!(rig.recorder.health().recording);
    rig.server.heal();
    until(|| watch().fault.is_none() && watch().entries == 12);
    assert_eq!(
        (
            watch().behind_files,
            watch().behind_bytes,
            watch().behind_entries
        ),
        (0, 0, 0)
    );
    rig.recorder.close().unwrap();
    shipper.finish(Duration::from_secs(30));
    rig.assert_valid(6);
}

#[test]
fn how_far_behind_the_copy_is_can_be_seen() {
    let mut rig = Rig::new();
    rig.calls(3);
    // The list of what is there comes, and nothing can be written.
    rig.server.judge(|seen| {
        if seen.writes() && !seen.path().starts_with("record.pub") {
            Fate::Refuse(503)
        } else {
            Fate::Pass
        }
    });
    let shipper = Shipper::start(
        rig.bucket(),
        rig.recorder.clone(),
        Duration::from_millis(10),
    )
    .unwrap();
    let watch = shipper.watch();
    until(|| watch().fault.is_some());
    let status = watch();
    assert_eq!(
        (status.behind_files, status.behind_entries),
        (3, 6),
        "a policy, a segment, a checkpoint"
    );
    assert!(status.behind_bytes > 0);
    rig.server.heal();
    shipper.finish(Duration::from_secs(30));
    assert_eq!(watch().behind_files, 0);
    rig.assert_valid(3);
}

#[test]
fn a_stop_waits_no_longer_than_it_is_given() {
    let mut rig = Rig::new();
    rig.calls(1);
    rig.server.judge(|_| Fate::Drop);
    let shipper =
        Shipper::start(rig.bucket(), rig.recorder.clone(), Duration::from_secs(1)).unwrap();
    let begun = std::time::Instant::now();
    shipper.finish(Duration::from_millis(300));
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    rig.server.heal();
    rig.ship().unwrap();
    rig.assert_valid(1);
}

/// Shipping goes on while the record is written and sealed, and every copy on the way is a valid one.
#[test]
fn a_record_that_is_written_meanwhile_is_shipped_in_valid_steps() {
    let mut rig = Rig::new();
    rig.calls(1);
    rig.ship().unwrap();
    let shipper =
        Shipper::start(rig.bucket(), rig.recorder.clone(), Duration::from_millis(1)).unwrap();
    let watch = shipper.watch();
    let copies = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let (server, public) = (&rig.server, rig.recorder.public_key());
        let copies = &copies;
        let (told, stopped) = std::sync::mpsc::channel::<()>();
        let reader = scope.spawn(move || {
            while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                assert_copy_is_valid(server, &public);
                copies.fetch_add(1, Ordering::Relaxed);
            }
        });
        for round in 0..30 {
            let open = rig.number;
            let seq = rig_call(&mut rig.number, &mut rig.log);
            rig.recorder.seal_now().unwrap();
            if round % 3 != 0 {
                rig_end(rig.number, &mut rig.log, seq);
            }
            assert_eq!(rig.number, open + 1);
        }
        until(|| copies.load(Ordering::Relaxed) > 3);
        drop(told);
        reader.join().unwrap();
    });
    rig.recorder.close().unwrap();
    shipper.finish(Duration::from_secs(30));
    assert_eq!(watch().fault, None);
    rig.assert_valid(31);
}

fn assert_copy_is_valid(server: &Server, key: &weir_recorder::VerifyingKey) {
    let options = weir_recorder::VerifyOptions {
        keys: vec![key.clone()],
        ..Default::default()
    };
    let bucket = weir_object_storage::Bucket::open(server.place()).unwrap();
    let runtime = weir_object_storage::runtime().unwrap();
    let verified = weir_object_storage::verify(&bucket, &runtime, options)
        .unwrap()
        .verification;
    assert_eq!(verified.findings, [], "{verified}");
}

fn rig_call(number: &mut i64, log: &mut weir_recorder::Log) -> i64 {
    *number += 1;
    let call = weir_recorder::Call {
        call_id: [*number as u8; 16],
        verdict: weir_recorder::Verdict::Allow,
        tool: Some("vm_stop"),
        ..weir_recorder::Call::default()
    };
    let stamp = log.stamp(crate::rig::NOON + *number);
    log.decide(stamp, &call)
        .wait_blocking()
        .unwrap()
        .unwrap()
        .seq()
}

fn rig_end(number: i64, log: &mut weir_recorder::Log, seq: i64) {
    let finish = weir_recorder::Finish::<&str> {
        outcome: weir_recorder::Outcome::Ok,
        ..Default::default()
    };
    log.finish(crate::rig::NOON + number, seq, &finish)
        .wait_blocking()
        .unwrap();
}

/// Waits for what another thread does.
fn until(done: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_mins(1), "it never came");
        std::thread::yield_now();
    }
}

/// A server that takes a request and never answers it.
#[test]
fn a_server_that_hangs_is_given_up() {
    let mut rig = Rig::new();
    rig.calls(1);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut place = rig.server.place();
    place.endpoint = Some(format!("http://{}", listener.local_addr().unwrap()));
    place.request_timeout = Duration::from_millis(100);
    let begun = std::time::Instant::now();
    let refused = rig
        .round(&mut Replica::new(rig.bucket_at(place)))
        .unwrap_err();
    assert!(!refused.is_lasting(), "{refused}");
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "{:?}",
        begun.elapsed()
    );
    drop(Arc::new(listener));
}
