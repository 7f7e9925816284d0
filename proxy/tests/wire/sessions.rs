//! Sessions belong to the grant that opened them.

use http_body_util::Full;
use serde_json::json;

use crate::rig::{OTHER_TOKEN, Proxy, Server, call, folder, policy};

#[tokio::test]
async fn a_session_of_another_grant_is_no_session() {
    let server = Server::start().await;
    let folder = folder(&server.url, &policy());
    let proxy = Proxy::start(folder.path()).await;
    let hello = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": { "protocolVersion": "2025-06-18",
        "capabilities": {}, "clientInfo": { "name": "claude", "version": "9" } } });
    let request = proxy
        .request("")
        .header("x-request-id", "session-of-ops")
        .body(Full::new(hello.to_string().into()));
    let reply = proxy.send(request.unwrap()).await;
    assert_eq!(reply.headers["mcp-session-id"], "session-of-ops");

    let in_session = |token: Option<&str>, id: &str| {
        let request = proxy
            .request("")
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
