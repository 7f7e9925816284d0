//! Messages that can be read in two ways: none reaches the server, each is in the record.

use futures_util::future::join_all;
use http_body_util::Full;
use serde_json::json;

use crate::rig::{Proxy, Server, call, events, folder, soon};

#[tokio::test]
async fn no_hostile_message_reaches_the_server_and_each_is_recorded() {
    let server = Server::start().await;
    let folder = folder(
        &server.url,
        &json!({ "version": "1", "default": "allow", "tools": {} }),
    );
    let config = folder.path().join("weir.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(
        &config,
        text.replace("name = \"nas\"", "name = \"nas\"\nprofile = \"truenas\""),
    )
    .unwrap();
    let proxy = Proxy::start(folder.path()).await;
    let (mut sent, mut refused) = (0, 0);
    for hostile in weir_corpus::hostile() {
        sent += 1;
        let reply = proxy.post(hostile.body).await;
        if reply.status == 429 {
            // Over 20 a second: counted instead of recorded. Wait for the next second, and go on.
            refused += 1;
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            continue;
        }
        assert!(
            reply.json()["error"].is_object() || reply.is_denied(),
            "{}: {reply:?}",
            hostile.name
        );
    }
    assert!(sent > 50);
    assert_eq!(server.log().len(), 0, "{:?}", server.tools());
    let rows = proxy.rows();
    assert_eq!(rows.len(), sent - refused);
    assert!(rows.iter().all(|row| row.verdict == "deny"));
    proxy.stop().await;
}

#[tokio::test]
async fn headers_that_disagree_with_the_body_are_refused() {
    let server = Server::start().await;
    let folder = folder(
        &server.url,
        &json!({ "version": "1", "default": "allow", "tools": {} }),
    );
    let proxy = Proxy::start(folder.path()).await;
    let modern =
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "vm_list",
        "_meta": { "io.modelcontextprotocol/protocolVersion": "2026-07-28" } } })
        .to_string();
    for (body, header, value, code) in [
        (
            call("vm_list", &json!({})),
            "mcp-method",
            "tools/list",
            -32600,
        ),
        (call("vm_list", &json!({})), "mcp-name", "vm_stop", -32600),
        (modern.clone(), "mcp-name", "vm_stop", -32020),
        (modern.clone(), "mcp-protocol-version", "2025-06-18", -32020),
        (modern, "mcp-param-region", "eu", -32020),
    ] {
        let request = proxy
            .request()
            .header(header, value)
            .body(Full::new(body.into()))
            .unwrap();
        let reply = proxy.send(request).await;
        assert_eq!(
            (
                reply.status.as_u16(),
                reply.json()["error"]["code"].as_i64()
            ),
            (400, Some(code)),
            "{header}"
        );
    }
    assert!(server.log().is_empty());
    assert!(proxy.rows().iter().all(|row| row.rule == "(malformed)") && proxy.rows().len() == 5);
    proxy.stop().await;
}

#[tokio::test]
async fn bodies_too_large_compressed_or_of_another_kind_are_refused_and_recorded() {
    let server = Server::start().await;
    let folder = folder(
        &server.url,
        &json!({ "version": "1", "default": "allow", "tools": {} }),
    );
    let proxy = Proxy::start(folder.path()).await;
    let large = call("vm_list", &json!({ "text": "x".repeat(100_001) }));
    assert_eq!(proxy.post(large).await.status, 413);
    let request = proxy
        .request()
        .header("content-encoding", "gzip")
        .body(Full::new(call("vm_list", &json!({})).into()));
    assert_eq!(proxy.send(request.unwrap()).await.status, 415);
    let mut request = proxy
        .request()
        .body(Full::new(call("vm_list", &json!({})).into()))
        .unwrap();
    request
        .headers_mut()
        .insert("content-type", "text/plain".parse().unwrap());
    assert_eq!(proxy.send(request).await.status, 415);
    assert_eq!(proxy.rows().len(), 3);
    assert!(server.log().is_empty());
    proxy.stop().await;
}

#[tokio::test]
async fn a_flood_of_refusals_is_counted_instead_of_recorded() {
    let server = Server::start().await;
    let folder = folder(
        &server.url,
        &json!({ "version": "1", "default": "allow", "tools": {} }),
    );
    let proxy = Proxy::start(folder.path()).await;
    // At once: one after the other waits for the disk each time, and may stay under 20 a second.
    let flood = (0..200).map(|_| proxy.post("garbage"));
    let answers: Vec<u16> = join_all(flood)
        .await
        .iter()
        .map(|reply| reply.status.as_u16())
        .collect();
    assert!(answers.contains(&400) && answers.contains(&429));
    let written = answers.iter().filter(|status| **status == 400).count();
    assert_eq!(proxy.rows().len(), written);
    soon(|| events(&proxy.folder).contains(&"suppressed".to_owned())).await;
    // A grant that misbehaves in this way can still make calls.
    assert!(proxy.call("vm_list", json!({})).await.json()["result"].is_object());
    proxy.stop().await;
}
