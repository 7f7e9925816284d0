//! Questions about agents that go around, look around, or try what is new to them.

use super::{Asked, DAY, HOUR, MINUTE, NOON, OPEN, POLICY, SECOND, ask, column, scribe, stop};

#[tokio::test]
async fn altered_finds_the_second_try_with_other_arguments() {
    const LIMITED: &str = r#"{"version":"1","default":"allow","tools":{"vm_stop":{
      "deny_if":[{"conditions":[{"path":"args.force","op":"eq","value":true}]}],
      "limits":[{"counter":"stops","window":"minute","max":2}]}}}"#;
    let mut scribe = scribe();
    let policy = scribe.policy(LIMITED);
    let forced = stop(r#"{"id":7,"force":true}"#);
    scribe.ended(NOON, Some(&policy), forced);
    scribe.ended(NOON + SECOND, Some(&policy), Asked::tool("vm_list", "{}"));
    scribe.ended(NOON + 9 * SECOND, Some(&policy), stop(r#"{"id":7}"#));
    scribe.ended(NOON + 10 * SECOND, Some(&policy), stop(r#"{"id":8}"#));
    // Denied by a limit, and again later: nothing was altered to get through.
    scribe.ended(NOON + 11 * SECOND, Some(&policy), stop(r#"{"id":9}"#));
    scribe.ended(NOON + 2 * MINUTE, Some(&policy), stop(r#"{"id":4}"#));
    // Another session; too late; never allowed.
    scribe.ended(
        NOON + HOUR,
        Some(&policy),
        Asked {
            session: "s2",
            ..forced
        },
    );
    scribe.ended(NOON + HOUR + SECOND, Some(&policy), stop(r#"{"id":7}"#));
    let late = Asked {
        session: "s3",
        ..forced
    };
    scribe.ended(NOON + 2 * HOUR, Some(&policy), late);
    scribe.ended(
        NOON + 2 * HOUR + 11 * MINUTE,
        Some(&policy),
        Asked {
            arguments: r#"{"id":7}"#,
            ..late
        },
    );
    let found = ask(&scribe.close(), "altered", &[]).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0]["denied"], r#"{"id":7,"force":true}"#);
    assert_eq!(found[0]["allowed"], r#"{"id":7}"#);
    assert_eq!(found[0]["rule"], "/tools/vm_stop/deny_if/args.force-eq");
}

#[tokio::test]
async fn detours_finds_the_other_tool_at_the_same_target() {
    let mut scribe = scribe();
    let policy = scribe.policy(POLICY);
    scribe.ended(NOON, Some(&policy), stop(r#"{"id":7,"force":true}"#));
    // A look at it, and the same tool at another: neither goes around the denial.
    scribe.ended(
        NOON + SECOND,
        Some(&policy),
        Asked::tool("vm_get", r#"{"id":7}"#),
    );
    scribe.ended(
        NOON + 2 * SECOND,
        Some(&policy),
        Asked::tool("vm_reset", r#"{"id":8}"#),
    );
    scribe.ended(NOON + 3 * SECOND, Some(&policy), stop(r#"{"id":7}"#));
    scribe.ended(
        NOON + 30 * SECOND,
        Some(&policy),
        Asked::tool("vm_suspend", r#"{"id":7}"#),
    );
    scribe.ended(
        NOON + 31 * SECOND,
        Some(&policy),
        Asked::tool("vm_reset", r#"{"id":7}"#),
    );
    let found = ask(&scribe.close(), "detours", &[]).await;
    assert_eq!(column(&found, "allowed"), ["vm_suspend"]);
    assert_eq!(column(&found, "denied"), ["vm_stop"]);
    assert_eq!(column(&found, "target"), ["7"]);
}

#[tokio::test]
async fn scouting_finds_the_delete_after_many_reads_and_not_the_one_in_daily_work() {
    let mut scribe = scribe();
    let policy = scribe.policy(OPEN);
    let of = |session, tool| Asked {
        session,
        ..Asked::tool(tool, r#"{"id":7}"#)
    };
    for turn in 0..20 {
        scribe.ended(NOON + turn * SECOND, Some(&policy), of("scout", "vm_get"));
        // One fewer; and as many in another session than the one that destroys.
        let session = if turn == 0 { "reader" } else { "worker" };
        scribe.ended(NOON + turn * SECOND, Some(&policy), of(session, "vm_get"));
    }
    for session in ["scout", "worker", "other"] {
        scribe.ended(NOON + MINUTE, Some(&policy), of(session, "vm_delete"));
    }
    // As many reads, over hours.
    for turn in 0..20 {
        let at = NOON + HOUR + turn * 10 * MINUTE;
        scribe.ended(at, Some(&policy), of("slow", "vm_get"));
    }
    let at = NOON + HOUR + 191 * MINUTE;
    scribe.ended(at, Some(&policy), of("slow", "vm_delete"));
    let record = scribe.close();
    let found = ask(&record, "scouting", &[]).await;
    assert_eq!(column(&found, "session"), ["scout"], "{found:?}");
    assert_eq!(found[0]["reads"], 20);
    assert_eq!(ask(&record, "scouting", &[("least", "19")]).await.len(), 2);
}

#[tokio::test]
async fn firsts_tells_the_first_use_and_not_the_first_in_the_range() {
    let mut scribe = scribe();
    let policy = scribe.policy(POLICY);
    scribe.ended(NOON, Some(&policy), stop(r#"{"id":7}"#));
    scribe.ended(NOON + DAY, Some(&policy), stop(r#"{"id":7}"#));
    let night = Asked {
        grant: "night-agent",
        ..stop(r#"{"id":7}"#)
    };
    scribe.ended(NOON + DAY + MINUTE, Some(&policy), night);
    scribe.ended(NOON + DAY + HOUR, Some(&policy), night);
    let record = scribe.close();
    let found = ask(&record, "firsts", &[("from", "2026-11-24")]).await;
    assert_eq!(column(&found, "grant"), ["night-agent"]);
    assert_eq!(found[0]["first"], "2026-11-24T12:01:00.000000Z");
    assert_eq!(found[0]["calls"], 2);
    assert_eq!(ask(&record, "firsts", &[]).await.len(), 2);
}

#[tokio::test]
async fn keys_finds_the_argument_nobody_used_before_this_week() {
    let mut scribe = scribe();
    let policy = scribe.policy(OPEN);
    scribe.ended(NOON, Some(&policy), stop(r#"{"id":7,"wait":true}"#));
    let later = NOON + 10 * DAY;
    scribe.ended(later, Some(&policy), stop(r#"{"id":7}"#));
    scribe.ended(
        later + HOUR,
        Some(&policy),
        stop(r#"{"wait":false,"id":7}"#),
    );
    let night = Asked {
        grant: "night-agent",
        ..stop(r#"{"id":7,"force":{"really":true}}"#)
    };
    scribe.ended(later + 2 * HOUR, Some(&policy), night);
    scribe.ended(
        later + 3 * HOUR,
        Some(&policy),
        stop(r#"{"id":7,"force":true}"#),
    );
    // A tool that is new as a whole.
    scribe.ended(
        later + 4 * HOUR,
        Some(&policy),
        Asked::tool("vm_export", r#"{"path":"/x"}"#),
    );
    let found = ask(&scribe.close(), "keys", &[]).await;
    assert_eq!(column(&found, "key"), ["force"]);
    assert_eq!(column(&found, "grant"), ["night-agent"]);
    assert_eq!(found[0]["calls"], 2);
}

#[tokio::test]
async fn addresses_finds_the_token_that_is_used_elsewhere_too() {
    let mut scribe = scribe();
    let policy = scribe.policy(OPEN);
    for session in ["s1", "away", "s2"] {
        let asked = Asked {
            session,
            ..Asked::tool("vm_list", "{}")
        };
        scribe.ended(NOON, Some(&policy), asked);
        let home = Asked {
            grant: "home",
            session: "s1",
            ..asked
        };
        scribe.ended(NOON, Some(&policy), home);
    }
    let found = ask(&scribe.close(), "addresses", &[]).await;
    assert_eq!(column(&found, "grant"), ["ops-agent", "ops-agent"]);
    assert_eq!(column(&found, "address"), ["10.0.0.1", "10.0.0.99"]);
    assert_eq!(column(&found, "sessions"), ["2", "1"]);
}
