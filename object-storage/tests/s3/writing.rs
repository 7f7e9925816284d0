//! Every object is written once.

use std::fmt::Write as _;
use std::fs;

use weir_object_storage::{ObjectStorageError, Place, Replica, Retention, RetentionMode};

use crate::rig::Rig;
use crate::server::Fate;

/// A call whose arguments do not compress, so that its segment goes in parts.
fn large(rig: &mut Rig) {
    let mut state = 1_u64;
    let mut text = String::from("\"");
    while text.len() < 12 << 20 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        write!(text, "{:x}", state >> 16).unwrap();
    }
    text.push('"');
    let seq = rig.open_call(&text);
    rig.end_call(seq);
    rig.recorder.seal_now().unwrap();
}

fn small_parts(rig: &Rig) -> Place {
    Place {
        part_bytes: 1,
        ..rig.server.place()
    }
}

fn ship_in_parts(rig: &Rig) -> Result<weir_object_storage::Round, ObjectStorageError> {
    rig.round(&mut Replica::new(rig.bucket_at(small_parts(rig))))
}

#[test]
fn an_object_that_is_there_with_other_bytes_is_never_overwritten() {
    let mut rig = Rig::new();
    rig.calls(1);
    let segment = rig.recorder.reader().segments().unwrap()[0]
        .path
        .strip_prefix(rig.record())
        .unwrap()
        .to_owned();
    let object = rig.server.object(segment.to_str().unwrap());
    fs::create_dir_all(object.parent().unwrap()).unwrap();
    fs::write(&object, "somebody else's").unwrap();
    let refused = rig.ship().unwrap_err();
    assert!(
        matches!(refused, ObjectStorageError::Conflict { .. }),
        "{refused}"
    );
    assert!(refused.is_lasting());
    assert_eq!(fs::read(&object).unwrap(), b"somebody else's");
    assert!(rig.verify().is_err(), "there is no list");
}

#[test]
fn an_object_that_came_there_by_other_means_is_as_good() {
    let mut rig = Rig::new();
    rig.calls(1);
    let segment = rig.recorder.reader().segments().unwrap()[0].path.clone();
    let object = rig.server.object(
        segment
            .strip_prefix(rig.record())
            .unwrap()
            .to_str()
            .unwrap(),
    );
    fs::create_dir_all(object.parent().unwrap()).unwrap();
    fs::copy(&segment, &object).unwrap();
    rig.ship().unwrap();
    rig.assert_valid(1);
}

#[test]
fn a_file_that_is_not_as_it_was_signed_is_not_shipped() {
    let mut rig = Rig::new();
    rig.calls(1);
    let segment = rig.recorder.reader().segments().unwrap()[0].path.clone();
    let mut bytes = fs::read(&segment).unwrap();
    bytes[100] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let refused = rig.ship().unwrap_err();
    assert!(
        matches!(refused, ObjectStorageError::Altered { .. }),
        "{refused}"
    );
    assert!(
        rig.server
            .objects()
            .iter()
            .all(|path| !path.starts_with("calls/"))
    );
}

#[test]
fn a_large_file_goes_in_parts() {
    let mut rig = Rig::new();
    large(&mut rig);
    ship_in_parts(&rig).unwrap();
    let seen = rig.server.seen();
    let parts = seen
        .iter()
        .filter(|seen| seen.query().contains("partNumber"))
        .count();
    assert_eq!(parts, 2, "of 5 MiB at least");
    rig.assert_valid(1);
    // A process that knows nothing of it sends no part again.
    ship_in_parts(&rig).unwrap();
    assert!(
        rig.server
            .seen()
            .iter()
            .all(|seen| !seen.query().contains("partNumber"))
    );
}

#[test]
fn a_large_file_does_not_replace_what_came_there_meanwhile() {
    let mut rig = Rig::new();
    large(&mut rig);
    let segment = rig.recorder.reader().segments().unwrap()[0]
        .path
        .strip_prefix(rig.record())
        .unwrap()
        .to_owned();
    let object = rig.server.object(segment.to_str().unwrap());
    let path = object.clone();
    rig.server.judge(move |seen| {
        if seen.query().contains("partNumber=2") {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "somebody else's").unwrap();
        }
        Fate::Pass
    });
    let refused = ship_in_parts(&rig).unwrap_err();
    assert!(
        matches!(refused, ObjectStorageError::Conflict { .. }),
        "{refused}"
    );
    assert_eq!(fs::read(&object).unwrap(), b"somebody else's");
    let aborted = rig
        .server
        .seen()
        .iter()
        .any(|seen| seen.method == "DELETE" && seen.query().contains("uploadId"));
    assert!(aborted, "parts that nobody completes cost money");
}

/// The server checks signatures, so a header that the signature should cover and does not would be refused by S3 itself; that it
/// is among the signed ones is looked at here.
#[test]
fn objects_are_locked_where_that_is_configured() {
    let mut rig = Rig::new();
    large(&mut rig);
    let retention = Some(Retention {
        mode: RetentionMode::Compliance,
        days: 30,
    });
    let place = Place {
        retention,
        ..small_parts(&rig)
    };
    rig.round(&mut Replica::new(rig.bucket_at(place))).unwrap();
    rig.assert_valid(1);
    let (mut puts, mut uploads) = (0, 0);
    for seen in rig.server.seen() {
        let makes = seen.method == "PUT" && !seen.query().contains("uploadId");
        let begins = seen.method == "POST" && seen.query().contains("uploads");
        let header = |name: &str| seen.headers.get(name).map(|value| value.to_str().unwrap());
        if makes || begins {
            puts += usize::from(makes);
            uploads += usize::from(begins);
            assert_eq!(header("x-amz-object-lock-mode"), Some("COMPLIANCE"));
            assert!(
                header("x-amz-object-lock-retain-until-date")
                    .unwrap()
                    .ends_with('Z')
            );
            let signed = header("authorization").unwrap();
            if makes {
                let checksum = "x-amz-sdk-checksum-algorithm";
                assert_eq!(header(checksum), Some("SHA256"));
                assert!(signed.contains(checksum), "{signed}");
            }
            assert!(
                signed.contains("x-amz-object-lock-mode;x-amz-object-lock-retain-until-date"),
                "{signed}"
            );
        } else {
            assert_eq!(
                header("x-amz-object-lock-mode"),
                None,
                "{} {}",
                seen.method,
                seen.uri
            );
        }
    }
    assert!(puts > 3 && uploads == 1, "{puts} {uploads}");
}
