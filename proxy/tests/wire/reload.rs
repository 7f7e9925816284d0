//! What changes in the configuration while the proxy serves.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use weir_proxy::{Config, Reloaded, ServeError};

use crate::rig::{OTHER_TOKEN, Proxy, Server, events, folder, policy, write_config};

fn config(folder: &Path) -> Config {
    Config::load(&folder.join("weir.toml")).unwrap()
}

fn allowing(tool: &str, rules: &Value) -> Value {
    json!({ "version": "1", "default": "deny", "tools": { tool: rules } })
}

async fn reload(proxy: &Proxy) -> Result<Reloaded, ServeError> {
    proxy.ready.reloader.reload(config(&proxy.folder)).await
}

async fn health(proxy: &Proxy) -> Value {
    serde_json::from_str(&proxy.admin("/healthz").await).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_policy_judges_the_next_call_and_is_in_the_record_before() {
    let server = Server::start().await;
    let folder = folder(&server.url, &allowing("vm_list", &json!({})));
    let proxy = Proxy::start(folder.path()).await;
    assert!(!proxy.call("vm_list", json!({})).await.is_denied());
    let stricter = allowing("vm_stop", &json!({}));
    std::fs::write(folder.path().join("ops.json"), stricter.to_string()).unwrap();
    let reloaded = reload(&proxy).await.unwrap();
    assert_eq!(reloaded.grants, ["ops"], "{reloaded:?}");
    assert!(proxy.call("vm_list", json!({})).await.is_denied());
    assert!(!proxy.call("vm_stop", json!({"id": 1})).await.is_denied());
    assert_eq!(server.tools(), ["vm_list", "vm_stop"]);
    assert!(reload(&proxy).await.unwrap().is_nothing());
    let health = health(&proxy).await;
    assert_eq!(
        health["configuration"],
        json!({ "reloads": 2, "fault": null })
    );
    proxy.stop().await;
    let events = events(folder.path());
    let in_force = events.iter().filter(|kind| *kind == "policy").count();
    assert_eq!(in_force, 2, "{events:?}");
    let kept = std::fs::read_dir(folder.path().join("record/policies")).unwrap();
    assert_eq!(kept.count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_with_an_error_leaves_the_one_in_force_and_everybody_is_told() {
    let server = Server::start().await;
    let folder = folder(&server.url, &allowing("vm_list", &json!({})));
    let proxy = Proxy::start(folder.path()).await;
    std::fs::write(folder.path().join("ops.json"), r#"{ "version": "1" }"#).unwrap();
    let refused = reload(&proxy).await.unwrap_err();
    assert!(matches!(refused, ServeError::Policy { .. }), "{refused}");
    assert!(!proxy.call("vm_list", json!({})).await.is_denied());
    let fault = health(&proxy).await["configuration"]["fault"].clone();
    assert!(fault.as_str().unwrap().contains("`default`"), "{fault}");
    let metrics = proxy.admin("/metrics").await;
    assert!(metrics.contains("weir_reload_refused 1"), "{metrics}");
    assert!(metrics.contains(r#"weir_reloads_total{result="refused"} 1"#));
    // One that cannot even be read is told in the same places, and the next good one ends it.
    proxy.ready.reloader.refuse(&"weir.toml:3: no").await;
    assert_eq!(
        health(&proxy).await["configuration"]["fault"],
        "weir.toml:3: no"
    );
    std::fs::write(folder.path().join("ops.json"), policy().to_string()).unwrap();
    reload(&proxy).await.unwrap();
    assert_eq!(health(&proxy).await["configuration"]["fault"], Value::Null);
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_of_a_configuration_comes_into_force_or_nothing_of_it() {
    let server = Server::start().await;
    let folder = folder(&server.url, &allowing("vm_list", &json!({})));
    let proxy = Proxy::start(folder.path()).await;
    // The first grant's policy is good, and would deny; the second opens a server that is not there.
    let text = std::fs::read_to_string(folder.path().join("weir.toml")).unwrap();
    let new = format!(
        "{text}\n[[server]]\nname = \"lab\"\nurl = \"{}\"\n[[grant]]\nname = \"new\"\nserver = \"lab\"\ntoken = {{ sha256 = \"{}\" }}\n",
        server.url,
        "7".repeat(64)
    );
    std::fs::write(folder.path().join("weir.toml"), new).unwrap();
    let stricter = allowing("vm_stop", &json!({}));
    std::fs::write(folder.path().join("ops.json"), stricter.to_string()).unwrap();
    let refused = reload(&proxy).await.unwrap_err();
    assert!(matches!(refused, ServeError::NewServer { .. }), "{refused}");
    assert!(!proxy.call("vm_list", json!({})).await.is_denied());
    // What needs a new start is named, and does not hold up the rest.
    let text = text.replace(
        "path = \"record\"",
        "path = \"record\"\ncommit_wait_max = \"4s\"",
    );
    std::fs::write(folder.path().join("weir.toml"), text).unwrap();
    let reloaded = reload(&proxy).await.unwrap();
    assert_eq!(reloaded.next_start, ["[record]"]);
    assert!(proxy.call("vm_list", json!({})).await.is_denied());
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_in_mid_window_neither_frees_nor_doubles_a_budget() {
    let limit = |max: u64| {
        let limit = json!({ "counter": "stops", "window": 86400, "sliding": true, "max": max });
        allowing("vm_stop", &json!({ "limits": [limit] }))
    };
    let server = Server::start().await;
    let folder = folder(&server.url, &limit(3));
    let proxy = Proxy::start(folder.path()).await;
    for _ in 0..2 {
        assert!(!proxy.call("vm_stop", json!({"id": 1})).await.is_denied());
    }
    std::fs::write(folder.path().join("ops.json"), limit(4).to_string()).unwrap();
    reload(&proxy).await.unwrap();
    let mut passed = 0;
    while !proxy.call("vm_stop", json!({"id": 1})).await.is_denied() {
        passed += 1;
    }
    assert_eq!(passed, 2, "two of four were spent under the policy before");
    proxy.stop().await;
    // Nor does the start after it.
    let proxy = Proxy::start(folder.path()).await;
    assert!(proxy.call("vm_stop", json!({"id": 1})).await.is_denied());
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_was_taken_away_opens_nothing_and_its_streams_end() {
    let server = Server::start().await;
    let folder = folder(&server.url, &policy());
    let proxy = Proxy::start(folder.path()).await;
    let stream = proxy.request().method("GET").body(Full::default()).unwrap();
    let open = proxy.open(stream).await;
    assert_eq!(open.status(), 200);
    write_config(folder.path(), &server.url, "", &policy());
    let text = std::fs::read_to_string(folder.path().join("weir.toml")).unwrap();
    let other = "[[grant]]\nname = \"dev\"";
    let (before, after) = text.split_once("[[grant]]\nname = \"ops\"").unwrap();
    let (_, rest) = after.split_once(other).unwrap();
    std::fs::write(
        folder.path().join("weir.toml"),
        format!("{before}{other}{rest}"),
    )
    .unwrap();
    let reloaded = reload(&proxy).await.unwrap();
    assert_eq!(reloaded.removed, ["ops"], "{reloaded:?}");
    let ended = tokio::time::timeout(Duration::from_secs(20), open.into_body().collect()).await;
    ended.expect("the stream goes on").unwrap();
    let reply = proxy.call("vm_list", json!({})).await;
    assert_eq!(reply.status, 401);
    // The grant that stayed opens what it did.
    let body = Full::new(crate::rig::call("vm_list", &json!({})).into());
    let mut request = proxy.request().body(body).unwrap();
    let bearer = format!("Bearer {OTHER_TOKEN}").parse().unwrap();
    request.headers_mut().insert("authorization", bearer);
    assert_eq!(proxy.send(request).await.status, 200);
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_connections_are_shown_the_new_certificate() {
    let server = Server::start().await;
    let folder = folder(&server.url, &policy());
    let write = || {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(folder.path().join("cert.pem"), cert.pem()).unwrap();
        std::fs::write(folder.path().join("key.pem"), signing_key.serialize_pem()).unwrap();
        cert.der().clone()
    };
    let other = write();
    let first = write();
    let text = std::fs::read_to_string(folder.path().join("weir.toml")).unwrap();
    let tls = "[listen]\ntls = { certificate = \"cert.pem\", key = \"key.pem\" }";
    std::fs::write(
        folder.path().join("weir.toml"),
        text.replace("[listen]", tls),
    )
    .unwrap();
    let proxy = Proxy::start(folder.path()).await;
    assert!(is_shown(&proxy, &first).await);
    assert!(
        !is_shown(&proxy, &other).await,
        "the check tells them apart"
    );
    let second = write();
    assert!(reload(&proxy).await.unwrap().certificate);
    assert!(is_shown(&proxy, &second).await);
    // A key that does not fit leaves the certificate in force.
    let key = folder.path().join("key.pem");
    let good = std::fs::read(&key).unwrap();
    write();
    std::fs::write(&key, good).unwrap();
    let refused = reload(&proxy).await.unwrap_err();
    assert!(matches!(refused, ServeError::Tls { .. }), "{refused}");
    assert!(is_shown(&proxy, &second).await);
    proxy.stop().await;
}

/// Whether a new connection is shown this certificate.
async fn is_shown(proxy: &Proxy, certificate: &CertificateDer<'static>) -> bool {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(proxy.ready.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let connector = TlsConnector::from(Arc::new(tls));
    connector.connect(name, stream).await.is_ok()
}
