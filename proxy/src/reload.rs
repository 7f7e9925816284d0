//! What changed in the configuration comes into force while the proxy serves: all of it, or nothing.
//!
//! Grants, what opens them, their policies, a given certificate, who vouches for clients, and the issuer of access tokens can change. A call that was admitted goes on under the grant that
//! admitted it; the next request meets the new one. Counters stay, since they belong to no policy: a reload in the middle of a
//! window neither frees nor doubles a budget. Whatever cannot be put in force leaves what is in force as it was, and the log,
//! the health page and a metric say so (DESIGN 6.4).

use std::fmt::{self, Display};
use std::sync::{Arc, Mutex, PoisonError};

use weir_recorder::{Commit, Event, EventKind};

use crate::config::{Config, TlsFiles};
use crate::enforce::tell_suppressed;
use crate::gate::Gate;
use crate::grants::{Grant, Grants};
use crate::serve::{ServeError, blocking, load};
use crate::tls::Presented;

/// Puts another configuration in force in a proxy that serves.
#[derive(Clone)]
pub struct Reloader(Arc<Shared>);

struct Shared {
    gate: Arc<Gate>,
    tls: Arc<Presented>,
    /// What the proxy started with: what else has changed needs another start.
    started: Config,
    /// One at a time.
    turn: tokio::sync::Mutex<()>,
}

/// What a reload changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Grants that are new or not as they were, by name.
    pub grants: Vec<String>,
    /// Grants that open nothing any more; their streams were ended.
    pub removed: Vec<String>,
    /// New connections are shown another certificate.
    pub certificate: bool,
    /// Other client certificates are good, also on connections that are open.
    pub clients: bool,
    /// The access tokens of another issuer are accepted, or on other conditions.
    pub issuer: bool,
    /// Sections that changed too, and come into force with the next start only.
    pub next_start: Vec<&'static str>,
}

impl Reloaded {
    /// Whether everything was in force already.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl Reloader {
    pub(crate) fn new(gate: &Arc<Gate>, tls: &Arc<Presented>, started: Config) -> Self {
        Self(Arc::new(Shared {
            gate: Arc::clone(gate),
            tls: Arc::clone(tls),
            started,
            turn: tokio::sync::Mutex::default(),
        }))
    }

    /// Puts this configuration in force. An error leaves everything as it was.
    pub async fn reload(&self, config: Config) -> Result<Reloaded, ServeError> {
        let _turn = self.0.turn.lock().await;
        let result = self.0.put_in_force(config).await;
        match &result {
            Ok(reloaded) => self.0.told(reloaded),
            Err(error) => self.0.refused(error),
        }
        result
    }

    /// Says that there was another configuration, and that it could not even be read.
    pub async fn refuse(&self, why: &(dyn Display + Sync)) {
        let _turn = self.0.turn.lock().await;
        self.0.refused(why);
    }
}

impl fmt::Debug for Reloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reloader")
    }
}

impl Shared {
    async fn put_in_force(&self, config: Config) -> Result<Reloaded, ServeError> {
        let presented = Arc::clone(&self.tls);
        let (config, grants, tls) = blocking(move || {
            let grants = load::grants(&config)?;
            let tls = presented.renewed(&config)?;
            Ok::<_, ServeError>((config, grants, tls))
        })
        .await??;
        let running = self.gate.issuer.load_full();
        let is_same = running.as_ref().map(|issuer| issuer.config()) == config.oauth.as_ref();
        let issuer = if is_same {
            running
        } else {
            load::issuer(&config).await?
        };
        for grant in &grants.0 {
            if self.gate.server(&grant.server).is_none() {
                return Err(ServeError::NewServer {
                    grant: grant.name.to_string(),
                    server: grant.server.to_string(),
                });
            }
        }
        self.have_counters_for(grants.0.len())?;
        let old = self.gate.grants();
        let grants = Grants(grants.0.into_iter().map(|new| kept(&old, new)).collect());
        let changed = missing(&grants, &old);
        let gone = missing(&old, &grants);
        self.keep(&grants).await?;
        // What comes before this moment is durable once the events are; what comes after it is overheard.
        let recorder = &self.gate.recorder;
        let ledger = &self.gate.ledger;
        let rebuild = ledger.begin_candidates(grants.listings(), recorder.reader());
        let is_behind = rebuild.is_behind();
        let written = self.write_down(&changed, &gone, &grants, is_behind).await;
        if let Err(error) = written {
            ledger.give_candidates_up(&old.listings());
            return Err(error);
        }

        // From here on nothing can fail.
        recorder.retain_window(grants.window());
        load::warn_of_hidden_amounts(&grants, &self.gate.servers);
        let exchanged = self.tls.exchange(tls);
        self.gate.issuer.store(issuer);
        let removed = gone.iter().filter(|grant| grants.named(grant).is_none());
        let reloaded = Reloaded {
            grants: names(changed.iter()),
            removed: names(removed),
            certificate: exchanged.certificate,
            clients: exchanged.clients,
            issuer: !is_same,
            next_start: self.next_start(&config),
        };
        // What was counted of a grant that goes is told while it is there.
        tell_suppressed(&self.gate);
        self.gate.put_in_force(grants);
        let now = self.gate.grants();
        for grant in gone {
            let opens = now.named(&grant).is_some_and(|now| grant.opens_as(now));
            if !opens {
                grant.revoked.cancel();
            }
        }
        load::judge_alongside(&self.gate, rebuild).await;
        Ok(reloaded)
    }

    /// The file was held against its own limits; those in force are of the start.
    fn have_counters_for(&self, grants: usize) -> Result<(), ServeError> {
        let limits = &self.gate.limits;
        let (each, max) = (limits.counters_per_grant, limits.counters_max);
        if grants.saturating_mul(each) > max {
            return Err(ServeError::TooManyGrants { grants, each, max });
        }
        Ok(())
    }

    /// Keeps the policies before any row can name them.
    async fn keep(&self, grants: &Grants) -> Result<(), ServeError> {
        let policies = grants.0.iter().flat_map(|grant| grant.policies());
        let policies: Vec<_> = policies.cloned().collect();
        let recorder = self.gate.recorder.clone();
        blocking(move || {
            for policy in policies {
                recorder.keep_policy(&policy.digest().to_string(), policy.document())?;
            }
            Ok::<_, ServeError>(())
        })
        .await?
    }

    /// What comes into force is in the record before it judges; with `is_awaited` so is everything that was decided before.
    async fn write_down(
        &self,
        changed: &[Arc<Grant>],
        gone: &[Arc<Grant>],
        grants: &Grants,
        is_awaited: bool,
    ) -> Result<(), ServeError> {
        let mut last = None;
        for grant in gone.iter().filter(|grant| grants.named(grant).is_none()) {
            let event = Event {
                grant: Some(&*grant.name),
                server: Some(&*grant.server),
                text: Some("opens nothing any more"),
                ..Event::of(EventKind::Grant)
            };
            last = Some(self.gate.ledger.event(&event));
        }
        for grant in changed {
            last = load::tell_grant(&self.gate.ledger, grant).or(last);
        }
        if last.is_none() && is_awaited {
            // A candidate that was given up is tried again.
            let event = Event::of(EventKind::Configuration);
            last = Some(self.gate.ledger.event(&event));
        }
        match last.map(Commit::wait) {
            Some(durable) => durable
                .await
                .map(drop)
                .map_err(|why| ServeError::Unrecorded {
                    what: why.to_string(),
                }),
            None => Ok(()),
        }
    }

    /// What this proxy would have to start again for.
    fn next_start(&self, config: &Config) -> Vec<&'static str> {
        let (old, new) = (&self.started, config);
        let is_local = new.listen.tls == TlsFiles::Local;
        let listen = (&old.listen.address, &old.listen.hosts, &old.listen.origins)
            != (&new.listen.address, &new.listen.hosts, &new.listen.origins)
            || old.listen.tls != new.listen.tls && is_local;
        [
            ("[listen]", listen),
            ("state", old.state != new.state),
            ("[record]", old.record != new.record),
            ("[object_storage]", old.object_storage != new.object_storage),
            (
                "[admin]",
                (&old.admin, &old.approvers) != (&new.admin, &new.approvers),
            ),
            ("[approvals]", old.approvals != new.approvals),
            ("[telemetry]", old.telemetry != new.telemetry),
            ("[limits]", old.limits != new.limits),
            ("[[server]]", old.servers != new.servers),
        ]
        .into_iter()
        .filter_map(|(section, is_changed)| is_changed.then_some(section))
        .collect()
    }

    fn told(&self, reloaded: &Reloaded) {
        self.gate.reloads.succeeded();
        self.gate.telemetry.reloaded("ok");
        if reloaded.is_nothing() {
            tracing::info!("the configuration was read again; nothing in it has changed");
            return;
        }
        let Reloaded {
            grants,
            removed,
            certificate,
            clients,
            issuer,
            next_start,
        } = reloaded;
        tracing::info!(
            ?grants,
            ?removed,
            certificate,
            clients,
            issuer,
            "what changed in the configuration is in force"
        );
        if !next_start.is_empty() {
            tracing::warn!(sections = ?next_start, "these changed too, and come into force with the next start only");
        }
    }

    fn refused(&self, why: &(dyn Display + Sync)) {
        self.gate.telemetry.reloaded("refused");
        self.gate.reloads.failed(why.to_string());
        tracing::error!(%why, "the changed configuration is not in force; what was in force stays");
    }
}

/// The grant as it is in force already, if it is the same: what it has counted goes on.
fn kept(old: &Grants, new: Arc<Grant>) -> Arc<Grant> {
    match old.named(&new) {
        Some(old) if old.opens_as(&new) && old.is_judged_as(&new) && old.limits == new.limits => {
            Arc::clone(old)
        }
        _ => new,
    }
}

/// The grants of one set that are not, as they are, in the other.
fn missing(from: &Grants, other: &Grants) -> Vec<Arc<Grant>> {
    let is_there = |grant: &Arc<Grant>| other.0.iter().any(|other| Arc::ptr_eq(grant, other));
    let missing = from.0.iter().filter(|grant| !is_there(grant));
    missing.cloned().collect()
}

fn names<'a>(grants: impl Iterator<Item = &'a Arc<Grant>>) -> Vec<String> {
    grants.map(|grant| grant.name.to_string()).collect()
}

/// How reloading fared so far.
#[derive(Debug, Default)]
pub(crate) struct Reloads(Mutex<Fared>);

/// As [`Reloads`], at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fared {
    /// Configurations that came into force after the one of the start.
    pub(crate) succeeded: u64,
    /// Why the newest is not in force, where that is so.
    pub(crate) fault: Option<String>,
}

impl Reloads {
    pub(crate) fn fared(&self) -> Fared {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn succeeded(&self) {
        let mut fared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        fared.succeeded += 1;
        fared.fault = None;
    }

    fn failed(&self, why: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fault = Some(why);
    }
}
