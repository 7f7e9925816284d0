//! What the command line says, as the configuration that it stands for.

use std::path::Path;

use anyhow::anyhow;
use toml::{Table, Value};
use weir_proxy::config::Config;

use crate::configuration;
use crate::failure::{Fix as _, advised};

/// The arguments without a weir.toml.
pub struct Told<'a> {
    pub policy: Option<&'a Path>,
    pub record: Option<&'a Path>,
    pub profile: Option<&'a str>,
    pub grant: &'a str,
    pub server: &'a str,
    pub url: Option<&'a str>,
    pub ca: Option<&'a Path>,
    pub headers: &'a [String],
    pub command: &'a [String],
}

impl Told<'_> {
    /// Read as a weir.toml is, so that the same words mean the same and the same things are checked.
    pub fn read(&self) -> anyhow::Result<Config> {
        let text = self.text()?.to_string();
        let here = std::env::current_dir()?.join("weir wrap");
        Config::read(&text, &here, &|name| std::env::var(name).ok()).map_err(|problems| {
            // Its lines are nobody's.
            let told: Vec<String> = problems
                .problems
                .iter()
                .map(|problem| problem.message.clone())
                .collect();
            let error = anyhow!("{}", told.join("; "));
            match problems.problems.iter().find_map(|p| p.hint.clone()) {
                Some(hint) => advised(error, hint),
                None => error,
            }
        })
    }

    fn text(&self) -> anyhow::Result<Table> {
        let path = |path: &Path| Value::from(configuration::absolute(path).display().to_string());
        let mut server = Table::from_iter([("name".to_owned(), Value::from(self.server))]);
        let optional = [
            ("profile", self.profile.map(Value::from)),
            ("url", self.url.map(Value::from)),
            ("ca", self.ca.map(path)),
        ];
        server.extend(
            optional
                .into_iter()
                .filter_map(|(key, value)| Some((key.to_owned(), value?))),
        );
        if !self.command.is_empty() {
            let words = self.command.iter().map(|word| Value::from(word.as_str()));
            server.insert("command".to_owned(), Value::Array(words.collect()));
        }
        let mut headers = Table::new();
        for header in self.headers {
            let (name, variable) = header
                .split_once('=')
                .ok_or_else(|| anyhow!("`{header}` names no variable"))
                .fix(|| {
                    "write NAME=VARIABLE, and put the header's value in that environment variable"
                        .into()
                })?;
            let reference = Table::from_iter([("env".to_owned(), Value::from(variable))]);
            headers.insert(name.to_owned(), reference.into());
        }
        if !headers.is_empty() {
            server.insert("headers".to_owned(), headers.into());
        }
        // A grant is opened by a token; here nobody can bring one, and nothing hashes to this.
        let token = Table::from_iter([("sha256".to_owned(), Value::from("0".repeat(64)))]);
        let mut grant = Table::from_iter([
            ("name".to_owned(), Value::from(self.grant)),
            ("server".to_owned(), Value::from(self.server)),
            ("token".to_owned(), token.into()),
        ]);
        grant.extend(self.policy.map(|file| ("policy".to_owned(), path(file))));
        let record = self.record.map(|folder| ("path".to_owned(), path(folder)));
        Ok(Table::from_iter([
            ("record".to_owned(), Value::from(Table::from_iter(record))),
            ("server".to_owned(), Value::Array(vec![server.into()])),
            ("grant".to_owned(), Value::Array(vec![grant.into()])),
        ]))
    }
}
