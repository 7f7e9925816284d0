//! One message into the record: parsed, resolved, judged and written as the proxy does it, at a simulated time.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use weir_corpus::Shape;
use weir_policy::{
    Arguments, Context, Decision, ENGINE, Message, Micros, Policy, Resolution, Resolver,
    ResolverSpec,
};
use weir_proxy::ledger::Heard;
use weir_proxy::{Clock, Ledger, LedgerOptions};
use weir_recorder::{
    Call as Row, Commit, Disk, Event, EventKind, Finish, Outcome, RecordKeys, RecordOptions,
    Recorder,
};

use super::dice::Dice;
use super::script::Call;

/// Name of the proxy in the record.
const NODE: &str = "generated";
/// Entries that may be on their way to the disk.
const QUEUE_MAX: usize = 65_536;
/// Nobody waits for an answer here, so a disk that others use may take its time.
const COMMIT_WAIT_MAX: Duration = Duration::from_mins(10);
/// Entries that may wait to be sealed: a journal that is far ahead is read into memory when the record closes.
const UNSEALED_MAX: u64 = 2_000_000;
/// How often it is looked at whether sealing has caught up.
const LOOK: Duration = Duration::from_millis(20);

/// A record under way, and everything that judges for it.
pub struct Writer {
    recorder: Recorder,
    ledger: Ledger,
    policy: Policy,
    policy_digest: String,
    dispatcher: Upstream,
    flat: Upstream,
}

struct Upstream {
    name: &'static str,
    resolver: Resolver,
    resolver_digest: String,
}

/// What became of a message.
pub struct Sent {
    /// Its way to the disk.
    pub commit: Commit,
    /// Whether it was refused.
    pub denied: bool,
    /// Its end, if it was let through and has one.
    pub finishing: Option<Finishing>,
}

/// How and when a call ends.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub struct Finishing {
    /// When.
    pub at: i64,
    seq: i64,
    outcome: &'static str,
    upstream_us: i64,
    result_bytes: i64,
}

impl Writer {
    /// Makes a record in `out`, with the policy and the resolvers kept beside it.
    pub fn open(
        out: &Path,
        keys: RecordKeys,
        policy: Policy,
        start: Micros,
    ) -> anyhow::Result<Self> {
        let options = RecordOptions {
            node: Some(NODE.to_owned()),
            keys,
            queue_max: QUEUE_MAX,
            commit_wait_max: COMMIT_WAIT_MAX,
            batch_bytes_max: 16 << 20,
            ..RecordOptions::new(out)
        };
        let (recorder, log, recovered) = Recorder::open(options, Arc::new(Disk))
            .with_context(|| format!("cannot make a record in `{}`", out.display()))?;
        let options = LedgerOptions {
            node: NODE.to_owned(),
            counters_per_grant: weir_replay::COUNTERS_PER_GRANT,
            longest_window: policy.longest_window(),
            gaps_start_empty: true,
        };
        let (ledger, _) = Ledger::open(&options, Clock::simulated(start), log, &recovered)
            .map_err(|error| anyhow!("cannot open the books: {error}"))?;
        let policy_digest = policy.digest().to_string();
        recorder.keep_policy(&policy_digest, policy.document())?;
        let upstream = |name| {
            let spec = ResolverSpec {
                profile: Some("truenas".to_owned()),
                ..ResolverSpec::default()
            };
            let resolver = Resolver::compile(&spec)
                .map_err(|problem| anyhow!("the truenas profile: {problem}"))?;
            let resolver_digest = resolver.digest().to_string();
            recorder.keep_resolver(&resolver_digest, resolver.document())?;
            anyhow::Ok(Upstream {
                name,
                resolver,
                resolver_digest,
            })
        };
        let (dispatcher, flat) = (upstream("nas")?, upstream("nas-flat")?);
        Ok(Self {
            recorder,
            ledger,
            policy,
            policy_digest,
            dispatcher,
            flat,
        })
    }

    /// Tells the record that this proxy began to serve, and what came into force, as the proxy does.
    pub fn begin(&self, grants: &BTreeMap<&str, Shape>) {
        let version = concat!("weir ", env!("CARGO_PKG_VERSION"));
        drop(self.ledger.event(&Event {
            text: Some(version),
            ..Event::of(EventKind::Start)
        }));
        for upstream in [&self.dispatcher, &self.flat] {
            drop(self.ledger.event(&Event {
                digest: Some(&upstream.resolver_digest),
                server: Some(upstream.name),
                ..Event::of(EventKind::Resolver)
            }));
        }
        for (grant, server) in grants {
            for kind in [EventKind::Grant, EventKind::Policy] {
                drop(self.ledger.event(&Event {
                    grant: Some(grant),
                    server: Some(self.upstream(*server).name),
                    digest: Some(&self.policy_digest),
                    ..Event::of(kind)
                }));
            }
        }
    }

    fn upstream(&self, shape: Shape) -> &Upstream {
        match shape {
            Shape::Dispatcher => &self.dispatcher,
            Shape::Flat => &self.flat,
        }
    }

    /// Judges a message and writes it down.
    pub fn send(&self, at: Micros, call: &Call<'_>, dice: &mut Dice) -> anyhow::Result<Sent> {
        self.ledger.clock().set(at);
        let upstream = self.upstream(call.server);
        let session = format!("{:016x}", call.session);
        let address = format!("192.0.2.{}", call.address);
        let row = Row {
            call_id: call_id(at, dice),
            received_at: at.0,
            server: Some(upstream.name),
            grant: Some(call.grant),
            client_address: Some(address.as_str()),
            request_bytes: i64::try_from(call.body.len()).ok(),
            ..Row::default()
        };
        let message = match Message::parse(call.body.as_bytes()) {
            Ok(message) => message,
            Err(malformed) => {
                let digest = self.recorder.digest_key().digest(call.body.as_bytes());
                let row = Row {
                    request_id: malformed.id.as_deref(),
                    arguments_digest: Some(digest),
                    ..row
                };
                return self.denied(&malformed.decision(), row);
            }
        };
        let (id, arguments) = match &message {
            Message::Request(request) => (Some(request.id.raw), request.arguments_raw),
            Message::Notification(_) | Message::Response(_) => (None, None),
        };
        let row = Row {
            session: Some(session.as_str()),
            client_name: Some(call.client_name),
            client_version: Some(call.client_version),
            protocol: Some("2025-11-25"),
            method: Some(call.method),
            request_id: id,
            ..row
        };
        let ask = match message.ask() {
            Ok(Some(ask)) => ask,
            Ok(None) => {
                let commit = self.ledger.record(&Decision::allow(), row)?;
                let finishing = Some(ending(commit.seq(), at, false, dice));
                return Ok(Sent {
                    commit,
                    denied: false,
                    finishing,
                });
            }
            Err(malformed) => {
                let row = Row {
                    session: None,
                    method: None,
                    ..row
                };
                return self.denied(&malformed.decision(), row);
            }
        };
        let row = Row {
            wire_tool: Some(ask.wire_tool.as_ref()),
            tool: Some(ask.wire_tool.as_ref()),
            arguments,
            arguments_digest: arguments
                .map(|text| self.recorder.digest_key().digest(text.as_bytes())),
            resolver_digest: Some(upstream.resolver_digest.as_str()),
            ..row
        };
        let resolution = match upstream.resolver.resolve(&ask) {
            Ok(resolution) => resolution,
            Err(decision) => return self.denied(&decision, row),
        };
        let context = Context {
            node: NODE,
            server: upstream.name,
            grant: call.grant,
            session: &session,
            client_name: call.client_name,
            client_version: call.client_version,
            received_at: at,
        };
        let effective = effective_arguments(&resolution);
        let row = Row {
            tool: resolution
                .readings
                .last()
                .map(|reading| reading.tool.as_ref()),
            risk: Some(resolution.risk().as_str()),
            via: resolution.via.iter().map(AsRef::as_ref).collect(),
            effective_arguments: effective.as_deref(),
            policy_digest: Some(&self.policy_digest),
            engine: Some(ENGINE),
            decide_ns: Some(200 + dice.throw(900) as i32),
            ..row
        };
        let heard = Heard::of(&resolution, None, &context);
        let evaluation = heard.evaluate(Some(&self.policy));
        let decided = self.ledger.decide(evaluation, heard, row)?;
        let denied = !decided.decision.is_allow();
        // One in two thousand is never heard of again, as after a kill.
        let ends = !denied && !dice.happens(0.0005);
        let finishing = ends.then(|| ending(decided.commit.seq(), at, true, dice));
        Ok(Sent {
            commit: decided.commit,
            denied,
            finishing,
        })
    }

    /// Writes down how a call ended.
    pub fn finish(&self, finishing: &Finishing) {
        self.ledger.clock().set(Micros(finishing.at));
        let outcome = Outcome::parse(finishing.outcome).unwrap_or_default();
        let reached = outcome != Outcome::Unreachable;
        let finish = Finish::<&str> {
            outcome,
            status: reached.then_some(200),
            result_bytes: reached.then_some(finishing.result_bytes),
            given_back: !reached,
            upstream_us: Some(finishing.upstream_us),
            ..Finish::default()
        };
        drop(self.ledger.finish(finishing.seq, &finish));
    }

    /// Waits until sealing is not far behind.
    pub fn keep_pace(&self) {
        let is_behind = || {
            let health = self.recorder.health();
            health.fault.is_none() && health.unsealed > UNSEALED_MAX
        };
        while is_behind() {
            std::thread::park_timeout(LOOK);
        }
    }

    /// Seals everything.
    pub fn close(self) -> anyhow::Result<()> {
        drop(self.ledger);
        self.recorder.seal_now()?;
        Ok(self.recorder.close()?)
    }

    fn denied(&self, decision: &Decision, row: Row<&str>) -> anyhow::Result<Sent> {
        let commit = self.ledger.record(decision, row)?;
        Ok(Sent {
            commit,
            denied: true,
            finishing: None,
        })
    }
}

/// How a call that was let through ends: mostly well.
fn ending(seq: i64, at: Micros, judged: bool, dice: &mut Dice) -> Finishing {
    let outcome = match dice.throw(1000) {
        _ if !judged => Outcome::Ok,
        0..3 => Outcome::Timeout,
        3..6 => Outcome::Unreachable,
        6..12 => Outcome::RpcError,
        12..50 => Outcome::ToolError,
        _ => Outcome::Ok,
    };
    let upstream_us = if outcome == Outcome::Timeout {
        30_000_000
    } else if outcome == Outcome::Unreachable {
        800
    } else {
        900 + dice.span(12_000.0)
    };
    Finishing {
        at: at.0 + upstream_us,
        seq,
        outcome: outcome.as_str(),
        upstream_us,
        result_bytes: 80 + dice.span(900.0),
    }
}

/// A UUIDv7 whose randomness comes from the seed.
fn call_id(at: Micros, dice: &mut Dice) -> [u8; 16] {
    let (high, low) = (dice.next().to_be_bytes(), dice.next().to_be_bytes());
    let mut random = [0; 10];
    random
        .iter_mut()
        .zip(high.into_iter().chain(low))
        .for_each(|(to, from)| *to = from);
    let millis = u64::try_from(at.0.div_euclid(1000)).unwrap_or_default();
    uuid::Builder::from_unix_timestamp_millis(millis, &random)
        .into_uuid()
        .into_bytes()
}

/// The arguments that policy judged, where resolution changed them.
fn effective_arguments(resolution: &Resolution<'_>) -> Option<String> {
    let last = resolution.readings.last()?;
    let changed = resolution.readings.len() > 1 || matches!(last.arguments, Arguments::Built(_));
    changed.then(|| last.arguments.to_json())
}
