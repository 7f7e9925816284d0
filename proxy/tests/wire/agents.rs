//! Clients that show certificates, the CAs that vouch for them, and a configuration of grants of their own.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SerialNumber,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use sha2::{Digest, Sha256};
use weir_proxy::Config;

use crate::rig::{Proxy, Server, call, column, folder, policy};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const HOUR: Duration = Duration::from_hours(1);

/// A CA of the tests.
pub(crate) struct Ca {
    pub(crate) issuer: Issuer<'static, KeyPair>,
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) pem: String,
}

/// A certificate with its key and what came between it and its CA.
#[derive(Clone)]
pub(crate) struct Shown {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: Arc<PrivateKeyDer<'static>>,
    serial: Vec<u8>,
}

impl Shown {
    pub(crate) fn sha256(&self) -> [u8; 32] {
        Sha256::digest(&self.chain[0]).into()
    }
}

impl Ca {
    pub(crate) fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let params = Self::params(name, HOUR);
        let certificate = params.self_signed(&key).unwrap();
        Self {
            pem: certificate.pem(),
            certificate: certificate.der().clone(),
            issuer: Issuer::new(params, key),
        }
    }

    fn params(name: &str, valid: Duration) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = (SystemTime::now() - 2 * HOUR).into();
        params.not_after = (SystemTime::now() + valid).into();
        params
    }

    /// A CA below this one.
    pub(crate) fn between(&self, name: &str, not_after: SystemTime) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = Self::params(name, HOUR);
        params.not_after = not_after.into();
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Self {
            pem: certificate.pem(),
            certificate: certificate.der().clone(),
            issuer: Issuer::new(params, key),
        }
    }

    pub(crate) fn issue(&self, name: &str) -> Shown {
        self.issue_with(name, HOUR, |_| {})
    }

    pub(crate) fn issue_with(
        &self,
        name: &str,
        valid: Duration,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Shown {
        let key = KeyPair::generate().unwrap();
        let serial = rand_serial(&key);
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.use_authority_key_identifier_extension = true;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = (SystemTime::now() - 2 * HOUR).into();
        params.not_after = (SystemTime::now() + valid).into();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Shown {
            chain: vec![certificate.der().clone()],
            key: Arc::new(PrivateKeyDer::try_from(key.serialize_der()).unwrap()),
            serial,
        }
    }

    /// What it has taken back, in a list that holds for so long (or ended so long ago).
    pub(crate) fn taken_back(&self, revoked: &[&Shown], holds: Duration, is_old: bool) -> String {
        let now = SystemTime::now();
        let next = if is_old { now - holds } else { now + holds };
        let revoked = revoked.iter().map(|shown| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&shown.serial),
            revocation_time: (now - HOUR).into(),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: (now - 2 * HOUR).into(),
            next_update: next.into(),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

/// Sixteen bytes that no other certificate has.
fn rand_serial(key: &KeyPair) -> Vec<u8> {
    let mut serial = Sha256::digest(key.serialize_der())[..16].to_vec();
    serial[0] &= 0x7f;
    serial
}

/// A folder whose `weir.toml` has `listen` under [listen], and these grants instead of the rig's.
pub(crate) fn folder_with(server: &Server, listen: &str, grants: &str) -> tempfile::TempDir {
    let folder = folder(&server.url, &policy());
    write(folder.path(), listen, grants);
    folder
}

pub(crate) fn write(folder: &Path, listen: &str, grants: &str) {
    let path = folder.join("weir.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, _) = text.split_once("[[grant]]").unwrap();
    let (_, after) = before.split_once("[record]").unwrap();
    let text = format!(
        "[listen]\naddress = \"127.0.0.1:0\"\n{listen}\n[record]{after}{}",
        grants.replace(
            "[[grant]]",
            "[[grant]]\nserver = \"nas\"\npolicy = \"ops.json\""
        )
    );
    std::fs::write(path, text).unwrap();
}

/// Grant and principal of every row, in order.
pub(crate) fn callers(folder: &Path) -> Vec<(String, String)> {
    let mut rows: Vec<_> = column(folder, "grant")
        .into_iter()
        .zip(column(folder, "principal"))
        .collect();
    rows.sort();
    rows.sort_by_key(|((seq, _), _)| *seq);
    rows.into_iter()
        .map(|((_, grant), (_, who))| (grant, who))
        .collect()
}

pub(crate) async fn reload(proxy: &Proxy) -> weir_proxy::Reloaded {
    let config = Config::load(&proxy.folder.join("weir.toml")).unwrap();
    proxy.ready.reloader.reload(config).await.unwrap()
}

/// A client of the proxy that shows this certificate.
pub(crate) struct Agent {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    url: String,
}

pub(crate) fn tls(
    proxy: &Proxy,
    shown: Option<&Shown>,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    let ca = proxy.ready.ca_pem_path.as_ref().unwrap();
    roots
        .add(CertificateDer::from_pem_file(ca).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    match shown {
        Some(shown) => builder
            .with_client_auth_cert(shown.chain.clone(), shown.key.clone_key())
            .unwrap(),
        None => builder.with_no_client_auth(),
    }
}

impl Agent {
    pub(crate) fn new(proxy: &Proxy, shown: Option<&Shown>) -> Self {
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(proxy, shown, rustls::ALL_VERSIONS))
            .https_only()
            .enable_http1()
            .build();
        Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            url: proxy.url(),
        }
    }

    pub(crate) fn request(&self, token: Option<&str>) -> http::request::Builder {
        let request = Request::post(&self.url)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("user-agent", "agent/1");
        match token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    /// The status of an answer, or none if there was no connection to be had.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Option<StatusCode> {
        let response = self.client.request(request).await.ok()?;
        let status = response.status();
        response.into_body().collect().await.ok()?;
        Some(status)
    }

    /// As `send`, and again where too many refusals came in this second.
    pub(crate) async fn send_in_time(
        &self,
        request: impl Fn() -> Request<Full<Bytes>>,
    ) -> StatusCode {
        loop {
            let status = self.send(request()).await.unwrap();
            if status != StatusCode::TOO_MANY_REQUESTS {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Whether the answer gives a session.
    pub(crate) async fn is_given_a_session(&self, request: Request<Full<Bytes>>) -> bool {
        let response = self.client.request(request).await.unwrap();
        response.headers().contains_key("mcp-session-id")
    }

    pub(crate) async fn try_call(&self, token: Option<&str>) -> Option<StatusCode> {
        let body = Full::new(call("vm_list", &json!({})).into());
        self.send(self.request(token).body(body).unwrap()).await
    }

    pub(crate) async fn call(&self, token: Option<&str>) -> u16 {
        self.try_call(token).await.expect("no connection").as_u16()
    }

    /// The stream that a GET opens.
    pub(crate) async fn listen(&self, token: Option<&str>) -> hyper::body::Incoming {
        let request = self.request(token).method("GET").body(Full::default());
        let response = self.client.request(request.unwrap()).await.unwrap();
        assert_eq!(response.status(), 200);
        response.into_body()
    }
}

pub(crate) async fn ends(stream: hyper::body::Incoming) {
    let ended = tokio::time::timeout(Duration::from_secs(20), stream.collect()).await;
    ended.expect("the stream goes on").unwrap();
}
