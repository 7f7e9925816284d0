//! A CA of this host alone: made on the first start, kept, and asked for a new certificate on every start.
//!
//! Only the CA touches the disk, its key with mode 0600; the certificate that clients see lives in memory, so that its names
//! follow the configuration and it never grows old.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::serve::ServeError;

/// A fresh certificate and the CA that vouches for it.
pub(super) struct Issued {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
    pub(super) ca_pem_path: PathBuf,
}

const DAY: Duration = Duration::from_hours(24);

/// Issues a certificate for these names and addresses from the CA in `state`, which is made if it is not there.
pub(super) fn issue(state: &Path, names: &[String]) -> Result<Issued, ServeError> {
    let (issuer, ca_pem_path) = issuer(state)?;
    let key = KeyPair::generate().map_err(ours)?;
    let certificate = leaf(names)
        .map_err(ours)?
        .signed_by(&key, &issuer)
        .map_err(ours)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    Ok(Issued {
        chain: vec![certificate.der().clone()],
        key,
        ca_pem_path,
    })
}

/// A certificate for a client, and the only copy of its key.
pub struct ClientIdentity {
    /// The certificate.
    pub certificate_pem: String,
    /// Its private key. It has no `Debug`, so that no log can show it.
    pub key_pem: String,
    /// The CA that vouches for it.
    pub ca_pem_path: PathBuf,
}

/// Issues a certificate with the subject `CN=name` that opens nothing but what a grant gives it.
pub(super) fn client(state: &Path, name: &str, days: u32) -> Result<ClientIdentity, ServeError> {
    let (issuer, ca_pem_path) = issuer(state)?;
    let key = KeyPair::generate().map_err(ours)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    valid_for(&mut params, days);
    let certificate = params.signed_by(&key, &issuer).map_err(ours)?;
    Ok(ClientIdentity {
        certificate_pem: certificate.pem(),
        key_pem: key.serialize_pem(),
        ca_pem_path,
    })
}

/// The CA in `state`, which is made if it is not there, and its certificate's place.
fn issuer(state: &Path) -> Result<(Issuer<'static, KeyPair>, PathBuf), ServeError> {
    let ca_pem_path = state.join("ca.pem");
    let key_path = state.join("ca-key.pem");
    let issuer = match (ca_pem_path.exists(), key_path.exists()) {
        (true, true) => kept(&ca_pem_path, &key_path)?,
        (false, false) => made(state, &ca_pem_path, &key_path)?,
        (true, false) => return Err(half(&ca_pem_path, &key_path)),
        (false, true) => return Err(half(&key_path, &ca_pem_path)),
    };
    Ok((issuer, ca_pem_path))
}

fn kept(ca: &Path, key: &Path) -> Result<Issuer<'static, KeyPair>, ServeError> {
    let key_pem = fs::read_to_string(key).map_err(|error| file("read", key, &error))?;
    let ca_pem = fs::read_to_string(ca).map_err(|error| file("read", ca, &error))?;
    let pair = KeyPair::from_pem(&key_pem).map_err(|error| broken(key, &error))?;
    Issuer::from_ca_cert_pem(&ca_pem, pair).map_err(|error| broken(ca, &error))
}

fn made(state: &Path, ca: &Path, key: &Path) -> Result<Issuer<'static, KeyPair>, ServeError> {
    fs::create_dir_all(state).map_err(|error| file("make", state, &error))?;
    let pair = KeyPair::generate().map_err(ours)?;
    let params = authority();
    let certificate = params.self_signed(&pair).map_err(ours)?;
    write_new(key, &pair.serialize_pem(), 0o600)?;
    write_new(ca, &certificate.pem(), 0o644)?;
    Ok(Issuer::new(params, pair))
}

fn authority() -> CertificateParams {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, "Weir local CA");
    params.distinguished_name.push(
        DnType::OrganizationalUnitName,
        uuid::Uuid::new_v4().to_string(),
    );
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid_for(&mut params, 3650);
    params
}

fn leaf(names: &[String]) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, "Weir");
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    valid_for(&mut params, 820);
    Ok(params)
}

/// From yesterday, since clocks differ, for so many days.
fn valid_for(params: &mut CertificateParams, days: u32) {
    let now = std::time::SystemTime::now();
    params.not_before = (now - DAY).into();
    params.not_after = (now + DAY * days).into();
}

fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), ServeError> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    let written = options.open(path).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| file("write", path, &error))
}

fn file(verb: &str, path: &Path, error: &io::Error) -> ServeError {
    ServeError::Tls {
        what: format!("cannot {verb} `{}`: {error}", path.display()),
    }
}

fn half(there: &Path, missing: &Path) -> ServeError {
    let what = format!(
        "`{}` is there and `{}` is not: restore it, or remove both for a new CA",
        there.display(),
        missing.display()
    );
    ServeError::Tls { what }
}

fn broken(path: &Path, error: &rcgen::Error) -> ServeError {
    ServeError::Tls {
        what: format!("`{}` cannot be used: {error}", path.display()),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape of map_err")]
fn ours(error: rcgen::Error) -> ServeError {
    ServeError::Tls {
        what: format!("cannot make a certificate: {error}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::*;

    #[test]
    fn the_ca_is_made_once_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let first = issue(&state, &names).unwrap();
        let ca = fs::read(&first.ca_pem_path).unwrap();
        let second = issue(&state, &names).unwrap();
        assert_eq!(fs::read(second.ca_pem_path).unwrap(), ca);
        assert_ne!(
            first.chain[0], second.chain[0],
            "certificates are made anew"
        );
    }

    #[cfg(unix)]
    #[test]
    fn the_key_of_the_ca_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        issue(folder.path(), &["localhost".to_owned()]).unwrap();
        let mode = fs::metadata(folder.path().join("ca-key.pem"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn half_a_ca_is_an_error_that_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let issued = issue(folder.path(), &["localhost".to_owned()]).unwrap();
        fs::remove_file(issued.ca_pem_path).unwrap();
        let error = issue(folder.path(), &["localhost".to_owned()])
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("restore it"), "{error}");
    }
}
