//! The calls that are measured with.

use weir_recorder::{Call, Finish, LimitCount, Log, Outcome, Verdict};

/// The SHA-256 of `0` and of `1`, which stand for the documents that judged.
pub(crate) const POLICY: &str =
    "sha256:5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9";
pub(crate) const RESOLVER: &str =
    "sha256:6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b";
pub(crate) const NOON: i64 = 1_795_348_800_000_000;

/// A call, and its end if it was forwarded.
pub(crate) fn whole(log: &mut Log, number: i64) {
    if let Some(seq) = begun(log, number) {
        ended(log, number, seq);
    }
}

/// A call; its place, if it was forwarded.
pub(crate) fn begun(log: &mut Log, number: i64) -> Option<i64> {
    let (seq, verdict) = with_call(number, |call| {
        let stamp = log.stamp(NOON + number * 900);
        (log.decide(stamp, call).seq(), call.verdict)
    });
    (verdict == Verdict::Allow).then_some(seq)
}

/// How it ended.
pub(crate) fn ended(log: &mut Log, number: i64, seq: i64) {
    let finish = Finish::<&str> {
        outcome: Outcome::Ok,
        status: Some(200),
        result_bytes: Some(180 + number % 700),
        result_digest: Some(spread(number + 1)),
        commit_us: Some(150 + (number % 90) as i32),
        upstream_us: Some(900 + number % 4000),
        ..Finish::default()
    };
    drop(log.finish(NOON + number * 900 + 600, seq, &finish));
}

/// A call as an agent on a NAS makes it.
pub(crate) fn with_call<T>(number: i64, then: impl FnOnce(&Call<&str>) -> T) -> T {
    const TOOLS: [&str; 8] = [
        "vm_stop",
        "vm_start",
        "service_stop",
        "service_restart",
        "dataset_list",
        "vm_list",
        "alert_list",
        "pool_status",
    ];
    let tool = TOOLS
        .get(spread(number)[0] as usize % TOOLS.len())
        .copied()
        .unwrap_or("vm_stop");
    let id = spread(number)[1];
    let arguments = format!(
        "{{\"category\":\"vm\",\"action\":\"{tool}\",\"params\":{{\"id\":{id},\"force\":false}}}}"
    );
    let effective = format!("{{\"id\":{id},\"force\":false}}");
    let session = format!("s-{:06}", number / 400);
    let request_id = format!("{}", number % 400);
    let counter = format!("nas/grant/ops-agent/{tool}/{tool}_rate/60");
    let allow = !id.is_multiple_of(16);
    let call = Call {
        call_id: spread(number),
        received_at: NOON + number * 900 - 40,
        server: Some("truenas"),
        grant: Some(if id.is_multiple_of(3) {
            "ops-agent"
        } else {
            "watch-agent"
        }),
        session: Some(&session),
        client_name: Some("claude-code"),
        client_version: Some("2.1.0"),
        client_address: Some("127.0.0.1"),
        protocol: Some("2025-11-25"),
        method: Some("tools/call"),
        wire_tool: Some("truenas"),
        tool: Some(tool),
        risk: Some("execute"),
        request_id: Some(&request_id),
        request_bytes: Some(160),
        arguments: Some(&arguments),
        effective_arguments: Some(&effective),
        arguments_digest: Some(spread(i64::from(id))),
        verdict: if allow { Verdict::Allow } else { Verdict::Deny },
        reason: Some(if allow { "allowed" } else { "limit_exceeded" }),
        rule: Some(if allow {
            ""
        } else {
            "/tools/vm_stop/limits/vm_stop_rate"
        }),
        via: vec!["truenas", tool],
        policy_digest: Some(POLICY),
        resolver_digest: Some(RESOLVER),
        engine: Some("1"),
        limit_counts: vec![LimitCount {
            counter: &counter,
            value: number % 10,
        }],
        decide_ns: Some(300 + (number % 200) as i32),
        ..Call::default()
    };
    then(&call)
}

/// Sixteen bytes that look random.
fn spread(number: i64) -> [u8; 16] {
    let mut x = (number as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^= x >> 31;
        x.to_le_bytes()
    };
    let mut bytes = [0; 16];
    let (low, high) = bytes.split_at_mut(8);
    low.copy_from_slice(&next());
    high.copy_from_slice(&next());
    bytes
}
