//! What the configuration names, read and made ready: policies, resolvers, upstreams; and what the record is told of them.

use std::sync::Arc;

use weir_policy::{Policy, Resolver};
use weir_recorder::{Event, EventKind, Recorder};

use super::ServeError;
use crate::config::Config;
use crate::definitions::Definitions;
use crate::gate::{Gate, Served};
use crate::grants::{Grant, Grants, RefusalBudget};
use crate::ledger::Folded;
use crate::upstream::Upstream;

/// Every grant with its policy; the problems of all policies at once.
pub(super) fn grants(config: &Config) -> Result<Grants, ServeError> {
    let mut grants = Vec::new();
    let mut problems = Vec::new();
    for grant in &config.grants {
        let mut policy = None;
        if let Some(path) = &grant.policy {
            let source = std::fs::read(path).map_err(|source| ServeError::PolicyFile {
                path: path.clone(),
                source,
            })?;
            match Policy::load(&source, &path.display().to_string()) {
                Ok(loaded) => policy = Some(Arc::new(loaded)),
                Err(found) => problems.push(found),
            }
        }
        grants.push(Arc::new(Grant {
            name: Arc::from(grant.name.as_str()),
            server: Arc::from(grant.server.as_str()),
            token_sha256: grant.token_sha256,
            policy_digest: policy.as_ref().map(|policy| policy.digest().to_string()),
            policy,
            refusals: RefusalBudget::default(),
        }));
    }
    if problems.is_empty() {
        Ok(Grants(grants))
    } else {
        Err(ServeError::Policy { problems })
    }
}

/// Every server with its resolver and the way to it.
pub(super) async fn servers(config: &Config) -> Result<Vec<Arc<Served>>, ServeError> {
    let mut servers = Vec::new();
    for server in &config.servers {
        let resolver =
            Resolver::compile(&server.resolver).map_err(|problem| ServeError::Resolver {
                server: server.name.clone(),
                what: problem.to_string(),
            })?;
        servers.push(Arc::new(Served {
            name: Arc::from(server.name.as_str()),
            upstream: Upstream::connect(&server.upstream).await?,
            resolver_digest: resolver.digest().to_string(),
            resolver,
            definitions: Definitions::default(),
        }));
    }
    Ok(servers)
}

/// Keeps every policy and resolver by its digest, before any row can name it.
pub(super) fn keep(
    recorder: &Recorder,
    grants: &Grants,
    servers: &[Arc<Served>],
) -> Result<(), ServeError> {
    for policy in grants.0.iter().filter_map(|grant| grant.policy.as_ref()) {
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
    for server in &gate.servers {
        let event = Event {
            digest: Some(&*server.resolver_digest),
            server: Some(&*server.name),
            ..Event::of(EventKind::Resolver)
        };
        drop(gate.ledger.event(&event));
    }
    for grant in &gate.grants.0 {
        let (name, server) = (Some(&*grant.name), Some(&*grant.server));
        let digest = grant.policy_digest.as_deref();
        drop(gate.ledger.event(&Event {
            grant: name,
            server,
            digest,
            ..Event::of(EventKind::Grant)
        }));
        if digest.is_some() {
            drop(gate.ledger.event(&Event {
                grant: name,
                server,
                digest,
                ..Event::of(EventKind::Policy)
            }));
        }
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
