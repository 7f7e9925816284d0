//! The oracle: the same questions answered the plain way, row by row, with the arguments of every
//! row parsed, and every entry of the log in one sorted list. Shares nothing with replay but the
//! engine's door.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use arrow::array::{Array, AsArray as _, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use weir_policy::{
    Context, Counters, Judgement, Micros, Policy, Reason, Reservation, Resolver, Value, Verdict,
    judge,
};
use weir_recorder::RecordReader;
use weir_replay::State;

use super::ask;

/// One row as plain values.
#[derive(Debug, Clone, Default)]
pub struct PlainRow {
    pub node: String,
    pub seq: i64,
    pub decided_at: i64,
    received_at: i64,
    finish: Option<(i64, i64)>,
    server: String,
    pub grant: String,
    session: String,
    client_name: String,
    client_version: String,
    wire_tool: String,
    arguments: String,
    pub verdict: String,
    reason: String,
    rule: String,
    policy: String,
    resolver: String,
    given_back: bool,
}

/// What the oracle says of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    pub class: &'static str,
    pub would_rule: String,
    pub after_divergence: bool,
}

pub fn rows(record: &Path) -> Vec<PlainRow> {
    let columns = [
        "node",
        "seq",
        "decided_at",
        "received_at",
        "finish_seq",
        "finished_at",
        "server",
        "grant",
        "session",
        "client_name",
        "client_version",
        "wire_tool",
        "arguments",
        "verdict",
        "reason",
        "rule",
        "policy_digest",
        "resolver_digest",
        "given_back",
    ];
    let reader = RecordReader::open(record).unwrap();
    reader
        .calls(&columns)
        .unwrap()
        .flat_map(|batch| plain(&batch.unwrap()))
        .collect()
}

fn plain(batch: &RecordBatch) -> Vec<PlainRow> {
    let text = |name: &str, row: usize| -> String {
        let column = batch.column_by_name(name).unwrap();
        if column.is_null(row) {
            return String::new();
        }
        match column.as_dictionary_opt::<Int32Type>() {
            Some(words) => words
                .values()
                .as_string::<i32>()
                .value(words.key(row).unwrap())
                .to_owned(),
            None => column.as_string::<i32>().value(row).to_owned(),
        }
    };
    let number = |name: &str, row: usize| {
        let column = batch
            .column_by_name(name)
            .unwrap()
            .as_primitive::<Int64Type>();
        column.is_valid(row).then(|| column.value(row))
    };
    let time = |name: &str, row: usize| {
        let column = batch
            .column_by_name(name)
            .unwrap()
            .as_primitive::<TimestampMicrosecondType>();
        column.is_valid(row).then(|| column.value(row))
    };
    (0..batch.num_rows())
        .map(|row| PlainRow {
            node: text("node", row),
            seq: number("seq", row).unwrap(),
            decided_at: time("decided_at", row).unwrap(),
            received_at: time("received_at", row).unwrap(),
            finish: number("finish_seq", row).zip(time("finished_at", row)),
            server: text("server", row),
            grant: text("grant", row),
            session: text("session", row),
            client_name: text("client_name", row),
            client_version: text("client_version", row),
            wire_tool: text("wire_tool", row),
            arguments: text("arguments", row),
            verdict: text("verdict", row),
            reason: text("reason", row),
            rule: text("rule", row),
            policy: text("policy_digest", row),
            resolver: text("resolver_digest", row),
            given_back: {
                let column = batch.column_by_name("given_back").unwrap().as_boolean();
                column.is_valid(row) && column.value(row)
            },
        })
        .collect()
}

/// What a person said then, said again; where nobody could be asked, nothing was taken.
fn answered(mut said: Judgement, row: &PlainRow, counters: &mut Counters) -> Judgement {
    if said.decision.reason == Reason::ApprovalPending {
        if row.reason == "approved" {
            said.decision = said.decision.approved();
        } else if row.reason == "approval_unavailable"
            && let Some(taken) = said.reservation.take()
        {
            counters.give_back(&taken, Micros(row.decided_at));
        }
    }
    said
}

/// What every judged row becomes when the grants that `selected` takes get `candidate`.
pub fn replay(
    record: &Path,
    candidate: Option<&str>,
    selected: impl Fn(&PlainRow) -> bool,
    state: State,
) -> BTreeMap<(String, i64), Said> {
    let reader = RecordReader::open(record).unwrap();
    let rows = rows(record);
    let candidate =
        candidate.map(|document| Policy::load(document.as_bytes(), "candidate.json").unwrap());
    let mut policies: HashMap<String, Policy> = HashMap::new();
    let mut resolvers: HashMap<String, Resolver> = HashMap::new();
    for row in &rows {
        if !row.policy.is_empty() && !policies.contains_key(&row.policy) {
            let policy = Policy::load(&reader.policy(&row.policy).unwrap(), "kept").unwrap();
            policies.insert(row.policy.clone(), policy);
        }
        if !row.resolver.is_empty() && !resolvers.contains_key(&row.resolver) {
            let resolver = Resolver::load(&reader.resolver(&row.resolver).unwrap()).unwrap();
            resolvers.insert(row.resolver.clone(), resolver);
        }
    }
    let nodes: BTreeSet<&str> = rows.iter().map(|row| row.node.as_str()).collect();
    let mut said = BTreeMap::new();
    for node in nodes {
        // Every entry of this node's log that matters: a decision at its `seq`, a return at its `finish_seq`.
        let mut entries: Vec<(i64, bool, &PlainRow)> = Vec::new();
        for row in rows.iter().filter(|row| row.node == node) {
            entries.push((row.seq, true, row));
            if let Some((finish_seq, _)) = row.finish.filter(|_| row.given_back) {
                entries.push((finish_seq, false, row));
            }
        }
        entries.sort_by_key(|(place, _, _)| *place);
        let (mut was, mut would) = (Counters::new(10_000), Counters::new(10_000));
        let mut taken: HashMap<i64, (Option<Reservation>, Option<Reservation>)> = HashMap::new();
        let mut diverged: BTreeSet<(&str, &str)> = BTreeSet::new();
        for (_, decided, row) in entries {
            if !decided {
                let at = Micros(row.finish.unwrap().1);
                if let Some((was_taken, would_taken)) = taken.remove(&row.seq) {
                    if let Some(reservation) = &was_taken {
                        was.give_back(reservation, at);
                    }
                    if let Some(reservation) = &would_taken {
                        would.give_back(reservation, at);
                    }
                }
                continue;
            }
            let session = (row.server.as_str(), row.session.as_str());
            let after_divergence = diverged.contains(&session);
            if ["(malformed)", "(arguments)", "(unrecorded)"].contains(&row.rule.as_str()) {
                said.insert(
                    (row.node.clone(), row.seq),
                    Said {
                        class: "same",
                        would_rule: row.rule.clone(),
                        after_divergence,
                    },
                );
                continue;
            }
            if row.policy.is_empty() && row.rule != "(no policy)" {
                continue;
            }
            let own = policies.get(&row.policy);
            let theirs = if candidate.is_some() && selected(row) {
                candidate.as_ref()
            } else {
                own
            };
            let value = Value::parse(&row.arguments).unwrap();
            let asked = ask(&row.wire_tool, &value);
            let resolution = resolvers[&row.resolver].resolve(&asked).unwrap();
            let context = Context {
                node: &row.node,
                server: &row.server,
                grant: &row.grant,
                session: &row.session,
                client_name: &row.client_name,
                client_version: &row.client_version,
                received_at: Micros(row.received_at),
            };
            let at = Micros(row.decided_at);
            let allowed = row.verdict == "allow";
            let waited =
                row.reason.starts_with("approval_") && row.reason != "approval_unavailable";
            let now = judge(own, &resolution, &context, &mut was, at);
            let now = answered(now, row, &mut was);
            let drift = (now.decision.verdict == Verdict::Allow) != allowed
                || *now.decision.rule != *row.rule;
            assert!(
                !drift,
                "the oracle is for honest records: {row:?} is now {:?}",
                now.decision
            );
            let then = judge(theirs, &resolution, &context, &mut would, at);
            let asks = then.decision.reason == Reason::ApprovalPending;
            let then = answered(then, row, &mut would);
            let held = asks && !row.reason.starts_with("approv");
            let consumed = match state {
                State::Counterfactual => then.reservation,
                State::Recorded => {
                    then.reservation
                        .iter()
                        .for_each(|reservation| would.give_back(reservation, at));
                    theirs
                        .filter(|_| allowed || waited)
                        .map(|policy| would.consume(policy, &resolution, &context, at))
                }
            };
            // A call that the candidate lets through and that nobody approved then never came back.
            let lost = waited && then.decision.verdict == Verdict::Allow;
            let kept = lost && state == State::Counterfactual;
            taken.insert(row.seq, (now.reservation, consumed.filter(|_| !kept)));
            let class = if held {
                "newly_held"
            } else {
                match (allowed, then.decision.verdict == Verdict::Allow) {
                    (true, false) => "newly_denied",
                    (false, true) => "newly_allowed",
                    _ if *then.decision.rule == *row.rule => "same",
                    _ => "same_reason_changed",
                }
            };
            if class.starts_with("newly") {
                diverged.insert(session);
            }
            said.insert(
                (row.node.clone(), row.seq),
                Said {
                    class,
                    would_rule: then.decision.rule.to_string(),
                    after_divergence,
                },
            );
        }
    }
    said
}
