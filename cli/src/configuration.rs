//! Reading weir.toml with the process' environment, which only this crate may look at.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use weir_policy::Policy;
use weir_proxy::Config;

use crate::failure::Rendered;

/// Reads a configuration, or says everything that is wrong with it.
pub fn load(path: &Path) -> anyhow::Result<Config> {
    Config::load_with_environment(path, &|name| std::env::var(name).ok()).map_err(|problems| {
        // What is wrong with the policies that it names would otherwise be told only once it is right.
        let mut pages = vec![problems.to_string()];
        pages.extend(wrong(problems.policies.iter()));
        Rendered::bad(pages.join("\n\n"))
    })
}

/// As [`load`]; a policy that does not load is an error too.
pub fn load_with_policies(path: &Path) -> anyhow::Result<Config> {
    let config = load(path)?;
    let policies: BTreeSet<&PathBuf> = config.policies().collect();
    let pages = wrong(policies.into_iter());
    if pages.is_empty() {
        Ok(config)
    } else {
        Err(Rendered::bad(pages.join("\n\n")))
    }
}

/// What is wrong with these policies, each with its carets.
fn wrong<'p>(policies: impl Iterator<Item = &'p PathBuf>) -> Vec<String> {
    let problems = policies.filter_map(|policy| {
        let name = policy.display();
        match std::fs::read(policy) {
            Ok(source) => {
                let problems = Policy::load(&source, &name.to_string()).err()?;
                Some(problems.styled())
            }
            Err(error) => Some(format!("cannot read the policy `{name}`: {error}")),
        }
    });
    problems.collect()
}

/// The whole path, for a file that other programs are to find.
pub fn absolute(path: &Path) -> PathBuf {
    std::fs::canonicalize(path)
        .or_else(|_| std::path::absolute(path))
        .unwrap_or_else(|_| path.to_owned())
}
