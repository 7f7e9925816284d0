//! Reading weir.toml with the process' environment, which only this crate may look at.

use std::path::{Path, PathBuf};

use weir_proxy::Config;

use crate::failure::Rendered;

/// Reads a configuration, or says everything that is wrong with it.
pub fn load(path: &Path) -> anyhow::Result<Config> {
    Config::load_with_environment(path, &|name| std::env::var(name).ok()).map_err(Rendered::bad)
}

/// The whole path, for a file that other programs are to find.
pub fn absolute(path: &Path) -> PathBuf {
    std::fs::canonicalize(path)
        .or_else(|_| std::path::absolute(path))
        .unwrap_or_else(|_| path.to_owned())
}
