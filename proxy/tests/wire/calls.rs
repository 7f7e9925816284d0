//! Calls that pass, calls that do not, and what the client, the server and the record see of them.

use http_body_util::Full;
use serde_json::json;
use weir_policy::Digest;

use crate::rig::{Proxy, Server, TOKEN, call, events, folder, policy, soon};

#[tokio::test]
async fn an_allowed_call_reaches_the_server_byte_for_byte_and_is_in_the_record() {
    let server = Server::start().await;
    let folder = folder(&server.url, &policy());
    let proxy = Proxy::start(folder.path()).await;
    let body = r#"{ "id" : 18446744073709551617e0, "jsonrpc":"2.0", "method":"tools/call","params":{"name":"vm_list","arguments":{"n":1.50}}}"#
        .replace("18446744073709551617e0", "9007199254740993");
    let reply = proxy.post(body.clone()).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.json()["result"]["content"][0]["text"], "did vm_list");
    let log = server.log();
    assert_eq!(log.len(), 1);
    assert_eq!(log[0].body, body.as_bytes());
    assert_eq!(log[0].headers["authorization"], "Bearer upstream-secret");
    soon(|| proxy.rows().iter().any(|row| row.outcome == "ok")).await;
    let row = proxy.rows()[0].clone();
    assert_eq!(
        (row.verdict.as_str(), row.tool.as_str(), row.grant.as_str()),
        ("allow", "vm_list", "ops")
    );
    assert_eq!(row.arguments, r#"{"n":1.50}"#);
    proxy.stop().await;
}

#[tokio::test]
async fn a_call_names_the_definition_that_its_caller_was_told() {
    let server = Server::start().await;
    let folder = folder(&server.url, &policy());
    let proxy = Proxy::start(folder.path()).await;
    proxy.call("vm_list", json!({})).await;
    for _ in 0..2 {
        let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
        proxy.post(list).await;
    }
    proxy.call("vm_list", json!({})).await;
    soon(|| proxy.rows().len() == 4).await;
    let rows = proxy.rows();
    let defined = Digest::of(br#"{"name":"vm_list"}"#).to_string();
    assert_eq!(
        (&*rows[0].definition, &*rows[3].definition),
        ("", &*defined)
    );
    let told = events(folder.path());
    let told = told.iter().filter(|kind| *kind == "tool_definition");
    assert_eq!(told.count(), 3, "each tool once, hidden ones included");
    proxy.stop().await;
}

#[tokio::test]
async fn a_denied_call_is_a_tool_result_that_names_its_rule() {
    let server = Server::start().await;
    let folder = folder(&server.url, &policy());
    let proxy = Proxy::start(folder.path()).await;
    let reply = proxy
        .call("vm_stop", json!({ "id": 7, "force": true }))
        .await;
    assert_eq!(reply.status, 200);
    let result = &reply.json()["result"];
    assert_eq!(result["isError"], true);
    assert_eq!(
        result["content"][0]["text"],
        "[POLICY DENIED] Forced power-off needs a person."
    );
    assert_eq!(
        result["_meta"]["weir/rule"],
        "/tools/vm_stop/deny_if/args.force-eq"
    );
    assert!(result["_meta"]["weir/call"].is_string());
    assert!(result.get("resultType").is_none());
    assert!(server.log().is_empty());
    let rows = proxy.rows();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].rule, "/tools/vm_stop/deny_if/args.force-eq");
    proxy.stop().await;
}

#[tokio::test]
async fn a_modern_denial_is_complete_and_comes_as_an_event_to_those_who_take_only_events() {
    let server = Server::start().await;
    let folder = folder(&server.url, &policy());
    let proxy = Proxy::start(folder.path()).await;
    let body = json!({ "jsonrpc": "2.0", "id": "a", "method": "tools/call", "params": { "name": "nothing",
        "_meta": { "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientInfo": { "name": "agent", "version": "2" } } } });
    let request = proxy
        .request()
        .header("mcp-method", "tools/call")
        .header("mcp-name", "nothing");
    let reply = proxy
        .send(request.body(Full::new(body.to_string().into())).unwrap())
        .await;
    assert_eq!(reply.json()["result"]["resultType"], "complete");
    assert_eq!(reply.json()["id"], "a");

    let mut request = proxy
        .request()
        .body(Full::new(body.to_string().into()))
        .unwrap();
    request
        .headers_mut()
        .insert("accept", "text/event-stream".parse().unwrap());
    let reply = proxy.send(request).await;
    assert_eq!(reply.headers["content-type"], "text/event-stream");
    let text = String::from_utf8(reply.body.to_vec()).unwrap();
    assert!(
        text.starts_with("event: message\ndata: {") && text.ends_with("}\n\n"),
        "{text}"
    );
    assert_eq!(proxy.rows()[0].client_name, "agent");
    proxy.stop().await;
}

#[tokio::test]
async fn what_is_not_a_tool_call_is_denied_as_an_error() {
    let server = Server::start().await;
    let folder = folder(&server.url, &policy());
    let proxy = Proxy::start(folder.path()).await;
    for (method, params) in [
        ("resources/read", json!({ "uri": "truenas://sharing" })),
        ("prompts/get", json!({ "name": "x" })),
        ("vendor/secret", json!({})),
    ] {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let reply = proxy.post(body.to_string()).await;
        assert_eq!(
            (
                reply.status.as_u16(),
                reply.json()["error"]["code"].as_i64()
            ),
            (200, Some(-31001)),
            "{method}"
        );
    }
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": { "uri": "truenas://vms" } });
    assert!(proxy.post(body.to_string()).await.json()["result"].is_object());
    assert_eq!(server.log().len(), 1);
    assert_eq!(proxy.rows().len(), 4);
    proxy.stop().await;
}

#[tokio::test]
async fn a_notification_that_policy_denies_goes_nowhere() {
    let server = Server::start().await;
    let folder = folder(&server.url, &policy());
    let proxy = Proxy::start(folder.path()).await;
    let reply = proxy
        .post(r#"{"jsonrpc":"2.0","method":"notifications/vendor"}"#)
        .await;
    assert_eq!(reply.status, 202);
    assert!(server.log().is_empty());
    let reply = proxy
        .post(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#)
        .await;
    assert_eq!(reply.status, 202);
    assert_eq!(server.log().len(), 1);
    proxy.stop().await;
}

#[tokio::test]
async fn hidden_tools_are_left_out_of_the_list_and_denied() {
    let server = Server::start().await;
    let folder = folder(&server.url, &policy());
    let proxy = Proxy::start(folder.path()).await;
    let reply = proxy
        .post(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#)
        .await;
    let listed = reply.json()["result"]["tools"].to_string();
    assert!(
        listed.contains("vm_stop") && !listed.contains("vm_delete"),
        "{listed}"
    );
    assert!(String::from_utf8_lossy(&reply.body).contains(r#""kept":1.0"#));
    assert!(proxy.call("vm_delete", json!({})).await.is_denied());
    assert_eq!(proxy.rows().last().unwrap().rule, "(hidden)");
    proxy.stop().await;
}

#[tokio::test]
async fn outcomes_are_what_the_server_said() {
    let server = Server::start().await;
    let folder = folder(&server.url, &policy());
    let proxy = Proxy::start(folder.path()).await;
    for tool in ["vm_list", "fails", "refuses", "streams"] {
        let reply = proxy.call(tool, json!({})).await;
        assert_eq!(reply.status, 200, "{tool}");
        if tool == "streams" {
            let text = String::from_utf8(reply.body.to_vec()).unwrap();
            assert!(
                text.starts_with(": hello\n\nevent: message\ndata: ")
                    && text.contains("id: 7\ndata: "),
                "{text}"
            );
        }
    }
    soon(|| {
        proxy
            .rows()
            .iter()
            .filter(|row| !["", "unknown"].contains(&row.outcome.as_str()))
            .count()
            == 4
    })
    .await;
    let outcomes: Vec<String> = proxy.rows().into_iter().map(|row| row.outcome).collect();
    assert_eq!(outcomes, ["ok", "tool_error", "rpc_error", "ok"]);
    proxy.stop().await;
}

#[tokio::test]
async fn a_server_that_is_not_there_costs_no_budget() {
    let folder = folder("http://127.0.0.1:1/mcp", &policy());
    let proxy = Proxy::start(folder.path()).await;
    for _ in 0..5 {
        let reply = proxy.call("vm_stop", json!({ "id": 1 })).await;
        assert_eq!(
            (
                reply.status.as_u16(),
                reply.json()["error"]["code"].as_i64()
            ),
            (200, Some(-31502))
        );
    }
    soon(|| {
        proxy
            .rows()
            .iter()
            .filter(|row| row.outcome == "unreachable")
            .count()
            == 5
    })
    .await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_grant_without_policy_may_nothing() {
    let server = Server::start().await;
    let folder = folder(&server.url, &policy());
    let proxy = Proxy::start(folder.path()).await;
    let mut request = proxy
        .request()
        .body(Full::new(call("vm_list", &json!({})).into()))
        .unwrap();
    request.headers_mut().insert(
        "authorization",
        format!("Bearer {}", crate::rig::OTHER_TOKEN)
            .parse()
            .unwrap(),
    );
    assert!(proxy.send(request).await.is_denied());
    assert_eq!(
        (
            proxy.rows()[0].rule.as_str(),
            proxy.rows()[0].grant.as_str()
        ),
        ("(no policy)", "dev")
    );
    assert!(server.log().is_empty());
    proxy.stop().await;
}

#[tokio::test]
async fn only_the_right_token_host_path_and_method_come_in() {
    let server = Server::start().await;
    let folder = folder(&server.url, &policy());
    let proxy = Proxy::start(folder.path()).await;
    let body = || Full::new(call("vm_list", &json!({})).into());
    let mut wrong = proxy.request().body(body()).unwrap();
    wrong
        .headers_mut()
        .insert("authorization", format!("Bearer {TOKEN}x").parse().unwrap());
    let reply = proxy.send(wrong).await;
    assert_eq!(reply.status, 401);
    assert!(
        reply.headers["www-authenticate"]
            .to_str()
            .unwrap()
            .starts_with("Bearer")
    );

    let mut elsewhere = proxy.request().body(body()).unwrap();
    *elsewhere.uri_mut() = format!("https://{}/other", proxy.ready.address)
        .parse()
        .unwrap();
    assert_eq!(proxy.send(elsewhere).await.status, 404);

    let mut put = proxy.request().body(body()).unwrap();
    *put.method_mut() = http::Method::PUT;
    assert_eq!(proxy.send(put).await.status, 405);

    let page = proxy
        .request()
        .header("origin", "https://evil.example")
        .body(body())
        .unwrap();
    assert_eq!(proxy.send(page).await.status, 403);
    let rebound = proxy
        .request()
        .header("host", "evil.example")
        .body(body())
        .unwrap();
    assert_eq!(proxy.send(rebound).await.status, 403);
    assert!(server.log().is_empty());
    let rows = proxy.rows();
    assert_eq!(rows.len(), 4, "one for each that carried the token");
    assert!(
        rows.iter()
            .all(|row| (row.verdict.as_str(), row.rule.as_str()) == ("deny", "(malformed)"))
    );
    proxy.stop().await;
}
