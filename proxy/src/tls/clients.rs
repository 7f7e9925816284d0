//! Who vouches for clients: the CAs and revocation lists of `[listen]`.
//!
//! Closed wherever something is not known: a certificate of a CA whose revocation list is missing or out of date is refused
//! once any list is given, and what is not a CA's certificate cannot vouch.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{CertificateRevocationList, FromDer as _, X509Certificate};

use super::{problem, provider};
use crate::config::Config;
use crate::serve::ServeError;

/// Those who vouch for clients.
#[derive(Debug, Clone)]
pub(crate) struct Clients {
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
    /// Of everything that was read.
    digest: [u8; 32],
}

impl PartialEq for Clients {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Clients {
    /// Whether a certificate with what came along is good now.
    pub(crate) fn vouch_for(&self, chain: &[CertificateDer<'static>]) -> bool {
        let Some((own, between)) = chain.split_first() else {
            return false;
        };
        let verified = self
            .verifier
            .verify_client_cert(own, between, UnixTime::now());
        verified.is_ok()
    }
}

/// Reads those whom the configuration names; none where clients show no certificates. A certificate must be shown where every
/// grant asks for one.
pub(super) fn read(config: &Config) -> Result<Option<Clients>, ServeError> {
    let Some(ca) = &config.listen.client_ca else {
        return Ok(None);
    };
    let must = config
        .grants
        .iter()
        .all(|grant| grant.credential.certificate.is_some());
    let mut digest = Sha256::new_with_prefix([u8::from(must)]);
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&bytes(ca)?) {
        let certificate = certificate.map_err(|error| unreadable(ca, &error))?;
        may_vouch(&certificate, ca)?;
        digest.update(&certificate);
        roots
            .add(certificate)
            .map_err(|error| unreadable(ca, &error))?;
    }
    if roots.is_empty() {
        return Err(problem(format!("`{}` holds no certificate", ca.display())));
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    if let Some(path) = &config.listen.client_crl {
        let lists = revocation_lists(path)?;
        for list in &lists {
            digest.update(list);
        }
        builder = builder.with_crls(lists).enforce_revocation_expiration();
    }
    if !must {
        builder = builder.allow_unauthenticated();
    }
    let verifier = builder
        .build()
        .map_err(|error| problem(format!("client certificates cannot be verified: {error}")))?;
    let digest = digest.finalize().into();
    Ok(Some(Clients { verifier, digest }))
}

/// A leaf among the CAs could issue certificates for anybody: who looks at a chain does not ask what its root may do.
fn may_vouch(certificate: &CertificateDer<'_>, path: &Path) -> Result<(), ServeError> {
    let (_, parsed) =
        X509Certificate::from_der(certificate).map_err(|error| unreadable(path, &error))?;
    if parsed.is_ca() {
        return Ok(());
    }
    Err(problem(format!(
        "`{}` holds a certificate that is no CA's (`{}`): a grant names a single one as `certificate = {{ sha256 = \"{}\" }}`",
        path.display(),
        parsed.subject(),
        hex::encode(Sha256::digest(certificate)),
    )))
}

fn revocation_lists(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, ServeError> {
    let lists = CertificateRevocationListDer::pem_slice_iter(&bytes(path)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| unreadable(path, &error))?;
    if lists.is_empty() {
        return Err(problem(format!(
            "`{}` holds no revocation list",
            path.display()
        )));
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_secs() as i64);
    for list in &lists {
        let (_, parsed) =
            CertificateRevocationList::from_der(list).map_err(|error| unreadable(path, &error))?;
        let issuer = parsed.issuer();
        match parsed.next_update() {
            Some(next) if next.timestamp() < now => {
                tracing::error!(path = %path.display(), %issuer, "a revocation list is out of date: the certificates of its CA are refused until there is a newer one");
            }
            Some(_) => {}
            None => {
                return Err(problem(format!(
                    "the revocation list of `{issuer}` in `{}` does not say until when it holds",
                    path.display()
                )));
            }
        }
    }
    Ok(lists)
}

fn bytes(path: &Path) -> Result<Vec<u8>, ServeError> {
    std::fs::read(path).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> ServeError {
    problem(format!("cannot read `{}`: {error}", path.display()))
}
