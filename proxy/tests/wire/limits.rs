//! Limits over the wire: under concurrency, across a window's end, across a restart.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::rig::{Proxy, Server, configure_limits, folder, policy};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn thirty_two_connections_never_get_more_than_the_limit_in_a_window() {
    let server = Server::start().await;
    let max = 25;
    let rules = json!({ "version": "1", "default": "deny", "tools": { "vm_stop": {
        "limits": [{ "counter": "vm_stop_rate", "window": 2, "max": max, "scope": "grant" }] } } });
    let folder = folder(&server.url, &rules);
    let proxies = Arc::new(Proxy::start(folder.path()).await);
    let until = SystemTime::now() + Duration::from_secs(5);
    let mut agents = Vec::new();
    for agent in 0..32 {
        let proxy = Arc::clone(&proxies);
        agents.push(tokio::spawn(async move {
            let (mut allowed, mut denied) = (0, 0);
            while SystemTime::now() < until {
                let reply = proxy.call("vm_stop", json!({ "id": agent })).await;
                if reply.is_denied() {
                    denied += 1;
                } else {
                    allowed += 1;
                }
            }
            (allowed, denied)
        }));
    }
    let (mut allowed, mut denied) = (0, 0);
    for agent in agents {
        let (a, d) = agent.await.unwrap();
        allowed += a;
        denied += d;
    }
    assert!(
        denied > 0 && allowed > max,
        "{allowed} allowed, {denied} denied"
    );
    assert_eq!(server.tools().len(), allowed);
    // By the record's own times, no window holds more than the limit, and full windows hold exactly that.
    let reader = weir_recorder::RecordReader::open(folder.path().join("record")).unwrap();
    let mut windows = std::collections::BTreeMap::<i64, usize>::new();
    for batch in reader.calls(weir_recorder::CallRows::COLUMNS).unwrap() {
        let batch = batch.unwrap();
        for row in weir_recorder::CallRows::new(&batch).unwrap().iter() {
            if row.verdict == weir_recorder::Verdict::Allow {
                *windows
                    .entry(row.decided_at.div_euclid(2_000_000))
                    .or_default() += 1;
            }
        }
    }
    assert!(
        windows.len() >= 2,
        "the test spans a window's end: {windows:?}"
    );
    assert!(windows.values().all(|count| *count <= max), "{windows:?}");
    assert_eq!(windows.values().sum::<usize>(), allowed);
    Arc::into_inner(proxies).unwrap().stop().await;
}

#[tokio::test]
async fn a_restart_gives_nobody_a_fresh_budget() {
    let hour = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs()
            / 3600
    };
    let server = Server::start().await;
    let folder = folder(&server.url, &policy());
    let began = hour();
    let proxy = Proxy::start(folder.path()).await;
    for _ in 0..2 {
        assert!(!proxy.call("vm_stop", json!({ "id": 1 })).await.is_denied());
    }
    proxy.stop().await;
    let proxy = Proxy::start(folder.path()).await;
    let third = proxy.call("vm_stop", json!({ "id": 1 })).await;
    let fourth = proxy.call("vm_stop", json!({ "id": 1 })).await;
    if hour() == began {
        assert!(!third.is_denied());
        assert!(fourth.is_denied());
        assert!(
            fourth.json()["result"]["_meta"]["weir/retry_after_ms"]
                .as_u64()
                .unwrap()
                > 0
        );
        assert_eq!(server.tools().len(), 3);
    }
    proxy.stop().await;
}

#[tokio::test]
async fn a_request_too_many_is_told_so_and_leaves_a_row() {
    let server = Server::start().await;
    let folder = folder(&server.url, &policy());
    configure_limits(folder.path(), "in_flight_max = 1");
    let proxy = Arc::new(Proxy::start(folder.path()).await);
    let slow = {
        let proxy = Arc::clone(&proxy);
        tokio::spawn(async move { proxy.call("slow", json!({})).await })
    };
    server.arrived.notified().await;
    let refused = proxy.call("vm_list", json!({})).await;
    assert_eq!(refused.status, 503);
    assert_eq!(refused.headers["retry-after"], "1");
    server.go_on.notify_one();
    assert_eq!(slow.await.unwrap().status, 200);
    assert_eq!(server.tools(), ["slow"]);
    let rows = proxy.rows();
    let refused: Vec<_> = rows.iter().map(|row| &*row.rule).collect();
    assert_eq!(refused, ["", "(malformed)"]);
    let metrics = proxy.admin("/metrics").await;
    assert!(metrics.contains(r#"reason="in_flight_max""#), "{metrics}");
    let proxy = Arc::into_inner(proxy).unwrap();
    proxy.stop().await;
}
