//! OAuth 2.1, as a resource server: access tokens of one authorisation server open grants.
//!
//! Weir issues nothing and forwards no token. It says whose tokens it takes (RFC 9728, in `enforce/metadata.rs`), reads that
//! issuer's keys, and believes a token that one of them signed (RFC 9068) if it was made for this server, now. Whatever cannot
//! be told, an unknown key, an issuer that was unreachable for too long, refuses.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio_util::task::AbortOnDropHandle;

pub(crate) use self::token::{Access, Unaccepted};

use self::keys::KeySet;
use self::source::Source;
use crate::config::OauthConfig;
use crate::serve::ServeError;

mod keys;
mod source;
mod token;

/// Between two readings that callers ask for by naming a key nobody knows.
const ASKED_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// After a reading that failed, if the issuer's keys were never read or are getting old.
const RETRIED_AFTER: Duration = Duration::from_secs(10);

/// The authorisation server whose tokens are accepted, and its keys.
pub(crate) struct Issuer {
    shared: Arc<Shared>,
    /// Reads the keys again; ends with this.
    _reading: AbortOnDropHandle<()>,
}

struct Shared {
    config: OauthConfig,
    source: Source,
    keys: ArcSwapOption<KeySet>,
    /// One reading at a time; when the last one began.
    turn: tokio::sync::Mutex<Option<Instant>>,
    /// Why the last reading failed, if it did.
    fault: Mutex<Option<String>>,
}

/// How the issuer is, for the health page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IssuerHealth {
    pub(crate) issuer: String,
    pub(crate) keys: usize,
    /// Since its keys were read; none if they never were.
    pub(crate) age: Option<Duration>,
    /// Why they could not be read the last time.
    pub(crate) fault: Option<String>,
}

impl Issuer {
    /// Begins to read the issuer's keys. That it cannot be reached is no error: its tokens are refused until it can.
    pub(crate) async fn start(config: &OauthConfig) -> Result<Arc<Self>, ServeError> {
        let source = Source::new(config)
            .await
            .map_err(|what| ServeError::Issuer { what })?;
        let shared = Arc::new(Shared {
            config: config.clone(),
            source,
            keys: ArcSwapOption::empty(),
            turn: tokio::sync::Mutex::default(),
            fault: Mutex::default(),
        });
        let reading = tokio::spawn(keep_reading(Arc::clone(&shared)));
        Ok(Arc::new(Self {
            shared,
            _reading: AbortOnDropHandle::new(reading),
        }))
    }

    pub(crate) fn config(&self) -> &OauthConfig {
        &self.shared.config
    }

    /// What this token gives at this server, if it is to be believed.
    pub(crate) async fn accept(&self, token: &str, server: &str) -> Result<Access, Unaccepted> {
        let head = token::Head::read(token)?;
        let known = self.shared.believed();
        let is_known = known.as_ref().is_some_and(|keys| keys.knows(&head));
        let keys = if is_known {
            known
        } else {
            self.shared.ask_again().await;
            self.shared.believed()
        };
        let keys = keys.ok_or(Unaccepted::NoKeys)?;
        token::accept(token, &head, &keys, &self.shared.config, server)
    }

    pub(crate) fn health(&self) -> IssuerHealth {
        let keys = self.shared.keys.load();
        let fault = self.shared.fault.lock();
        IssuerHealth {
            issuer: self.shared.config.issuer.clone(),
            keys: keys.as_ref().map_or(0, |keys| keys.len()),
            age: keys.as_ref().map(|keys| keys.read.elapsed()),
            fault: fault.unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Issuer({})", self.shared.config.issuer)
    }
}

impl Shared {
    /// The keys, if they are not too old to be believed.
    fn believed(&self) -> Option<Arc<KeySet>> {
        let keys = self.keys.load_full()?;
        (keys.read.elapsed() <= self.config.stale_max).then_some(keys)
    }

    /// Reads the keys for a caller who names one that is not known: at most every so often, whoever asks, so that made-up
    /// names cannot turn Weir against its issuer.
    async fn ask_again(&self) {
        let came = Instant::now();
        let mut last = self.turn.lock().await;
        let may = last.is_none_or(|last| last < came && last.elapsed() >= ASKED_AGAIN_AFTER);
        if may {
            self.read(&mut last).await;
        }
    }

    /// Reads the keys; those that are known stay if that fails.
    async fn read(&self, last: &mut Option<Instant>) {
        *last = Some(Instant::now());
        let read = self.source.keys().await;
        let fault = match read {
            Ok(keys) => {
                let count = keys.len();
                let old = self.keys.swap(Some(Arc::new(keys)));
                if old.is_none_or(|old| old.len() != count) {
                    tracing::info!(
                        issuer = self.config.issuer,
                        keys = count,
                        "the issuer's keys were read"
                    );
                }
                None
            }
            Err(why) => {
                tracing::warn!(issuer = self.config.issuer, %why, "the issuer's keys could not be read");
                Some(why)
            }
        };
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }
}

/// Reads the keys now and then, so that one that the issuer has taken away opens nothing any more.
async fn keep_reading(shared: Arc<Shared>) {
    loop {
        let is_faulty = {
            let mut last = shared.turn.lock().await;
            shared.read(&mut last).await;
            drop(last);
            let fault = shared.fault.lock();
            fault.unwrap_or_else(PoisonError::into_inner).is_some()
        };
        let pause = if is_faulty {
            RETRIED_AFTER.min(shared.config.refresh)
        } else {
            shared.config.refresh
        };
        tokio::time::sleep(pause).await;
    }
}
