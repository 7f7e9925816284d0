//! Files of expectations, and what they name: policies and profiles.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use weir_policy::{Policy, Profile, Resolver, ResolverSpec, Suite};

use crate::failure::Fix as _;

use super::Job;

/// What files of expectations are called.
const ENDING: &str = ".test.json";

/// One file of expectations.
pub(super) struct TestFile {
    /// The path as it is shown.
    pub(super) name: String,
    place: usize,
    folder: PathBuf,
    suite: Result<Suite, String>,
    policy: Result<Policy, String>,
    resolver: Result<Resolver, String>,
}

impl TestFile {
    fn read(path: &Path, place: usize) -> anyhow::Result<Self> {
        let bytes = fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))?;
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let suite = Suite::parse(&bytes).map_err(|problem| problem.to_string());
        let named = suite
            .as_ref()
            .ok()
            .and_then(|suite| suite.policy.as_deref());
        let policy = match named {
            Some(named) => load(&folder, named),
            None => Err("the file names no `policy`".to_owned()),
        };
        let profile = suite.as_ref().ok().and_then(|suite| suite.profile.clone());
        Ok(Self {
            name: path.display().to_string(),
            place,
            resolver: resolver(profile),
            folder,
            suite,
            policy,
        })
    }

    /// The tests of the file.
    pub(super) fn jobs(&self) -> Vec<Job<'_>> {
        match &self.suite {
            Err(why) => vec![Job::Broken(why)],
            Ok(suite) => {
                let cases = suite.cases.iter().map(Job::Case);
                cases.chain(suite.records.iter().map(Job::Record)).collect()
            }
        }
    }

    /// Where a test stands among all tests.
    pub(super) fn place_of(&self, job: &Job<'_>) -> (usize, usize) {
        let place = |found: Option<usize>| (self.place, found.unwrap_or_default());
        let Ok(suite) = &self.suite else {
            return place(None);
        };
        match job {
            Job::Broken(_) => place(None),
            Job::Case(case) => place(
                suite
                    .cases
                    .iter()
                    .position(|known| std::ptr::eq(known, *case)),
            ),
            Job::Record(case) => {
                let known = suite
                    .records
                    .iter()
                    .position(|known| std::ptr::eq(known, *case));
                place(known.map(|known| suite.cases.len() + known))
            }
        }
    }

    /// The policy of the file.
    pub(super) fn policy(&self) -> Result<&Policy, String> {
        self.policy.as_ref().map_err(Clone::clone)
    }

    /// How calls are read.
    pub(super) fn resolver(&self) -> Result<&Resolver, String> {
        self.resolver.as_ref().map_err(Clone::clone)
    }

    /// A policy beside the file.
    pub(super) fn load(&self, path: &str) -> Result<Policy, String> {
        load(&self.folder, path)
    }

    /// A path as the file writes it.
    pub(super) fn beside(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }
}

fn load(folder: &Path, path: &str) -> Result<Policy, String> {
    let path = folder.join(path);
    let name = path.display().to_string();
    let bytes =
        fs::read(&path).map_err(|error| format!("cannot read the policy `{name}`: {error}"))?;
    Policy::load(&bytes, &name).map_err(|problems| problems.to_string())
}

fn resolver(profile: Option<String>) -> Result<Resolver, String> {
    if let Some(name) = &profile
        && Profile::named(name).is_none()
    {
        return Err(format!("no profile is called `{name}`; there is `truenas`"));
    }
    Resolver::compile(&ResolverSpec {
        profile,
        ..ResolverSpec::default()
    })
    .map_err(|problem| problem.to_string())
}

/// Reads these files, and of folders every `*.test.json` below, in the order of their paths.
pub(super) fn read(paths: &[PathBuf]) -> anyhow::Result<Vec<TestFile>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let before = files.len();
            collect(path, &mut files)?;
            if files.len() == before {
                return Err(anyhow::anyhow!("no `*{ENDING}` is in `{}`", path.display()))
                    .fix(|| "keep expectations beside their policy, as `ops.test.json`".into());
            }
        } else {
            files.push(path.clone());
        }
    }
    let files = files.iter().enumerate();
    files
        .map(|(place, path)| TestFile::read(path, place))
        .collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let unread = || format!("cannot read the folder `{}`", folder.display());
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).with_context(unread)? {
        let entry = entry.with_context(unread)?;
        entries.push((entry.path(), entry.file_type().with_context(unread)?));
    }
    entries.sort_by(|one, other| one.0.cmp(&other.0));
    for (path, kind) in entries {
        // what a link leads to may be anywhere, and may lead back
        if kind.is_dir() {
            collect(&path, files)?;
        } else if path.to_string_lossy().ends_with(ENDING) {
            files.push(path);
        }
    }
    Ok(())
}
