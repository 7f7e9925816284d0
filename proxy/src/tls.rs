//! TLS as clients meet it: rustls with the operator's certificate, or with one of a local CA.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::{Config, Listen, TlsFiles};
use crate::serve::ServeError;

mod local_ca;

/// What the listener needs to speak TLS.
pub(crate) struct Tls {
    pub(crate) server: Arc<ServerConfig>,
    /// The local CA's certificate, where there is one.
    pub(crate) ca_pem_path: Option<PathBuf>,
}

/// Reads the certificate, or makes one; `state` is where the local CA lives.
pub(crate) fn prepare(listen: &Listen, state: &Path) -> Result<Tls, ServeError> {
    match &listen.tls {
        TlsFiles::Given { certificate, key } => {
            let chain = CertificateDer::pem_file_iter(certificate)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(|error| {
                    problem(format!(
                        "cannot read the certificate `{}`: {error}",
                        certificate.display()
                    ))
                })?;
            if chain.is_empty() {
                return Err(problem(format!(
                    "`{}` holds no certificate",
                    certificate.display()
                )));
            }
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| {
                problem(format!("cannot read the key `{}`: {error}", key.display()))
            })?;
            Ok(Tls {
                server: server_config(chain, key)?,
                ca_pem_path: None,
            })
        }
        TlsFiles::Local => {
            let issued = local_ca::issue(state, &names(listen))?;
            Ok(Tls {
                server: server_config(issued.chain, issued.key)?,
                ca_pem_path: Some(issued.ca_pem_path),
            })
        }
    }
}

/// The CA that clients have to trust where the configuration leaves the certificate to Weir; made now if it is not there yet.
pub fn local_ca(config: &Config) -> Result<Option<PathBuf>, ServeError> {
    match config.listen.tls {
        TlsFiles::Given { .. } => Ok(None),
        TlsFiles::Local => Ok(prepare(&config.listen, &config.state)?.ca_pem_path),
    }
}

/// The one provider of this crate, also for upstreams.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, ServeError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| problem(error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| problem(format!("the certificate and its key do not fit: {error}")))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The names a local certificate is made for.
fn names(listen: &Listen) -> Vec<String> {
    let mut names = vec![
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        "::1".to_owned(),
    ];
    let ip: IpAddr = listen.address.ip();
    if !ip.is_unspecified() {
        names.push(ip.to_string());
    }
    names.extend(listen.hosts.iter().cloned());
    names.sort();
    names.dedup();
    names
}

fn problem(what: String) -> ServeError {
    ServeError::Tls { what }
}
