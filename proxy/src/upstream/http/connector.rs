//! TCP and TLS to a server, together within one bound.

use std::error::Error as StdError;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::Uri;
use http::uri::Scheme;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::net::TcpStream;
use tower_service::Service;

use crate::upstream::Versions;

pub(super) type BoxError = Box<dyn StdError + Send + Sync>;

/// A connection on which nothing comes is asked after so long whether its other end still is, and then again.
const ALIVE: Duration = Duration::from_mins(1);
const ALIVE_AGAIN: Duration = Duration::from_secs(15);

/// Opens connections for the pool; what fails or hangs here has not seen a byte of the message.
#[derive(Debug, Clone)]
pub(crate) struct Connector {
    https: HttpsConnector<HttpConnector>,
    connect_timeout: Duration,
}

/// No connection, TLS included, within the bound.
#[derive(Debug, thiserror::Error)]
#[error("no connection within {0:?}")]
pub(super) struct ConnectTimeout(Duration);

impl ConnectTimeout {
    /// Whether `fault` goes back to one.
    pub(super) fn caused(fault: &(dyn StdError + 'static)) -> bool {
        let mut fault = Some(fault);
        while let Some(cause) = fault {
            if cause.is::<Self>() {
                return true;
            }
            fault = cause.source();
        }
        false
    }
}

impl Connector {
    /// A connector that trusts `ca` instead of the platform, if given; the error is one line for the operator.
    pub(crate) async fn new(
        url: &Uri,
        ca: Option<&Path>,
        versions: Versions,
        connect_timeout: Duration,
    ) -> Result<Self, String> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        // A server that is gone without a word is noticed also where nothing is awaited of it.
        tcp.set_keepalive(Some(ALIVE));
        tcp.set_keepalive_interval(Some(ALIVE_AGAIN));
        let tls = match (url.scheme(), ca) {
            (Some(scheme), None) if scheme == &Scheme::HTTP => trusting(RootCertStore::empty()),
            (_, Some(path)) => trusting(roots(path).await?),
            (_, None) => trusting_platform(),
        };
        let mut tls = tls.map_err(|fault| format!("TLS cannot be set up: {fault}"))?;
        if versions == Versions::Both {
            tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        }
        Ok(Self {
            https: HttpsConnector::from((tcp, tls)),
            connect_timeout,
        })
    }
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.https.poll_ready(context)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let connecting = self.https.call(target);
        let bound = self.connect_timeout;
        Box::pin(async move {
            tokio::time::timeout(bound, connecting)
                .await
                .map_err(|_| ConnectTimeout(bound))?
        })
    }
}

async fn roots(path: &Path) -> Result<RootCertStore, String> {
    let say = |fault: &dyn std::fmt::Display| {
        format!("`{}` is no list of certificates: {fault}", path.display())
    };
    let pem = tokio::fs::read(path).await.map_err(|fault| say(&fault))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|fault| say(&fault))?;
        roots.add(certificate).map_err(|fault| say(&fault))?;
    }
    if roots.is_empty() {
        Err(say(&"it holds none"))
    } else {
        Ok(roots)
    }
}

fn trusting(roots: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    Ok(
        ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth(),
    )
}

fn trusting_platform() -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = rustls_platform_verifier::Verifier::new(Arc::clone(&provider))?;
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous() // the only way to name a verifier; this one asks the platform
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth())
}
