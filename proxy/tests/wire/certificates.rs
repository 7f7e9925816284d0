//! Client certificates: whom they open what for, and when they stop.

use std::sync::Arc;
use std::time::SystemTime;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};
use rustls_pki_types::{CertificateDer, ServerName};
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use weir_proxy::Config;

use crate::agents::{Agent, Ca, HOUR, SECOND, callers, ends, folder_with, reload, tls, write};
use crate::rig::{Proxy, Server, TOKEN, events, folder, policy};

fn token_grant(name: &str) -> String {
    let hash = hex::encode(Sha256::digest(TOKEN));
    format!("[[grant]]\nname = \"{name}\"\ntoken = {{ sha256 = \"{hash}\" }}\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_opens_the_grant_that_names_it_and_the_record_says_whose_it_was() {
    let server = Server::start().await;
    let ca = Ca::new("clients");
    let ops = ca.issue("ops");
    let spiffe = ca.issue_with("", HOUR, |params| {
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI("spiffe://example/dev".try_into().unwrap())];
    });
    let pinned = ca.issue("whatever");
    let grants = format!(
        "[[grant]]\nname = \"ops\"\ncertificate = \"CN=ops\"\n[[grant]]\nname = \"dev\"\ncertificate = {{ uri = \"spiffe://example/dev\" }}\n\
         [[grant]]\nname = \"pin\"\ncertificate = {{ sha256 = [\"{}\", \"{}\"] }}\n{}",
        "0".repeat(64),
        hex::encode_upper(pinned.sha256()),
        token_grant("old")
    );
    let folder = folder_with(&server, "client_ca = \"clients.pem\"", &grants);
    std::fs::write(folder.path().join("clients.pem"), &ca.pem).unwrap();
    let proxy = Proxy::start(folder.path()).await;
    for shown in [&ops, &spiffe, &pinned] {
        assert_eq!(Agent::new(&proxy, Some(shown)).call(None).await, 200);
    }
    let nobody = Agent::new(&proxy, None);
    assert_eq!(nobody.call(None).await, 401);
    assert_eq!(nobody.call(Some(TOKEN)).await, 200, "tokens go on");
    // A token that is shown is what counts: a wrong one is not made good by a certificate, a good one gives its own grant.
    let both = Agent::new(&proxy, Some(&ops));
    assert_eq!(both.call(Some("wrong")).await, 401);
    assert_eq!(both.call(Some(TOKEN)).await, 200);
    // A good certificate that nobody names, and parts of names.
    for name in ["op", "ops2", "OPS", "ops,O=x"] {
        assert_eq!(
            Agent::new(&proxy, Some(&ca.issue(name))).call(None).await,
            401,
            "{name}"
        );
    }
    let two = ca.issue_with("evil", HOUR, |params| {
        params
            .distinguished_name
            .push(DnType::OrganizationalUnitName, "ops");
    });
    assert_eq!(Agent::new(&proxy, Some(&two)).call(None).await, 401);
    let metrics = proxy.admin("/metrics").await;
    assert!(
        metrics.contains(r#"weir_unauthenticated_total{reason="certificate_unnamed"} 5"#),
        "{metrics}"
    );
    proxy.stop().await;
    let rows = callers(folder.path());
    let seen: Vec<_> = rows
        .iter()
        .map(|(grant, who)| (grant.as_str(), who.as_str()))
        .collect();
    assert_eq!(
        seen,
        [
            ("ops", "CN=ops"),
            ("dev", "spiffe://example/dev"),
            ("pin", "CN=whatever"),
            ("old", ""),
            ("old", "")
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_that_nobody_vouches_for_get_no_connection() {
    let server = Server::start().await;
    let (ca, other) = (Ca::new("clients"), Ca::new("clients"));
    let grants = format!(
        "[[grant]]\nname = \"ops\"\ncertificate = \"CN=ops\"\n{}",
        token_grant("old")
    );
    let folder = folder_with(&server, "client_ca = \"clients.pem\"", &grants);
    std::fs::write(folder.path().join("clients.pem"), &ca.pem).unwrap();
    let proxy = Proxy::start(folder.path()).await;
    let hour_ago = SystemTime::now() - HOUR;
    let below = |between: &Ca| {
        let mut shown = between.issue("ops");
        shown.chain.push(between.certificate.clone());
        shown
    };
    let good = below(&ca.between("below", SystemTime::now() + HOUR));
    assert_eq!(Agent::new(&proxy, Some(&good)).call(None).await, 200);
    let refused = [
        ("another CA of the same name", other.issue("ops")),
        (
            "expired",
            ca.issue_with("ops", HOUR, |params| params.not_after = hour_ago.into()),
        ),
        (
            "not yet valid",
            ca.issue_with("ops", 2 * HOUR, |params| {
                params.not_before = (SystemTime::now() + HOUR).into();
            }),
        ),
        (
            "for servers only",
            ca.issue_with("ops", HOUR, |params| {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            }),
        ),
        (
            "an expired CA between",
            below(&ca.between("below", hour_ago)),
        ),
        ("issued by a leaf", {
            let leaf = ca.issue("ops");
            let key = KeyPair::try_from(leaf.key.secret_der()).unwrap();
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, "ops");
            let forger = Ca {
                issuer: Issuer::new(params, key),
                certificate: leaf.chain[0].clone(),
                pem: String::new(),
            };
            below(&forger)
        }),
    ];
    for (what, shown) in &refused {
        assert_eq!(
            Agent::new(&proxy, Some(shown)).try_call(Some(TOKEN)).await,
            None,
            "{what}"
        );
    }
    let metrics = proxy.admin("/metrics").await;
    assert!(
        metrics.contains(r#"weir_connections_refused_total{reason="client_certificate"} "#),
        "{metrics}"
    );
    proxy.stop().await;
    assert!(
        events(folder.path())
            .iter()
            .any(|kind| kind == "unauthenticated")
    );
    // The CA's own mistakes are told at the start.
    let leaf = pem(&ca.issue("ops").chain[0]);
    for (text, why) in [(leaf.as_str(), "is no CA's"), ("", "holds no certificate")] {
        std::fs::write(folder.path().join("clients.pem"), text).unwrap();
        let config = Config::load(&folder.path().join("weir.toml")).unwrap();
        let error = weir_proxy::serve(config, |_| {}, async {})
            .await
            .unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
}

fn pem(der: &CertificateDer<'_>) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_that_asks_for_both_is_opened_by_neither_alone() {
    let server = Server::start().await;
    let ca = Ca::new("clients");
    let hash = hex::encode(Sha256::digest(TOKEN));
    let grants = format!(
        "[[grant]]\nname = \"ops\"\ntoken = {{ sha256 = \"{hash}\" }}\ncertificate = \"CN=ops\"\n"
    );
    let folder = folder_with(&server, "client_ca = \"clients.pem\"", &grants);
    std::fs::write(folder.path().join("clients.pem"), &ca.pem).unwrap();
    let proxy = Proxy::start(folder.path()).await;
    let (ops, dev) = (ca.issue("ops"), ca.issue("dev"));
    assert_eq!(Agent::new(&proxy, Some(&ops)).call(Some(TOKEN)).await, 200);
    assert_eq!(Agent::new(&proxy, Some(&ops)).call(None).await, 401);
    assert_eq!(Agent::new(&proxy, Some(&dev)).call(Some(TOKEN)).await, 401);
    // Every grant asks for a certificate, so there is no connection without one.
    assert_eq!(Agent::new(&proxy, None).try_call(Some(TOKEN)).await, None);
    let metrics = proxy.admin("/metrics").await;
    assert!(
        metrics.contains(r#"weir_unauthenticated_total{reason="token_without_certificate"} 1"#),
        "{metrics}"
    );
    // With a grant that does not, there is; the token still opens nothing alone.
    let other = "[[grant]]\nname = \"other\"\ntoken = { sha256 = \"0000000000000000000000000000000000000000000000000000000000000000\" }\n";
    write(
        folder.path(),
        "client_ca = \"clients.pem\"",
        &format!("{grants}{other}"),
    );
    assert!(reload(&proxy).await.clients);
    assert_eq!(Agent::new(&proxy, None).call(Some(TOKEN)).await, 401);
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_connection_with_certificates_is_resumed() {
    let resumes = |is_asked: bool| async move {
        let server = Server::start().await;
        let ca = Ca::new("clients");
        let grants = format!(
            "[[grant]]\nname = \"ops\"\ncertificate = \"CN=ops\"\n{}",
            token_grant("old")
        );
        let folder = if is_asked {
            folder_with(&server, "client_ca = \"clients.pem\"", &grants)
        } else {
            folder(&server.url, &policy())
        };
        std::fs::write(folder.path().join("clients.pem"), &ca.pem).unwrap();
        let proxy = Proxy::start(folder.path()).await;
        let shown = ca.issue("ops");
        let mut resumed = false;
        for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
            let config = tls(&proxy, Some(&shown).filter(|_| is_asked), &[version]);
            let connector = TlsConnector::from(Arc::new(config));
            for _ in 0..2 {
                use tokio::io::{AsyncReadExt, AsyncWriteExt};
                let stream = TcpStream::connect(proxy.ready.address).await.unwrap();
                let name = ServerName::try_from("localhost").unwrap();
                let mut stream = connector.connect(name, stream).await.unwrap();
                let request = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
                stream.write_all(request).await.unwrap();
                let mut answer = Vec::new();
                drop(stream.read_to_end(&mut answer).await);
                assert!(answer.starts_with(b"HTTP/1.1 404"));
                resumed |=
                    stream.get_ref().1.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
            }
        }
        proxy.stop().await;
        resumed
    };
    assert!(resumes(false).await, "the check tells them apart");
    assert!(!resumes(true).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_was_taken_back_stops_where_it_is() {
    let server = Server::start().await;
    let ca = Ca::new("clients");
    let (ops, dev) = (ca.issue("ops"), ca.issue("dev"));
    let listen = "client_ca = \"clients.pem\"\nclient_crl = \"revoked.pem\"";
    let grants = "[[grant]]\nname = \"ops\"\ncertificate = \"CN=ops\"\n[[grant]]\nname = \"dev\"\ncertificate = \"CN=dev\"\n";
    let folder = folder_with(&server, listen, grants);
    let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    put("clients.pem", &ca.pem);
    put("revoked.pem", &ca.taken_back(&[], HOUR, false));
    let proxy = Proxy::start(folder.path()).await;
    let (first, second) = (
        Agent::new(&proxy, Some(&ops)),
        Agent::new(&proxy, Some(&dev)),
    );
    assert_eq!(
        (first.call(None).await, second.call(None).await),
        (200, 200)
    );
    let (stream, other) = (first.listen(None).await, second.listen(None).await);
    put("revoked.pem", &ca.taken_back(&[&ops], HOUR, false));
    let reloaded = reload(&proxy).await;
    assert!(
        reloaded.clients && reloaded.grants.is_empty(),
        "{reloaded:?}"
    );
    ends(stream).await;
    // The connection that is open is told and closed; a new one is not to be had. Nothing happens to anybody else.
    assert_eq!(first.call(None).await, 401);
    soon_refused(&first).await;
    assert_eq!(Agent::new(&proxy, Some(&ops)).try_call(None).await, None);
    assert_eq!(second.call(None).await, 200);
    drop(other);
    // A list that is out of date says nothing, and so does one of another CA.
    put("revoked.pem", &ca.taken_back(&[], SECOND, true));
    reload(&proxy).await;
    assert_eq!(second.call(None).await, 401);
    put(
        "revoked.pem",
        &Ca::new("another").taken_back(&[], HOUR, false),
    );
    reload(&proxy).await;
    assert_eq!(Agent::new(&proxy, Some(&dev)).try_call(None).await, None);
    // A list that is none leaves what is in force.
    put("revoked.pem", &ca.taken_back(&[], HOUR, false));
    reload(&proxy).await;
    put("revoked.pem", "no list");
    let config = Config::load(&folder.path().join("weir.toml")).unwrap();
    let error = proxy.ready.reloader.reload(config).await.unwrap_err();
    assert!(
        error.to_string().contains("holds no revocation list"),
        "{error}"
    );
    assert_eq!(
        Agent::new(&proxy, Some(&ops)).call(None).await,
        200,
        "given back"
    );
    proxy.stop().await;
}

async fn soon_refused(agent: &Agent) {
    for _ in 0..200 {
        if agent.try_call(None).await.is_none() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    panic!("the connection stays open");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_outlives_its_certificate_by_no_request() {
    let server = Server::start().await;
    let ca = Ca::new("clients");
    let folder = folder_with(
        &server,
        "client_ca = \"clients.pem\"",
        "[[grant]]\nname = \"ops\"\ncertificate = \"CN=ops\"\n",
    );
    std::fs::write(folder.path().join("clients.pem"), &ca.pem).unwrap();
    let proxy = Proxy::start(folder.path()).await;
    let brief = ca.issue_with("ops", 4 * SECOND, |_| {});
    let agent = Agent::new(&proxy, Some(&brief));
    assert_eq!(agent.call(None).await, 200);
    ends(agent.listen(None).await).await;
    assert_eq!(agent.call(None).await, 401);
    // One that is renewed under the same subject goes on, and so do its sessions.
    assert_eq!(
        Agent::new(&proxy, Some(&ca.issue("ops"))).call(None).await,
        200
    );
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cas_are_exchanged_while_it_serves() {
    let server = Server::start().await;
    let (old, new) = (Ca::new("old"), Ca::new("new"));
    let folder = folder_with(
        &server,
        "client_ca = \"clients.pem\"",
        "[[grant]]\nname = \"ops\"\ncertificate = \"CN=ops\"\n",
    );
    let put = |text: &str| std::fs::write(folder.path().join("clients.pem"), text).unwrap();
    put(&old.pem);
    let proxy = Proxy::start(folder.path()).await;
    let (first, second) = (old.issue("ops"), new.issue("ops"));
    let agent = Agent::new(&proxy, Some(&first));
    assert_eq!(agent.call(None).await, 200);
    assert_eq!(Agent::new(&proxy, Some(&second)).try_call(None).await, None);
    put(&format!("{}{}", old.pem, new.pem));
    reload(&proxy).await;
    assert_eq!(
        agent.call(None).await,
        200,
        "the connection that was open goes on"
    );
    assert_eq!(Agent::new(&proxy, Some(&second)).call(None).await, 200);
    put(&new.pem);
    reload(&proxy).await;
    assert_eq!(agent.call(None).await, 401);
    assert_eq!(Agent::new(&proxy, Some(&second)).call(None).await, 200);
    assert!(reload(&proxy).await.is_nothing());
    proxy.stop().await;
}
