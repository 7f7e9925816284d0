//! A record, a bucket, and the way between them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use weir_object_storage::{
    Bucket, ObjectStorageError, Place, Replica, Round, Verified, runtime, verify,
};
use weir_recorder::{
    Call, Disk, Finish, Log, Outcome, RecordOptions, Recorder, Retain, State, Verdict,
    VerifyOptions, VerifyingKey,
};

use crate::server::{Fate, Seen, Server};

/// Noon of 22 November 2026.
pub const NOON: i64 = 1_795_348_800_000_000;

pub struct Rig {
    pub server: Server,
    pub folder: tempfile::TempDir,
    pub runtime: Runtime,
    pub recorder: Recorder,
    pub log: Log,
    pub number: i64,
    /// The day that calls are of, at noon.
    pub now: i64,
}

impl Rig {
    /// A record with nothing in it, and an empty bucket.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (recorder, log) = open(folder.path().join("record"));
        Self {
            server: Server::start(),
            folder,
            runtime: runtime().unwrap(),
            recorder,
            log,
            number: 0,
            now: NOON,
        }
    }

    /// As [`Rig::new`], of a record that keeps two days.
    pub fn with_retention() -> Self {
        let mut rig = Self::new();
        rig.recorder.close().unwrap();
        let options = RecordOptions {
            retain: Retain {
                age: Some(Duration::from_hours(48)),
                ..Retain::default()
            },
            tidy_grace: Duration::ZERO,
            ..options(rig.record())
        };
        let (recorder, log, _) = Recorder::open(options, Arc::new(Disk)).unwrap();
        (rig.recorder, rig.log) = (recorder, log);
        rig
    }

    /// A call that ends with a long result of its own.
    pub fn call_with_result(&mut self) {
        let seq = self.open_call("{}");
        let result = format!("\"result {}\"", self.number);
        let name = self.recorder.keep_result(result.as_bytes()).unwrap();
        let finish = Finish {
            outcome: Outcome::Ok,
            result: Some(name),
            ..Finish::default()
        };
        self.log
            .finish(self.now + self.number, seq, &finish)
            .wait_blocking()
            .unwrap();
    }

    /// Calls of so many days, one after another: each has two, one of them with a long result, and is sealed.
    pub fn days(&mut self, count: i64) {
        for _ in 0..count {
            self.call_with_result();
            self.calls(1);
            self.now += 86_400_000_000;
        }
    }

    pub fn record(&self) -> PathBuf {
        self.folder.path().join("record")
    }

    /// Calls that are decided and end, then a seal.
    pub fn calls(&mut self, count: i64) {
        for _ in 0..count {
            let seq = self.open_call("{}");
            self.end_call(seq);
        }
        self.recorder.seal_now().unwrap();
    }

    /// A call that is decided and goes on.
    pub fn open_call(&mut self, arguments: &str) -> i64 {
        self.number += 1;
        let mut call_id = [0; 16];
        call_id[8..].copy_from_slice(&self.number.to_be_bytes());
        let policy = self.policy();
        let call = Call {
            call_id,
            received_at: self.now + self.number,
            verdict: Verdict::Allow,
            tool: Some("vm_stop"),
            arguments: Some(arguments),
            policy_digest: Some(policy.as_str()),
            ..Call::default()
        };
        let stamp = self.log.stamp(self.now + self.number);
        self.log
            .decide(stamp, &call)
            .wait_blocking()
            .unwrap()
            .unwrap()
            .seq()
    }

    pub fn end_call(&mut self, seq: i64) {
        let finish = Finish::<&str> {
            outcome: Outcome::Ok,
            ..Finish::default()
        };
        self.log
            .finish(self.now + self.number, seq, &finish)
            .wait_blocking()
            .unwrap();
    }

    /// A policy that is kept; its digest.
    fn policy(&self) -> String {
        let digest = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
        self.recorder.keep_policy(digest, b"{}").unwrap();
        digest.into()
    }

    pub fn bucket(&self) -> Bucket {
        self.bucket_at(self.server.place())
    }

    pub fn bucket_at(&self, place: Place) -> Bucket {
        Bucket::open(place).unwrap()
    }

    /// One round of a process that knows nothing of those before.
    pub fn ship(&self) -> Result<Round, ObjectStorageError> {
        self.round(&mut Replica::new(self.bucket()))
    }

    /// As [`Rig::ship`], where only one object can be made, as if the process were killed at the next. Up to four are written side by
    /// side, and what is on its way when the round is given up may come at any time: none of it is made until the next round.
    pub fn ship_one_object(&self) -> Result<Round, ObjectStorageError> {
        let mut left = 1;
        let root = self.server.object("");
        self.server.judge(move |seen| {
            // What is there already is told so.
            if !seen.writes() || root.join(seen.path().replace("%3D", "=")).exists() {
                return Fate::Pass;
            }
            left -= 1;
            if left >= 0 {
                Fate::Pass
            } else {
                Fate::Refuse(400)
            }
        });
        let result = self.ship();
        let refuse_writes = |seen: &Seen| {
            if seen.writes() {
                Fate::Refuse(400)
            } else {
                Fate::Pass
            }
        };
        self.server.judge(refuse_writes);
        result
    }

    pub fn round(&self, replica: &mut Replica) -> Result<Round, ObjectStorageError> {
        self.runtime
            .block_on(replica.round(&self.recorder, &|_| {}))
    }

    pub fn verify(&self) -> Result<Verified, ObjectStorageError> {
        self.verify_with(vec![self.recorder.public_key()])
    }

    pub fn verify_with(&self, keys: Vec<VerifyingKey>) -> Result<Verified, ObjectStorageError> {
        let options = VerifyOptions {
            keys,
            ..VerifyOptions::default()
        };
        verify(&self.bucket(), &self.runtime, options)
    }

    /// The copy as this anchor sees it.
    pub fn assert_anchored(&self, anchor: &std::path::Path, state: State) {
        let options = VerifyOptions {
            keys: vec![self.recorder.public_key()],
            anchor: Some(anchor.to_owned()),
            ..VerifyOptions::default()
        };
        let verified = verify(&self.bucket(), &self.runtime, options)
            .unwrap()
            .verification;
        assert_eq!(verified.state, state, "{verified}");
    }

    /// The copy is a valid one, of so many calls.
    pub fn assert_valid(&self, calls: u64) {
        let verified = self.verify().unwrap().verification;
        assert_eq!(verified.findings, [], "{verified}");
        assert_eq!(verified.state, State::NotAnchored, "{verified}");
        assert_eq!(verified.logs[0].calls, calls, "{verified}");
    }
}

pub fn open(path: PathBuf) -> (Recorder, Log) {
    let (recorder, log, _) = Recorder::open(options(path), Arc::new(Disk)).unwrap();
    (recorder, log)
}

fn options(path: PathBuf) -> RecordOptions {
    RecordOptions {
        node: Some("nas-1".into()),
        seal_age: Duration::from_hours(1),
        checkpoint_age: Duration::from_hours(1),
        journal_ahead_bytes: 4096,
        reserve_bytes: 4096,
        ..RecordOptions::new(path)
    }
}
