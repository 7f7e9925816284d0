//! What `weir init` writes.

use std::path::PathBuf;

use anyhow::Context as _;

/// Where calls go.
#[derive(Debug)]
pub enum Upstream {
    /// The NAS built into the binary at this path.
    Practice(String),
    /// Streamable HTTP at this address.
    Http(String),
    /// A child process that speaks stdio.
    Stdio(Vec<String>),
}

impl Upstream {
    /// Whether nothing real stands behind it.
    pub fn is_practice(&self) -> bool {
        matches!(self, Self::Practice(_))
    }
}

/// The files of one new configuration.
#[derive(Debug)]
pub struct Files<'a> {
    /// The server's name.
    pub server: &'a str,
    /// The first grant's name.
    pub grant: &'a str,
    /// The server's profile.
    pub profile: Option<&'a str>,
    /// Where calls go.
    pub upstream: &'a Upstream,
    /// The hash of the grant's token.
    pub token_sha256: &'a str,
}

impl Files<'_> {
    /// Where the policy goes, from the new folder.
    pub fn policy_path(&self) -> PathBuf {
        PathBuf::from(format!("policies/{}.json", self.grant))
    }

    /// Where the token goes, from the new folder.
    pub fn token_path(&self) -> PathBuf {
        PathBuf::from(format!("{}.token", self.grant))
    }

    /// A first policy: for a NAS the corpus' starter, for a server we know nothing of what its names suggest.
    pub fn policy(&self) -> anyhow::Result<String> {
        if self.profile != Some("truenas") {
            return Ok(CAUTIOUS.to_owned());
        }
        let starter =
            weir_corpus::policy("starter").context("this binary has lost its starter policy")?;
        Ok(starter.text.to_owned())
    }

    /// weir.toml.
    pub fn config(&self) -> String {
        let Self {
            server,
            grant,
            token_sha256,
            ..
        } = self;
        let profile = match self.profile {
            Some(profile) => format!("profile = {}                      # its operations, their classes and parameters", quoted(profile)),
            None => "# profile = \"truenas\"                    # how calls of a known kind of server are read and checked".to_owned(),
        };
        let redact = match self.profile {
            // The keys of encrypted pools and datasets; elsewhere `key` is no secret.
            Some("truenas") => {
                "redact_keys = [\"key\", \"monpwd\"]          # besides the usual names of secrets"
            }
            Some(_) | None => {
                "# redact = [\"/params/pin\"]               # further values that are never written down"
            }
        };
        format!(
            r#"# Weir's configuration; `weir config reference` prints every key. Paths are relative to this file.

[listen]
address = "127.0.0.1:8443"
# hosts = ["weir.example"]                # further names under which clients reach this address
# tls = {{ certificate = "cert.pem", key = "key.pem" }}
#                                         # left out: the local CA and certificate in `state/`

[record]
path = "record"
durability = "sync"                       # a decision is on disk before its call is forwarded
seal = {{ rows = 131072, age = "60s" }}     # when rows move from the journal into Parquet
# redact_keys = ["*_pin"]                 # values under such keys are never written down; passwords, tokens and the like never are

[admin]
address = "127.0.0.1:9443"                # /healthz, /metrics and /approvals, on loopback only
# approvers = [{{ name = "anna", token = {{ sha256 = "…" }} }}]   # who answers where a policy asks a person

[[server]]
name = "{server}"                          # served at https://127.0.0.1:8443/{server}/mcp
{upstream}
{profile}
{redact}
# audit = {{ "*" = "request", "user_*" = "metadata" }}   # how much of which tool's calls is written down

[[grant]]                                 # one caller's leave to use one server
name = "{grant}"
server = "{server}"
token = {{ sha256 = "{token_sha256}" }}
policy = "policies/{grant}.json"          # check it with `weir policy check`
# shadow = ["policies/candidate.json"]    # judged alongside and recorded, never enforced
"#,
            upstream = self.upstream_lines(),
        )
    }

    fn upstream_lines(&self) -> String {
        const SECRETS: &str = "# headers = { Authorization = { env = \"NAS_TOKEN\" } }\n\
                               #                                         # credentials live here, never come from the agent";
        const OTHERS: &str = "# Your own server instead: either of these, in place of `command` above.\n\
                              # url = \"https://nas.local/mcp\"\n\
                              # command = [\"node\", \"dist/cli.js\"]";
        const ENVIRONMENT: &str = "# environment = { TRUENAS_URL = \"https://nas.local\", TRUENAS_API_KEY = { env = \"NAS_TOKEN\" } }\n\
                                   #                                         # exactly what the command gets; nothing is inherited";
        match self.upstream {
            Upstream::Practice(program) => {
                format!(
                    "command = [{}, \"nas\", \"--stdio\"]   # the practice NAS: it breaks nothing\n{OTHERS}\n{ENVIRONMENT}\n{SECRETS}",
                    quoted(program)
                )
            }
            Upstream::Http(url) => format!("url = {}\n{SECRETS}", quoted(url)),
            Upstream::Stdio(command) => {
                let parts: Vec<String> = command.iter().map(|part| quoted(part)).collect();
                format!("command = [{}]\n{ENVIRONMENT}", parts.join(", "))
            }
        }
    }
}

/// What must not reach a repository.
pub const GITIGNORE: &str =
    "# secrets and evidence: not for a repository\n*.token\nstate/\nrecord/\n";

/// A TOML string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// For a server whose tools we do not know: what sounds like looking is allowed, everything else is not.
const CAUTIOUS: &str = r#"{
  "version": "1",
  "description": "A first policy for a server that Weir does not know: what sounds like looking may pass. Add the tools that the agent needs by name.",
  "default": "deny",
  "all_tools": {
    "limits": [{ "counter": "calls", "window": "minute", "max": 120, "scope": "grant" }]
  },
  "tools": {
    "get_*": {}, "list_*": {}, "read_*": {}, "search_*": {}, "describe_*": {},
    "*_get": {}, "*_list": {}, "*_status": {}
  }
}
"#;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn every_kind_of_upstream_gives_a_document_that_parses() {
        let kinds = [
            Upstream::Practice("/opt/we\"ir".into()),
            Upstream::Http("https://nas.local/mcp".into()),
            Upstream::Stdio(vec!["node".into(), "C:\\x y\\cli.js".into()]),
        ];
        for upstream in &kinds {
            for profile in [None, Some("truenas")] {
                let files = Files {
                    server: "nas",
                    grant: "a",
                    profile,
                    upstream,
                    token_sha256: "00",
                };
                let document: toml::Table = files.config().parse().unwrap();
                assert!(document.contains_key("server"), "{upstream:?}");
            }
        }
    }

    #[test]
    fn both_starter_policies_load_without_a_warning() {
        for profile in [None, Some("truenas")] {
            let upstream = Upstream::Practice("weir".into());
            let files = Files {
                server: "nas",
                grant: "a",
                profile,
                upstream: &upstream,
                token_sha256: "00",
            };
            let policy =
                weir_policy::Policy::load(files.policy().unwrap().as_bytes(), "starter").unwrap();
            assert!(policy.lint(None).is_empty(), "{}", policy.lint(None));
        }
    }
}
