//! Rows as the proxy writes them, for the benches of the record and of replay.

use weir_recorder::{Call, Finish, Log, Outcome, Verdict};

/// What one decided call and its outcome take in the journal, about: the bare loop writes as much.
pub const JOURNAL_BYTES: usize = 400;

const TOOLS: [(&str, &str); 5] = [
    ("vm_list", "read"),
    ("vm_stop", "execute"),
    ("service_stop", "execute"),
    ("alert_list", "read"),
    ("dataset_create", "write"),
];

/// The n-th call: five tools, forty sessions, eight grants, small arguments.
pub fn call(n: u64) -> Call<String> {
    let (tool, risk) = TOOLS.get((n % 5) as usize).copied().unwrap_or_default();
    Call {
        call_id: (u128::from(n) << 64 | 0x7000_8000_0000_0000_0000_u128 << 48).to_be_bytes(),
        received_at: 1_795_348_800_000_000 + n as i64,
        server: Some("nas".into()),
        grant: Some(format!("agent-{}", n % 8)),
        session: Some(format!("session-{}", n % 40)),
        client_name: Some("bench".into()),
        client_version: Some("1".into()),
        client_address: Some("127.0.0.1".into()),
        protocol: Some("2025-11-25".into()),
        method: Some("tools/call".into()),
        wire_tool: Some(tool.into()),
        tool: Some(tool.into()),
        risk: Some(risk.into()),
        request_id: Some(n.to_string()),
        arguments: Some(format!(
            "{{\"id\":{},\"force\":{}}}",
            n % 50,
            n.is_multiple_of(17)
        )),
        arguments_digest: Some([(n % 251) as u8; 16]),
        verdict: Verdict::Allow,
        reason: Some("allowed".into()),
        engine: Some("1".into()),
        ..Call::default()
    }
}

/// Writes this many finished calls, a millisecond apart.
///
/// # Panics
///
/// If the disk does not take them.
pub fn write(log: &mut Log, start: i64, count: usize) {
    let finish = Finish::<String> {
        outcome: Outcome::Ok,
        status: Some(200),
        result_bytes: Some(120),
        ..Finish::default()
    };
    let mut last = None;
    for n in 0..count as i64 {
        let stamp = log.stamp(start + n * 1000);
        let seq = stamp.seq;
        let commit = log.decide(stamp, &call(n as u64));
        log.finish(start + n * 1000 + 500, seq, &finish);
        // the queue is bounded: wait for the disk now and then, as callers do
        if n % 4096 == 0 {
            commit.wait_blocking().expect("durable");
        } else {
            last = Some(commit);
        }
    }
    if let Some(commit) = last {
        commit.wait_blocking().expect("durable");
    }
}
