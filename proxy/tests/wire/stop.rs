//! The stop: calls under way are finished, streams end, nothing is lost.

use std::sync::Arc;

use http_body_util::Full;
use serde_json::json;

use crate::rig::{Proxy, Server, client, events, folder, policy, rows};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_under_way_is_finished_and_sealed() {
    let server = Server::start().await;
    let folder = folder(&server.url, &policy());
    let mut proxy = Proxy::start(folder.path()).await;
    // A legacy stream is open, and must not hold the stop up.
    let stream = proxy.request().method("GET").body(Full::default()).unwrap();
    let _open = proxy.open(stream).await;
    let request = proxy
        .request()
        .body(Full::new(crate::rig::call("slow", &json!({})).into()))
        .unwrap();
    let (arrived, go_on) = (Arc::clone(&server.arrived), Arc::clone(&server.go_on));
    let stopping = async {
        arrived.notified().await;
        proxy.begin_stop();
        go_on.notify_one();
    };
    // The request must outlive the handle that stops, so it is sent by a client of its own.
    let own = client(&folder.path().join("state/ca.pem"));
    let (reply, ()) = tokio::join!(own.request(request), stopping);
    assert_eq!(reply.unwrap().status(), 200);
    proxy.stop().await;
    let rows = rows(folder.path());
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (rows[0].tool.as_str(), rows[0].outcome.as_str()),
        ("slow", "ok")
    );
    let events = events(folder.path());
    assert_eq!(events.first().map(String::as_str), Some("start"));
    assert_eq!(events.last().map(String::as_str), Some("stop"));
    let reader = weir_recorder::RecordReader::open(folder.path().join("record")).unwrap();
    assert_eq!(reader.live().unwrap().num_rows(), 0, "everything is sealed");
    assert_eq!(reader.segments().unwrap().len(), 1);
}

#[tokio::test]
async fn a_taken_port_and_a_missing_file_are_one_clear_line() {
    let server = Server::start().await;
    let folder = folder(&server.url, &policy());
    let proxy = Proxy::start(folder.path()).await;
    let other = crate::rig::folder(&server.url, &policy());
    let config = other.path().join("weir.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let taken = text.replacen("127.0.0.1:0", &proxy.ready.address.to_string(), 1);
    std::fs::write(&config, taken).unwrap();
    let error = weir_proxy::serve(
        weir_proxy::Config::load(&config).unwrap(),
        |_| panic!("cannot be ready"),
        async {},
    )
    .await;
    let error = error.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "cannot listen on {}: another program listens there already",
            proxy.ready.address
        )
    );
    assert_eq!(error.fault(), weir_proxy::Fault::Operator);

    std::fs::write(
        &config,
        text.replacen("path = \"record\"", "path = \"weir.toml/record\"", 1),
    )
    .unwrap();
    let error = weir_proxy::serve(
        weir_proxy::Config::load(&config).unwrap(),
        |_| panic!("cannot be ready"),
        async {},
    )
    .await;
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("weir.toml") && error.lines().count() == 1,
        "{error}"
    );
    proxy.stop().await;
}

#[tokio::test]
async fn one_record_has_one_writer() {
    let server = Server::start().await;
    let folder = folder(&server.url, &policy());
    let proxy = Proxy::start(folder.path()).await;
    let config = weir_proxy::Config::load(&folder.path().join("weir.toml")).unwrap();
    let error = weir_proxy::serve(config, |_| panic!("cannot be ready"), async {})
        .await
        .unwrap_err();
    assert!(error.to_string().contains("in use"), "{error}");
    proxy.stop().await;
}

#[tokio::test]
async fn health_and_metrics_tell_what_is_recorded() {
    let server = Server::start().await;
    let folder = folder(&server.url, &policy());
    let proxy = Proxy::start(folder.path()).await;
    proxy.call("vm_list", json!({})).await;
    proxy.call("vm_delete", json!({})).await;
    let health: serde_json::Value = serde_json::from_str(&proxy.admin("/healthz").await).unwrap();
    assert_eq!(
        (
            health["status"].as_str(),
            health["record"]["recording"].as_bool()
        ),
        (Some("ok"), Some(true))
    );
    assert!(health["record"]["disk_left_bytes"].as_u64().unwrap() > 0);
    let room = &health["record"]["room"];
    let bytes = |name: &str| room[name].as_u64().unwrap();
    assert_eq!(bytes("reserve_bytes"), 64 << 20);
    assert!(bytes("used_bytes") > bytes("reserve_bytes"), "{room}");
    assert!(
        bytes("left_bytes") > 0 && bytes("bytes_max") > bytes("used_bytes"),
        "{room}"
    );
    let metrics = proxy.admin("/metrics").await;
    for name in ["used_bytes", "reserve_bytes", "left_bytes", "bytes_max"] {
        assert!(
            metrics.contains(&format!("weir_record_{name} ")),
            "{metrics}"
        );
    }
    assert!(metrics.contains("weir_calls_total{server=\"nas\",grant=\"ops\",tool=\"vm_delete\",verdict=\"deny\",reason=\"hidden\"} 1"), "{metrics}");
    assert!(
        metrics.contains("mcp_server_operation_duration_seconds_count"),
        "{metrics}"
    );
    proxy.stop().await;
}
