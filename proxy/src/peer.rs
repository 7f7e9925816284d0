//! Who is at the other end of a connection: an address, and the client certificate that was verified when it began.
//!
//! A connection may live for days, so its certificate is looked at with each request: whether it is past its end, and, when
//! the CAs or revocation lists were exchanged or some time went by, whether they still vouch for it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rustls_pki_types::CertificateDer;

use crate::bounds::{Bounds, Full, Place, Resource};
use crate::certificate::ClientCertificate;
use crate::grants::Grant;
use crate::tls::{Clients, Presented};

/// How long a verification holds: what lies between, a CA or a revocation list, may have ended meanwhile.
const HOLDS: Duration = Duration::from_secs(10);

/// The other end of a connection.
pub(crate) struct Peer {
    pub(crate) address: IpAddr,
    /// The same for the record, where a pipe has none.
    pub(crate) address_text: Arc<str>,
    shown: Option<Shown>,
    /// The grants under which this connection has called, and the place of each; mostly it is one.
    callers: Mutex<Vec<(Arc<str>, Place)>>,
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Peer({})", self.address)
    }
}

/// A certificate that was good when the connection began.
struct Shown {
    /// None where it is good but cannot be read: it opens nothing.
    certificate: Option<ClientCertificate>,
    chain: Vec<CertificateDer<'static>>,
    presented: Arc<Presented>,
    verified: Mutex<Verified>,
}

struct Verified {
    by: Option<Clients>,
    at: Instant,
    is_good: bool,
}

/// The certificate of this connection is not good any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lapsed;

impl Peer {
    /// `chain` as TLS verified it, if the client showed one.
    pub(crate) fn new(
        address: IpAddr,
        chain: Option<&[CertificateDer<'_>]>,
        presented: &Arc<Presented>,
    ) -> Self {
        let shown = chain.filter(|chain| !chain.is_empty()).map(|chain| Shown {
            certificate: chain.first().and_then(ClientCertificate::parse),
            chain: chain.iter().map(|der| der.clone().into_owned()).collect(),
            presented: Arc::clone(presented),
            // Verified just now, by whoever vouched then: looked at anew with the first request.
            verified: Mutex::new(Verified {
                by: None,
                at: Instant::now(),
                is_good: false,
            }),
        });
        Self {
            address,
            address_text: address.to_canonical().to_string().into(),
            shown,
            callers: Mutex::default(),
        }
    }

    /// Whoever started this process, and has the other end of its pipe.
    pub(crate) fn of_pipe() -> Self {
        Self {
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            address_text: "stdio".into(),
            shown: None,
            callers: Mutex::default(),
        }
    }

    /// Takes a place among the grant's connections, with the first request under it; kept until the connection ends.
    pub(crate) fn comes_as(&self, bounds: &Bounds, grant: &Grant) -> Result<(), Full> {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        if callers.iter().all(|(name, _)| *name != grant.name) {
            let place = bounds.take_of_grant(Resource::Connections, grant)?;
            callers.push((Arc::clone(&grant.name), place));
        }
        Ok(())
    }

    /// The certificate, if one was shown that is good now.
    pub(crate) fn certificate(&self) -> Result<Option<&ClientCertificate>, Lapsed> {
        match &self.shown {
            Some(shown) if shown.is_good() => Ok(shown.certificate.as_ref()),
            Some(_) => Err(Lapsed),
            None => Ok(None),
        }
    }

    /// Done when the certificate is not good any more; never, where there is none.
    pub(crate) async fn lapsed(&self) {
        let Some(shown) = &self.shown else {
            return std::future::pending().await;
        };
        let mut exchanges = shown.presented.exchanges();
        while shown.is_good() {
            tokio::select! {
                () = tokio::time::sleep(shown.pause()) => {}
                told = exchanges.changed() => if told.is_err() { return },
            }
        }
    }
}

impl Shown {
    fn is_good(&self) -> bool {
        let not_after = self.certificate.as_ref().map(|own| own.not_after);
        if not_after.is_some_and(|end| end < SystemTime::now()) {
            return false;
        }
        let now = self.presented.clients();
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if verified.by != now || verified.at.elapsed() > HOLDS {
            let is_good = now.as_ref().is_some_and(|now| now.vouch_for(&self.chain));
            *verified = Verified {
                by: now,
                at: Instant::now(),
                is_good,
            };
        }
        verified.is_good
    }

    /// Until it is to be looked at again.
    fn pause(&self) -> Duration {
        let end = self.certificate.as_ref().map(|own| own.not_after);
        let left = end.and_then(|end| end.duration_since(SystemTime::now()).ok());
        let left = left.map_or(HOLDS, |left| left.saturating_add(Duration::from_millis(50)));
        left.min(HOLDS)
    }
}
