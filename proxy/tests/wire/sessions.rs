//! Sessions belong to the grant that opened them; what hanging up means in each era; what servers ask of clients.

use http_body_util::Full;
use serde_json::json;

use crate::rig::{OTHER_TOKEN, Proxy, Server, call, folder, policy, soon};

#[tokio::test]
async fn a_session_of_another_grant_is_no_session() {
    let server = Server::start().await;
    let folder = folder(&server.url, &policy());
    let proxy = Proxy::start(folder.path()).await;
    let hello = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": { "protocolVersion": "2025-06-18",
        "capabilities": {}, "clientInfo": { "name": "claude", "version": "9" } } });
    let request = proxy
        .request()
        .header("x-request-id", "session-of-ops")
        .body(Full::new(hello.to_string().into()));
    let reply = proxy.send(request.unwrap()).await;
    assert_eq!(reply.headers["mcp-session-id"], "session-of-ops");

    let in_session = |token: Option<&str>, id: &str| {
        let request = proxy
            .request()
            .header("mcp-session-id", id)
            .body(Full::new(call("vm_list", &json!({})).into()));
        let mut request = request.unwrap();
        if let Some(token) = token {
            request
                .headers_mut()
                .insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        request
    };
    assert_eq!(
        proxy.send(in_session(None, "session-of-ops")).await.status,
        200
    );
    assert_eq!(
        proxy
            .send(in_session(Some(OTHER_TOKEN), "session-of-ops"))
            .await
            .status,
        404
    );
    assert_eq!(
        proxy.send(in_session(None, "never-opened")).await.status,
        404
    );
    assert_eq!(server.tools(), ["vm_list"]);

    let row = proxy
        .rows()
        .into_iter()
        .find(|row| row.tool == "vm_list")
        .unwrap();
    assert_eq!(
        (row.session.as_str(), row.client_name.as_str()),
        ("session-of-ops", "claude")
    );

    let mut end = in_session(None, "session-of-ops");
    *end.method_mut() = http::Method::DELETE;
    *end.body_mut() = Full::default();
    proxy.send(end).await;
    assert_eq!(
        proxy.send(in_session(None, "session-of-ops")).await.status,
        404
    );
    proxy.stop().await;
}

/// Calls `slow` and hangs up once it has reached the server.
async fn hang_up(proxy: &Proxy, server: &Server, meta: &serde_json::Value) {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "slow", "_meta": meta } });
    let request = proxy
        .request()
        .body(Full::new(body.to_string().into()))
        .unwrap();
    tokio::select! {
        _ = proxy.open(request) => panic!("`slow` answered by itself"),
        () = server.arrived.notified() => {}
    }
}

#[tokio::test]
async fn hanging_up_cancels_a_modern_call_and_not_a_legacy_one() {
    let server = Server::start().await;
    let folder = folder(&server.url, &policy());
    let proxy = Proxy::start(folder.path()).await;
    let modern = json!({ "io.modelcontextprotocol/protocolVersion": "2026-07-28" });
    hang_up(&proxy, &server, &modern).await;
    soon(|| {
        proxy
            .rows()
            .first()
            .is_some_and(|row| row.outcome == "cancelled")
    })
    .await;
    hang_up(&proxy, &server, &json!({})).await;
    // Whichever of the two the server still holds, both are told to go on.
    server.go_on.notify_one();
    server.go_on.notify_waiters();
    soon(|| proxy.rows().get(1).is_some_and(|row| row.outcome == "ok")).await;
    proxy.stop().await;
}

#[tokio::test]
async fn sampling_with_tools_follows_the_policy_and_the_server_is_told() {
    let server = Server::start().await;
    let folder = folder(&server.url, &policy());
    let proxy = Proxy::start(folder.path()).await;
    let reply = proxy.call("samples", json!({})).await;
    let text = String::from_utf8(reply.body.to_vec()).unwrap();
    assert!(
        !text.contains("sampling") && text.contains("roots/list") && text.contains("did samples"),
        "{text}"
    );
    soon(|| {
        let told = |body: &[u8]| String::from_utf8_lossy(body).contains(r#""id":99,"error""#);
        server.log().iter().any(|reached| told(&reached.body))
    })
    .await;
    // what passes without a policy is recorded without waiting: it is there soon
    let from_server = || {
        let rows = proxy.rows().into_iter();
        rows.filter(|row| row.direction == "server")
    };
    soon(|| from_server().count() == 2).await;
    let asked: Vec<_> = from_server()
        .map(|row| (row.method, row.verdict, row.rule))
        .collect();
    let row =
        |method: &str, verdict: &str, rule: &str| (method.into(), verdict.into(), rule.into());
    assert_eq!(
        asked,
        [
            row("sampling/createMessage", "deny", "(default deny)"),
            row("roots/list", "allow", "")
        ]
    );
    proxy.stop().await;
}
