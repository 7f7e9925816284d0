//! Notices that the configuration, a policy or a certificate was changed, and has the proxy take it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::signal::unix::Signal;
use weir_proxy::config::TlsFiles;
use weir_proxy::{Config, Reloader};

use crate::{configuration, notify};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Reloads on SIGHUP, and once a file that the configuration names has changed and then stayed as it is for a moment.
pub async fn watch(mut hangup: Signal, reloader: Reloader, path: PathBuf, config: Config) {
    let mut files = files(&path, &config);
    let mut in_force = stamps(&files);
    let mut seen = in_force.clone();
    loop {
        let is_told = tokio::select! {
            told = hangup.recv() => told.is_some(),
            () = tokio::time::sleep(LOOK) => false,
        };
        let now = stamps(&files);
        // Not while an editor is still at it.
        let is_changed = now != in_force && now == seen;
        seen = now;
        if !is_told && !is_changed {
            continue;
        }
        in_force = seen.clone();
        notify::reloading();
        match configuration::load(&path) {
            Ok(config) => {
                files = self::files(&path, &config);
                in_force = stamps(&files);
                seen = in_force.clone();
                // It has told the log, the health page and the metrics how that went.
                drop(reloader.reload(config).await);
            }
            Err(problems) => reloader.refuse(&problems).await,
        }
        notify::reloaded();
    }
}

/// Everything that a reload reads.
fn files(path: &Path, config: &Config) -> Vec<PathBuf> {
    let mut files = vec![path.to_owned()];
    files.extend(
        config
            .grants
            .iter()
            .filter_map(|grant| grant.policy.clone()),
    );
    let candidates = config.grants.iter().flat_map(|grant| &grant.shadow);
    files.extend(candidates.map(|(_, path)| path.clone()));
    if let TlsFiles::Given { certificate, key } = &config.listen.tls {
        files.extend([certificate.clone(), key.clone()]);
    }
    files.extend(config.listen.client_ca.clone());
    files.extend(config.listen.client_crl.clone());
    files
}

/// When each was written, and how long it is; none where it cannot be told.
fn stamps(files: &[PathBuf]) -> BTreeMap<PathBuf, Option<(SystemTime, u64)>> {
    let stamp = |file: &PathBuf| {
        let metadata = std::fs::metadata(file).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    files
        .iter()
        .map(|file| (file.clone(), stamp(file)))
        .collect()
}
