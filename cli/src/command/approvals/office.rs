//! Where questions are answered: the admin address of a running proxy, and the token of an approver.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::{Method, Request, StatusCode};
use serde_json::Value;

use super::{Format, page};
use crate::admin::{Admin, AdminArguments};
use crate::failure::{Fix as _, advised};

/// The proxy, and whose token is shown to it.
#[derive(Debug, clap::Args)]
pub(super) struct OfficeArguments {
    #[command(flatten)]
    admin: AdminArguments,

    /// The file that holds the approver's token.
    #[arg(long, value_name = "FILE", conflicts_with = "token_env")]
    token_file: Option<PathBuf>,

    /// The environment variable that holds the approver's token.
    #[arg(long, value_name = "NAME", default_value = "WEIR_APPROVER_TOKEN")]
    token_env: String,

    /// How to show it.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// An open way to the proxy.
pub(super) struct Office {
    admin: Admin,
    token: String,
    pub(super) format: Format,
}

/// Of a question's name at least so much.
const PREFIX_MIN: usize = 4;

impl OfficeArguments {
    pub(super) fn open(self) -> anyhow::Result<Office> {
        let admin = self.admin.open()?;
        let token = match &self.token_file {
            Some(path) => std::fs::read_to_string(path)
                .with_context(|| format!("cannot read `{}`", path.display()))?,
            None => std::env::var(&self.token_env)
                .map_err(|_| anyhow!("no approver's token in `{}`", self.token_env))
                .fix(|| {
                    "set it, or give `--token-file`; `weir token new` makes a token for `approvers` in [admin]".into()
                })?,
        };
        Ok(Office {
            admin,
            token: token.trim().to_owned(),
            format: self.format,
        })
    }
}

impl Office {
    /// What waits, the oldest first.
    pub(super) fn held(&self) -> anyhow::Result<Vec<Value>> {
        let mut answer = self.ask(&Method::GET, "/approvals", None)?;
        match answer.get_mut("held").map(Value::take) {
            Some(Value::Array(held)) => Ok(held),
            _ => Err(anyhow!(
                "`http://{}` is no proxy of this version",
                self.admin.authority
            )),
        }
    }

    /// The question of this name, or whose name begins so and that waits.
    pub(super) fn question(&self, id: &str) -> anyhow::Result<Value> {
        if !id.chars().all(|c| c.is_ascii_alphanumeric()) {
            return Err(advised(
                anyhow!("`{}` names no question", weir_replay::shown(id)),
                "`weir approvals list` shows what waits".into(),
            ));
        }
        let held = self.held()?;
        let mut begin = held
            .into_iter()
            .filter(|question| page::text(question, "id").starts_with(id));
        match (begin.next(), begin.next()) {
            (Some(question), None) if id.len() >= PREFIX_MIN => Ok(question),
            (Some(_), _) => Err(advised(
                anyhow!("more than one question may begin with `{id}`"),
                format!("give at least {PREFIX_MIN} characters, and as many as tell them apart"),
            )),
            // It may have been answered.
            (None, _) => self.ask(&Method::GET, &format!("/approvals/{id}"), None),
        }
    }

    pub(super) fn answer(&self, id: &str, verb: &str, said: &Value) -> anyhow::Result<Value> {
        self.ask(
            &Method::POST,
            &format!("/approvals/{id}/{verb}"),
            Some(said),
        )
    }

    fn ask(&self, method: &Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(AUTHORIZATION, format!("Bearer {}", self.token))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(
                body.map_or_else(String::new, Value::to_string),
            )))
            .context("the token is no header value")?;
        let (status, answer) = self.admin.ask(request)?;
        if status.is_success() {
            return Ok(answer);
        }
        let why = weir_replay::shown(page::text(&answer, "error")).into_owned();
        let error = anyhow!(
            "{}",
            if why.is_empty() {
                status.to_string()
            } else {
                why
            }
        );
        Err(match status {
            StatusCode::UNAUTHORIZED => advised(
                error,
                "give the token of a person under `approvers` in [admin]; an agent's token does not open this".into(),
            ),
            StatusCode::CONFLICT | StatusCode::NOT_FOUND => {
                advised(error, "`weir approvals list` shows what waits".into())
            }
            StatusCode::SERVICE_UNAVAILABLE => advised(
                error,
                "the proxy is starting; `weir status` says how far it is".into(),
            ),
            _ => error,
        })
    }
}
