//! Over HTTPS: whom an upstream is trusted by, and what a failed handshake proves.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls_pki_types::PrivatePkcs8KeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;
use weir_proxy::upstream::{
    Cause, Era, Reached, Sharing, Transport, Upstream, UpstreamSpec, Versions,
};

use crate::common::{LIMITS, failed, forward, request, whole};
use crate::http::Peer;

const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

pub(crate) fn identity(name: &str, alpn: &[&[u8]]) -> (TlsAcceptor, String) {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![made.cert.der().clone()],
            PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into(),
        )
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    (TlsAcceptor::from(Arc::new(config)), made.cert.pem())
}

async fn upstream(port: u16, ca: Option<std::path::PathBuf>) -> Upstream {
    let url = format!("https://localhost:{port}/mcp").parse().unwrap();
    let versions = Versions::One;
    let transport = Transport::Http { url, ca, versions };
    Upstream::connect(&UpstreamSpec {
        server: "nas".into(),
        transport,
        headers: vec![],
        sharing: Sharing::Session,
        limits: LIMITS,
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn a_server_is_trusted_by_the_given_certificate_alone() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    let (acceptor, pem) = identity("localhost", &[]);
    std::fs::write(&ca, pem).unwrap();
    let peer = Peer::new().await;
    let upstream = upstream(peer.port(), Some(ca)).await;
    let (answer, ()) = tokio::join!(forward(&upstream, request(Era::Modern, PING)), async {
        let (socket, _) = peer.listener.accept().await.unwrap();
        let mut tls = acceptor.accept(socket).await.unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(PING.as_bytes()) {
            tls.read_buf(&mut seen).await.unwrap();
        }
        tls.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
            .await
            .unwrap();
        tls.flush().await.unwrap();
    });
    assert_eq!(whole(answer.unwrap()), "{}");
}

#[tokio::test]
async fn a_server_with_another_certificate_never_sees_the_message() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, identity("localhost", &[]).1).unwrap();
    for (acceptor, _) in [identity("localhost", &[]), identity("elsewhere", &[])] {
        let peer = Peer::new().await;
        let upstream = upstream(peer.port(), Some(ca.clone())).await;
        let (answer, handshake) =
            tokio::join!(forward(&upstream, request(Era::Modern, PING)), async {
                let (socket, _) = peer.listener.accept().await.unwrap();
                acceptor.accept(socket).await.map(|_| ())
            });
        assert!(handshake.is_err());
        let fault = failed(answer);
        assert_eq!(
            (fault.cause, fault.reached),
            (Cause::Unreachable, Reached::Never),
            "{fault}"
        );
    }
}

#[tokio::test]
async fn a_certificate_file_that_is_none_is_one_clear_line() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, "nothing").unwrap();
    for path in [ca, folder.path().join("missing.pem")] {
        let fault = Upstream::connect(&UpstreamSpec {
            server: "nas".into(),
            transport: Transport::Http {
                url: "https://localhost/mcp".parse().unwrap(),
                ca: Some(path.clone()),
                versions: Versions::One,
            },
            headers: vec![],
            sharing: Sharing::Session,
            limits: LIMITS,
        })
        .await
        .unwrap_err();
        let line = fault.to_string();
        assert!(
            line.starts_with("server `nas`: ") && line.contains(path.to_str().unwrap()),
            "{line}"
        );
        assert_eq!(line.lines().count(), 1);
    }
}
