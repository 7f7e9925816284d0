//! Records made as the proxy makes them: judged by the real engine, written by the real recorder,
//! at times that the test chooses.

#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use weir_policy::{
    Ask, AskKind, Context, Counters, Decision, Digest, ENGINE, Micros, Policy, Reason, Redacted,
    Redaction, Reservation, Resolver, Value, Verdict, evaluate,
};
use weir_recorder::{
    Answer, Approval, Call, Disk, Durability, Event, Finish, Log, Outcome, RecordOptions, Recorder,
    Unrecorded,
};
use weir_replay::{PolicyFile, ReplayOptions};

pub mod naive;

/// 2026-11-22T06:00:00Z
pub const SIX: i64 = 1_795_327_200_000_000;
pub const SECOND: i64 = 1_000_000;

/// Who asks for what.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    pub server: &'a str,
    pub grant: &'a str,
    pub session: &'a str,
    pub tool: &'a str,
    pub arguments: &'a str,
}

impl<'a> Asked<'a> {
    pub fn tool(tool: &'a str, arguments: &'a str) -> Self {
        Self {
            server: "nas",
            grant: "ops-agent",
            session: "s1",
            tool,
            arguments,
        }
    }
}

/// A changed decision, for records that lie.
pub type Lie = fn(&mut Call<String>);

/// The one who writes a record down.
pub struct Scribe {
    folder: TempDir,
    recorder: Recorder,
    log: Log,
    counters: Counters,
    open: HashMap<i64, Option<Reservation>>,
    /// Calls of which a person was asked, and what they took.
    held: HashMap<i64, (Decision, Option<Reservation>)>,
    /// Whether anybody can be asked.
    pub askable: bool,
    resolver: Resolver,
    waiting: usize,
    last: Option<weir_recorder::Commit>,
    pub lie: Option<Lie>,
    /// Which values are replaced before a row exists.
    pub redaction: Redaction,
    /// The tool whose arguments are not kept.
    pub withheld: Option<&'static str>,
}

impl Scribe {
    pub fn new() -> Self {
        Self::sealing_every(131_072)
    }

    pub fn sealing_every(seal_rows: usize) -> Self {
        Self::with(seal_rows, Resolver::plain())
    }

    pub fn with(seal_rows: usize, resolver: Resolver) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = RecordOptions {
            durability: Durability::Interval(Duration::from_millis(50)),
            seal_rows,
            ..RecordOptions::new(folder.path().join("record"))
        };
        let (recorder, log, _) = Recorder::open(options, Arc::new(Disk)).unwrap();
        recorder
            .keep_resolver(&resolver.digest().to_string(), resolver.document())
            .unwrap();
        Self {
            folder,
            recorder,
            log,
            counters: Counters::new(weir_replay::COUNTERS_PER_GRANT),
            open: HashMap::new(),
            held: HashMap::new(),
            askable: true,
            resolver,
            waiting: 0,
            last: None,
            lie: None,
            redaction: Redaction::default(),
            withheld: None,
        }
    }

    /// Keeps a policy, as a proxy does when it loads one.
    pub fn policy(&self, document: &str) -> Arc<Policy> {
        let policy = Policy::load(document.as_bytes(), "test.json")
            .unwrap_or_else(|problems| panic!("{problems}"));
        self.recorder
            .keep_policy(&policy.digest().to_string(), document.as_bytes())
            .unwrap();
        Arc::new(policy)
    }

    /// Judges and records one call; its place, and whether it passed.
    pub fn call(&mut self, at: i64, policy: Option<&Policy>, asked: Asked<'_>) -> (i64, bool) {
        self.ready();
        let stamp = self.log.stamp(at);
        // As the proxy does: null arguments are recorded as they stood, and judged as none.
        let judged = if asked.arguments == "null" {
            "{}"
        } else {
            asked.arguments
        };
        let value = Value::parse(judged).unwrap();
        let ask = ask(asked.tool, &value);
        let context = Context {
            node: self.recorder.node(),
            server: asked.server,
            grant: asked.grant,
            session: asked.session,
            client_name: "test",
            client_version: "1",
            received_at: Micros(at),
        };
        let mut call: Call<String> = Call {
            call_id: call_id(stamp.seq),
            received_at: at,
            server: Some(asked.server.into()),
            grant: Some(asked.grant.into()),
            session: Some(asked.session.into()),
            client_name: Some("test".into()),
            client_version: Some("1".into()),
            method: Some("tools/call".into()),
            wire_tool: Some(asked.tool.into()),
            tool: Some(asked.tool.into()),
            arguments: Some(asked.arguments.into()),
            arguments_digest: Some(
                self.recorder
                    .digest_key()
                    .digest(asked.arguments.as_bytes()),
            ),
            resolver_digest: Some(self.resolver.digest().to_string()),
            engine: Some(ENGINE.into()),
            policy_digest: policy.map(|policy| policy.digest().to_string()),
            ..Call::default()
        };
        let mut taken = None;
        let key = self.recorder.digest_key().clone();
        let redacted = self
            .redaction
            .redact(asked.arguments, &|bytes| key.digest(bytes));
        let (kept, pointers) = match &redacted {
            Redacted::Nothing => (asked.arguments, Vec::new()),
            Redacted::Values { text, pointers } => (text.as_str(), pointers.clone()),
            Redacted::Whole => panic!("the stories here hold few secrets"),
        };
        call.arguments = Some(kept.into());
        call.redacted = pointers;
        let left = Value::parse(if kept == "null" { "{}" } else { kept }).unwrap();
        let mut decision = match self.resolver.resolve(&ask) {
            Err(decision) => decision,
            Ok(resolution) => {
                call.tool = resolution
                    .readings
                    .last()
                    .map(|reading| reading.tool.clone().into_owned());
                call.via = resolution
                    .via
                    .iter()
                    .map(|step| step.clone().into_owned())
                    .collect();
                let tool = call.tool.clone().unwrap_or_default();
                if self.withheld == Some(tool.as_str()) {
                    call.arguments = None;
                    call.redacted = vec![String::new()];
                }
                // As the proxy does: limits count by what is kept.
                let via: Vec<&str> = call.via.iter().map(String::as_str).collect();
                let left = call.arguments.is_some().then_some(&left);
                let counted = self
                    .resolver
                    .from_redacted(asked.tool, &via, &tool, left)
                    .unwrap();
                let evaluation = evaluate(policy, &resolution, &context);
                let judgement = self
                    .counters
                    .settle(evaluation.counted_by(&counted), Micros(stamp.decided_at));
                taken = judgement.reservation;
                judgement.decision
            }
        };
        let held = decision.is_pending() && self.askable;
        if held {
            call.approval = Some(Approval {
                asked_at: stamp.decided_at,
                ..Approval::default()
            });
        } else if decision.is_pending() {
            decision = decision.unapproved(Reason::ApprovalUnavailable, "Nobody is there.");
            if let Some(taken) = taken.take() {
                self.counters.give_back(&taken, Micros(stamp.decided_at));
            }
        }
        call.verdict = match decision.verdict {
            Verdict::Allow => weir_recorder::Verdict::Allow,
            Verdict::Deny => weir_recorder::Verdict::Deny,
        };
        call.reason = Some(decision.reason.as_str().into());
        call.rule = Some(decision.rule.to_string());
        call.message = (!held).then(|| decision.message.to_string());
        if let Some(lie) = self.lie {
            lie(&mut call);
        }
        let passed = call.verdict == weir_recorder::Verdict::Allow;
        let seq = stamp.seq;
        let commit = self.log.decide(stamp, &call);
        self.wait_now_and_then(commit);
        if passed {
            self.open.insert(seq, taken);
        } else if held {
            self.held.insert(seq, (decision, taken));
        }
        (seq, passed)
    }

    /// Whether a person was asked about this call who has not answered.
    pub fn is_held(&self, seq: i64) -> bool {
        self.held.contains_key(&seq)
    }

    /// Records what came of a held call: `None` is yes.
    pub fn answer(&mut self, at: i64, seq: i64, refused: Option<Reason>) {
        let (decision, taken) = self.held.remove(&seq).unwrap();
        let decision = match refused {
            None => decision.approved(),
            Some(reason) => decision.unapproved(reason, "No."),
        };
        let answer = Answer {
            verdict: match decision.verdict {
                Verdict::Allow => weir_recorder::Verdict::Allow,
                Verdict::Deny => weir_recorder::Verdict::Deny,
            },
            reason: Some(decision.reason.as_str()),
            message: Some(&*decision.message).filter(|text| !text.is_empty()),
            by: Some("anna"),
            answer: Some("answered"),
            given_back: refused.is_some(),
        };
        let commit = self.log.answer(at, (seq, call_id(seq)), &answer);
        let at = commit.at();
        self.wait_now_and_then(commit);
        match (refused, taken) {
            (None, taken) => {
                self.open.insert(seq, taken);
            }
            (Some(_), Some(taken)) => self.counters.give_back(&taken, Micros(at)),
            (Some(_), None) => {}
        }
    }

    /// Records a row that is no judged call, as `change` makes it.
    pub fn row(&mut self, at: i64, change: impl FnOnce(&mut Call<String>)) -> i64 {
        self.ready();
        let stamp = self.log.stamp(at);
        let seq = stamp.seq;
        let mut call = Call {
            call_id: call_id(seq),
            received_at: at,
            ..Call::default()
        };
        change(&mut call);
        let commit = self.log.decide(stamp, &call);
        self.wait_now_and_then(commit);
        seq
    }

    /// Records what happened besides calls.
    pub fn event(&mut self, at: i64, event: &Event<&str>) -> i64 {
        self.ready();
        let commit = self.log.event(at, event);
        let seq = commit.seq();
        self.wait_now_and_then(commit);
        seq
    }

    /// Records how a call ended.
    pub fn finish(&mut self, at: i64, seq: i64, given_back: bool) {
        let outcome = if given_back {
            Outcome::Unreachable
        } else {
            Outcome::Ok
        };
        let finish = Finish::<String> {
            outcome,
            given_back,
            ..Finish::default()
        };
        let commit = self.log.finish(at, seq, &finish);
        let at = commit.at();
        self.wait_now_and_then(commit);
        if let Some(Some(taken)) = self.open.remove(&seq)
            && given_back
        {
            self.counters.give_back(&taken, Micros(at));
        }
    }

    /// A call that passed and ended well, or was refused.
    pub fn ended(&mut self, at: i64, policy: Option<&Policy>, asked: Asked<'_>) -> (i64, bool) {
        let (seq, passed) = self.call(at, policy, asked);
        if passed {
            self.finish(at + 1000, seq, false);
        }
        (seq, passed)
    }

    /// Waits for room in the queue, as a caller who is told to slow down does.
    fn ready(&mut self) {
        while let Err(why) = self.log.ready() {
            assert!(matches!(why, Unrecorded::QueueFull), "{why}");
            std::thread::yield_now();
        }
    }

    /// Waits until everything written so far is durable, and so can be read.
    pub fn settle(&mut self) {
        if let Some(last) = self.last.take() {
            // On a thread of its own, since a test may be asynchronous.
            let waiting = std::thread::spawn(|| last.wait_blocking().unwrap());
            let _permit = waiting.join().unwrap();
        }
    }

    fn wait_now_and_then(&mut self, commit: weir_recorder::Commit) {
        self.waiting += 1;
        self.last = Some(commit);
        if self.waiting.is_multiple_of(2000) {
            self.settle();
        }
    }

    /// The record so far, still being written.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("record")
    }

    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// The finished record; it is gone when this is dropped.
    pub fn close(self) -> Record {
        self.recorder.close().unwrap();
        Record {
            folder: self.folder,
        }
    }
}

/// A record in a folder of its own.
pub struct Record {
    folder: TempDir,
}

impl Record {
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("record")
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn options(&self, candidate: &str) -> ReplayOptions {
        ReplayOptions {
            record: self.path(),
            candidate: Some(file(candidate)),
            ..ReplayOptions::default()
        }
    }

    pub fn own(&self) -> ReplayOptions {
        ReplayOptions {
            record: self.path(),
            ..ReplayOptions::default()
        }
    }
}

pub fn file(document: &str) -> PolicyFile {
    PolicyFile {
        path: "candidate.json".into(),
        bytes: document.as_bytes().to_vec(),
    }
}

pub fn digest(document: &str) -> String {
    Digest::of(document.as_bytes()).to_string()
}

pub fn ask<'a>(tool: &'a str, arguments: &'a Value<'a>) -> Ask<'a> {
    let kind = match tool.split_once(':') {
        Some(("resource", _)) => AskKind::Resource,
        Some(("prompt", _)) => AskKind::Prompt,
        Some(("method", _)) => AskKind::Method,
        _ => AskKind::ToolCall,
    };
    Ask {
        wire_tool: tool.into(),
        kind,
        arguments,
    }
}

fn call_id(seq: i64) -> [u8; 16] {
    (0x0197_0000_0000_7000_8000_0000_0000_0000_u128 + seq as u128).to_be_bytes()
}

/// A small generator of numbers: one seed, one story.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len() as u64) as usize]
    }
}
