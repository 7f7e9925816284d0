//! TLS as clients meet it: rustls with the operator's certificate, or with one of a local CA.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::NoServerSessionStorage;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::config::{Config, Listen, TlsFiles};
use crate::serve::ServeError;

pub(crate) use self::clients::Clients;
pub use self::local_ca::ClientIdentity;

mod clients;
mod local_ca;

/// What the listener needs to speak TLS.
pub(crate) struct Tls {
    server: Arc<ServerConfig>,
    /// What this host shows.
    own: Own,
    /// Who vouches for clients, if they may show certificates.
    clients: Option<Clients>,
}

/// The certificate of this host, what vouches for it, and its key.
struct Own {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    /// The local CA's certificate, where there is one.
    ca_pem_path: Option<PathBuf>,
}

/// What new connections are shown and asked for; a reload may exchange it.
pub(crate) struct Presented {
    tls: ArcSwap<Tls>,
    /// Says that it was.
    exchanged: watch::Sender<()>,
}

/// What another [`Tls`] changes for clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exchanged {
    /// They see another certificate.
    pub(crate) certificate: bool,
    /// Other certificates of theirs are good.
    pub(crate) clients: bool,
}

impl Presented {
    pub(crate) fn new(tls: Tls) -> Self {
        Self {
            tls: ArcSwap::from_pointee(tls),
            exchanged: watch::Sender::default(),
        }
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.tls.load().server))
    }

    /// Who vouches for clients now.
    pub(crate) fn clients(&self) -> Option<Clients> {
        self.tls.load().clients.clone()
    }

    /// Reads what the configuration names again; a local certificate stays the one that was made at the start.
    pub(crate) fn renewed(&self, config: &Config) -> Result<Tls, ServeError> {
        let own = match &config.listen.tls {
            TlsFiles::Given { certificate, key } => given(certificate, key)?,
            TlsFiles::Local => {
                let now = self.tls.load();
                Own {
                    chain: now.own.chain.clone(),
                    key: now.own.key.clone_key(),
                    ca_pem_path: now.own.ca_pem_path.clone(),
                }
            }
        };
        Tls::new(own, clients::read(config)?)
    }

    pub(crate) fn exchange(&self, tls: Tls) -> Exchanged {
        let tls = Arc::new(tls);
        let old = self.tls.swap(Arc::clone(&tls));
        self.exchanged.send_replace(());
        Exchanged {
            certificate: old.own.chain != tls.own.chain,
            clients: old.clients != tls.clients,
        }
    }

    /// Told whenever there was an exchange.
    pub(crate) fn exchanges(&self) -> watch::Receiver<()> {
        self.exchanged.subscribe()
    }
}

impl Tls {
    /// Reads what the configuration names, and makes what it does not.
    pub(crate) fn prepare(config: &Config) -> Result<Self, ServeError> {
        Self::new(own(&config.listen, &config.state)?, clients::read(config)?)
    }

    fn new(own: Own, clients: Option<Clients>) -> Result<Self, ServeError> {
        let server = server_config(&own, clients.as_ref())?;
        Ok(Self {
            server,
            own,
            clients,
        })
    }

    /// The local CA's certificate, where there is one.
    pub(crate) fn ca_pem_path(&self) -> Option<&Path> {
        self.own.ca_pem_path.as_deref()
    }
}

fn given(certificate: &Path, key: &Path) -> Result<Own, ServeError> {
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
    let key = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| problem(format!("cannot read the key `{}`: {error}", key.display())))?;
    Ok(Own {
        chain,
        key,
        ca_pem_path: None,
    })
}

/// Reads the certificate, or makes one; `state` is where the local CA lives.
fn own(listen: &Listen, state: &Path) -> Result<Own, ServeError> {
    match &listen.tls {
        TlsFiles::Given { certificate, key } => given(certificate, key),
        TlsFiles::Local => {
            let issued = local_ca::issue(state, &names(listen))?;
            Ok(Own {
                chain: issued.chain,
                key: issued.key,
                ca_pem_path: Some(issued.ca_pem_path),
            })
        }
    }
}

/// The CA that clients have to trust where the configuration leaves the certificate to Weir; made now if it is not there yet.
pub fn local_ca(config: &Config) -> Result<Option<PathBuf>, ServeError> {
    match config.listen.tls {
        TlsFiles::Given { .. } => Ok(None),
        TlsFiles::Local => Ok(own(&config.listen, &config.state)?.ca_pem_path),
    }
}

/// Makes a certificate that a client can show to this host, from the local CA, which is made if it is not there.
pub fn client_identity(
    config: &Config,
    name: &str,
    days: u32,
) -> Result<ClientIdentity, ServeError> {
    local_ca::client(&config.state, name, days)
}

/// The one provider of this crate, also for upstreams.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn server_config(own: &Own, clients: Option<&Clients>) -> Result<Arc<ServerConfig>, ServeError> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| problem(error.to_string()))?;
    let builder = match clients {
        Some(clients) => builder.with_client_cert_verifier(Arc::clone(&clients.verifier)),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder
        .with_single_cert(own.chain.clone(), own.key.clone_key())
        .map_err(|error| problem(format!("the certificate and its key do not fit: {error}")))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    if clients.is_some() {
        // A resumed session would bring a certificate along that was verified an earlier time.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
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
