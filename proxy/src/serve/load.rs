//! What the configuration names, read and made ready: policies, resolvers, upstreams; and what the record is told of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use weir_policy::{Policy, Problems, Resolver};
use weir_recorder::{Commit, Durability, Event, EventKind, Recorder};

use super::error::Faults;
use super::{ServeError, blocking};
use crate::approvals::{Approver, Approvers};
use crate::config::Config;
use crate::definitions::Definitions;
use crate::gate::{Gate, Served};
use crate::grants::{Grant, Grants, RefusalBudget};
use crate::ledger::{Candidate, Folded, Ledger, Rebuild};
use crate::oauth::Issuer;
use crate::standing::Standing;
use crate::upstream::Upstream;

/// Every grant with its policy and its candidates; the problems of all of them at once.
pub(crate) fn grants(config: &Config) -> Result<Grants, ServeError> {
    let mut grants = Vec::new();
    let mut shelf = Shelf::default();
    for grant in &config.grants {
        let policy = match &grant.policy {
            Some(path) => shelf.policy(path),
            None => None,
        };
        let mut candidates: Vec<Candidate> = Vec::new();
        for (name, path) in &grant.shadow {
            let candidate = shelf.policy(path).map(|it| Candidate::new(name, it));
            // Two files that say the same are one candidate.
            let is_new = |new: &Candidate| candidates.iter().all(|it| it.digest != new.digest);
            candidates.extend(candidate.filter(is_new));
        }
        grants.push(Arc::new(Grant {
            name: Arc::from(grant.name.as_str()),
            server: Arc::from(grant.server.as_str()),
            credential: grant.credential.clone(),
            policy_digest: policy.as_ref().map(|policy| policy.digest().to_string()),
            policy,
            candidates,
            limits: grant.limits,
            since: Timestamp::now(),
            refusals: RefusalBudget::default(),
            revoked: CancellationToken::new(),
        }));
    }
    if !shelf.problems.is_empty() {
        let problems = shelf.problems;
        shelf.faults.note(ServeError::Policy { problems });
    }
    shelf.faults.told()?;
    Ok(Grants(grants))
}

/// Policy files that were read, each once.
#[derive(Default)]
struct Shelf {
    loaded: BTreeMap<PathBuf, Option<Arc<Policy>>>,
    problems: Vec<Problems>,
    faults: Faults,
}

impl Shelf {
    /// The policy in a file; none where it does not load, and its problems are noted.
    fn policy(&mut self, path: &Path) -> Option<Arc<Policy>> {
        if let Some(loaded) = self.loaded.get(path) {
            return loaded.clone();
        }
        let source = std::fs::read(path).map_err(|source| ServeError::PolicyFile {
            path: path.to_owned(),
            source,
        });
        let source = self.faults.noting(source);
        let policy = source.and_then(|source| {
            Policy::load(&source, &path.display().to_string())
                .map(Arc::new)
                .map_err(|found| self.problems.push(found))
                .ok()
        });
        self.loaded.insert(path.to_owned(), policy.clone());
        policy
    }
}

/// Who may answer where a policy asks a person.
pub(super) fn approvers(config: &Config) -> Approvers {
    let approvers = config.approvers.iter().map(|approver| Approver {
        name: approver.name.clone(),
        token_sha256: approver.token_sha256,
    });
    Approvers(approvers.collect())
}

/// Whose access tokens open grants, if anybody's. Its keys are read in the background.
pub(crate) async fn issuer(config: &Config) -> Result<Option<Arc<Issuer>>, ServeError> {
    match &config.oauth {
        Some(oauth) => Ok(Some(Issuer::start(oauth).await?)),
        None => Ok(None),
    }
}

/// Every server with its resolver and the way to it; what is wrong with all of them at once.
pub(crate) async fn servers(config: &Config) -> Result<Vec<Arc<Served>>, ServeError> {
    let mut servers = Vec::new();
    let mut faults = Faults::default();
    for server in &config.servers {
        let resolver =
            Resolver::compile(&server.resolver).map_err(|problem| ServeError::Resolver {
                server: server.name.clone(),
                what: problem.to_string(),
            });
        let upstream = Upstream::connect(&server.upstream).await;
        let resolver = faults.noting(resolver);
        let upstream = faults.noting(upstream.map_err(ServeError::from));
        let (Some(resolver), Some(upstream)) = (resolver, upstream) else {
            continue;
        };
        servers.push(Arc::new(Served {
            name: Arc::from(server.name.as_str()),
            upstream,
            resolver_digest: resolver.digest().to_string(),
            resolver,
            keeping: server.keeping.clone(),
            definitions: Definitions::default(),
            standing: Standing::default(),
        }));
    }
    faults.told()?;
    Ok(servers)
}

/// Says which limits can admit nothing, since the record will not hold what they count.
pub(crate) fn warn_of_hidden_amounts(grants: &Grants, servers: &[Arc<Served>]) {
    for grant in &grants.0 {
        let server = servers.iter().find(|server| server.name == grant.server);
        let Some(server) = server else { continue };
        for policy in grant.policies() {
            for (rule, path) in policy.amounts_hidden_by(&server.keeping.arguments) {
                tracing::warn!(grant = %grant.name, policy = policy.name(), rule, path, "a limit counts an amount that is redacted: it denies every call");
            }
        }
    }
}

/// Keeps every policy and resolver by its digest, before any row can name it.
pub(super) fn keep(
    recorder: &Recorder,
    grants: &Grants,
    servers: &[Arc<Served>],
) -> Result<(), ServeError> {
    for policy in grants.0.iter().flat_map(|grant| grant.policies()) {
        recorder.keep_policy(&policy.digest().to_string(), policy.document())?;
    }
    for server in servers {
        recorder.keep_resolver(&server.resolver_digest, server.resolver.document())?;
    }
    Ok(())
}

/// Tells the record that this proxy began to serve, and what came into force.
pub(super) fn tell(gate: &Gate, folded: Folded) {
    let version = concat!("weir ", env!("CARGO_PKG_VERSION"));
    drop(gate.ledger.event(&Event {
        text: Some(version),
        ..Event::of(EventKind::Start)
    }));
    if gate.recorder.durability() == Durability::Off {
        tracing::warn!("calls are judged and not recorded: `recording` is \"off\"");
        drop(gate.ledger.event(&Event {
            text: Some("recording is off: the log has no calls from here to the next start"),
            ..Event::of(EventKind::Configuration)
        }));
    }
    for server in &gate.servers {
        let event = Event {
            digest: Some(&*server.resolver_digest),
            server: Some(&*server.name),
            ..Event::of(EventKind::Resolver)
        };
        drop(gate.ledger.event(&event));
    }
    for grant in &gate.grants().0 {
        drop(tell_grant(&gate.ledger, grant));
    }
    if folded.gaps > 0 {
        let text =
            "what some calls counted is not known; their limits started empty, as configured";
        let count = i64::try_from(folded.gaps).ok();
        drop(gate.ledger.event(&Event {
            count,
            text: Some(text),
            ..Event::of(EventKind::LimitStart)
        }));
    }
}

/// Tells the record that a grant came into force, and its policy; the last of these entries comes back.
pub(crate) fn tell_grant(ledger: &Ledger, grant: &Grant) -> Option<Commit> {
    let digest = grant.policy_digest.as_deref();
    let kinds = [Some(EventKind::Grant), digest.map(|_| EventKind::Policy)];
    let events = kinds.into_iter().flatten().map(|kind| {
        ledger.event(&Event {
            grant: Some(&*grant.name),
            server: Some(&*grant.server),
            digest,
            ..Event::of(kind)
        })
    });
    events.last()
}

/// Has the candidates judged alongside, once they have caught up with the record. What is in force serves meanwhile, and also where they
/// cannot be: then the log says why.
pub(crate) async fn judge_alongside(gate: &Arc<Gate>, mut rebuild: Rebuild) {
    let ledger = Arc::clone(gate);
    let put = move || {
        rebuild.read()?;
        ledger.ledger.put_candidates_in_place(rebuild)
    };
    let why = match blocking(put).await {
        Ok(Ok(())) => return,
        Ok(Err(why)) => why.to_string(),
        Err(why) => why.to_string(),
    };
    gate.ledger.give_candidates_up(&gate.grants().listings());
    tracing::error!(%why, "new candidates are not judged alongside");
}
