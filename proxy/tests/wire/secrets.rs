//! Secrets don't leak (invariant I9): a canary in tokens, headers and arguments is found in no metric, health page, error or
//! denial, and towards the server only where it belongs.

use std::sync::{Arc, Mutex};

use http_body_util::Full;
use serde_json::json;

use crate::rig::{Proxy, Server, TOKEN, call, folder, policy};

const CANARY: &str = "canary-5f1c9e";

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_canary_is_found_in_no_log_metric_error_or_denial() {
    let captured = Captured::default();
    let writer = captured.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);

    let server = Server::start().await;
    let folder = folder(&server.url, &policy());
    let proxy = Proxy::start(folder.path()).await;
    let mut said = String::new();
    for body in [
        call("vm_list", &json!({ "password": CANARY })),
        call("vm_stop", &json!({ "id": CANARY, "force": true })),
        format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{{\"name\":\"x\",\"name\":\"{CANARY}\"}}}}"
        ),
        format!("{CANARY} is no JSON"),
    ] {
        let request = proxy
            .request()
            .header("cookie", CANARY)
            .header("x-secret", CANARY)
            .body(Full::new(body.into()));
        said.push_str(&String::from_utf8_lossy(
            &proxy.send(request.unwrap()).await.body,
        ));
    }
    let mut wrong = proxy
        .request()
        .body(Full::new(call("vm_list", &json!({})).into()))
        .unwrap();
    wrong
        .headers_mut()
        .insert("authorization", format!("Bearer {CANARY}").parse().unwrap());
    said.push_str(&String::from_utf8_lossy(&proxy.send(wrong).await.body));
    said.push_str(&proxy.admin("/metrics").await);
    said.push_str(&proxy.admin("/healthz").await);
    for secret in [CANARY, TOKEN, "upstream-secret"] {
        assert!(!said.contains(secret), "`{secret}` in {said}");
    }
    for reached in server.log() {
        let headers = format!("{:?}", reached.headers);
        assert!(
            !headers.contains(CANARY) && !headers.contains(TOKEN),
            "{headers}"
        );
    }
    proxy.stop().await;
    let log = String::from_utf8_lossy(&captured.0.lock().unwrap()).into_owned();
    // hyper, h2 and rustls trace what they carry; ours may not, at any level.
    let ours: Vec<&str> = log.lines().filter(|line| line.contains("weir_")).collect();
    assert!(!ours.is_empty());
    for secret in [CANARY, TOKEN, "upstream-secret"] {
        assert!(
            !ours.iter().any(|line| line.contains(secret)),
            "`{secret}` in the log"
        );
    }
}
