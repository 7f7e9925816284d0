//! What is turned away before a server is known: it reaches nothing, and the record tells of it.

use http_body_util::Full;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::json;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::rig::{Proxy, Server, TOKEN, call, events, folder, policy, soon};

/// Sends bytes as they stand; what comes back until the other side closes.
async fn raw(proxy: &Proxy, bytes: &[u8]) -> String {
    let ca = proxy.ready.ca_pem_path.as_ref().unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(ca).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(proxy.ready.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let connector = TlsConnector::from(Arc::new(tls));
    let mut stream = connector.connect(name, stream).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer).await);
    String::from_utf8(answer).unwrap()
}

fn strangers(proxy: &Proxy) -> usize {
    let kinds = events(&proxy.folder);
    kinds
        .iter()
        .filter(|kind| *kind == "unauthenticated")
        .count()
}

#[tokio::test]
async fn bytes_that_are_no_request_are_an_event() {
    let server = Server::start().await;
    let folder = folder(&server.url, &policy());
    let proxy = Proxy::start(folder.path()).await;
    let body = call("vm_list", &json!({}));
    let request = format!(
        "POST /nas/mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nContent-Length: 5\r\n\r\n{body}",
        body.len()
    );
    assert!(
        raw(&proxy, request.as_bytes())
            .await
            .starts_with("HTTP/1.1 400")
    );
    soon(|| strangers(&proxy) == 1).await;
    // A second one within the minute is counted, and told at the stop.
    assert!(
        raw(&proxy, b"\x05\x01\x00\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 400")
    );
    assert!(server.log().is_empty() && proxy.rows().is_empty());
    let metrics = proxy.admin("/metrics").await;
    assert!(
        metrics.contains("weir_connections_refused_total{reason=\"http\"} 2"),
        "{metrics}"
    );
    let record = proxy.folder.clone();
    proxy.stop().await;
    let kinds = events(&record);
    assert_eq!(
        kinds
            .iter()
            .filter(|kind| *kind == "unauthenticated")
            .count(),
        2,
        "{kinds:?}"
    );
}

#[tokio::test]
async fn a_message_by_get_or_delete_is_refused_and_recorded() {
    let server = Server::start().await;
    let folder = folder(&server.url, &policy());
    let proxy = Proxy::start(folder.path()).await;
    for method in [http::Method::GET, http::Method::DELETE] {
        let body = Full::new(call("vm_list", &json!({})).into());
        let request = proxy.request().method(method).body(body).unwrap();
        assert_eq!(proxy.send(request).await.status, 400);
    }
    assert!(server.log().is_empty());
    let rows = proxy.rows();
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|row| row.rule == "(malformed)"), "{rows:?}");
    proxy.stop().await;
}
