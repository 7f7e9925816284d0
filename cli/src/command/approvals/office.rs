//! Where questions are answered: the admin address of a running proxy, and the token of an approver.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::{Format, page};
use crate::configuration;
use crate::failure::{Fix as _, advised};

/// The proxy, and whose token is shown to it.
#[derive(Debug, clap::Args)]
pub(super) struct OfficeArguments {
    /// The admin address of the proxy, `http://127.0.0.1:9443`. Left out, the configuration says it.
    #[arg(long, value_name = "URL")]
    admin: Option<String>,

    /// The configuration that names the admin address.
    #[arg(long, value_name = "FILE", default_value = "weir.toml")]
    config: PathBuf,

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
    authority: String,
    token: String,
    runtime: tokio::runtime::Runtime,
    pub(super) format: Format,
}

/// An answer is not longer than all that waits can be.
const ANSWER_BYTES_MAX: usize = 1 << 30;
/// The proxy answers from memory, once the disk has the answer.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(30);
/// Of a question's name at least so much.
const PREFIX_MIN: usize = 4;

impl OfficeArguments {
    pub(super) fn open(self) -> anyhow::Result<Office> {
        let authority = match &self.admin {
            // As `weir serve` tells it: `http://127.0.0.1:9443/healthz`.
            Some(url) => {
                let url = url.strip_prefix("http://").unwrap_or(url);
                url.split('/').next().unwrap_or(url).to_owned()
            }
            None => self.configured()?,
        };
        let token = match &self.token_file {
            Some(path) => std::fs::read_to_string(path)
                .with_context(|| format!("cannot read `{}`", path.display()))?,
            None => std::env::var(&self.token_env)
                .map_err(|_| anyhow!("no approver's token in `{}`", self.token_env))
                .fix(|| {
                    "set it, or give `--token-file`; `weir token new` makes a token for `approvers` in [admin]".into()
                })?,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start a runtime")?;
        Ok(Office {
            authority,
            token: token.trim().to_owned(),
            runtime,
            format: self.format,
        })
    }

    fn configured(&self) -> anyhow::Result<String> {
        let config = configuration::load(&self.config)?;
        let address = config.admin.ok_or_else(|| {
            advised(
                anyhow!("`{}` has no admin address", self.config.display()),
                "add [admin] with `address` and `approvers`, or give `--admin`".into(),
            )
        })?;
        Ok(address.to_string())
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
                self.authority
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
        let asking = async {
            let asking = self.exchange(method, path, body);
            let late = |_| anyhow!("no answer for {} s", ANSWER_WAIT_MAX.as_secs());
            tokio::time::timeout(ANSWER_WAIT_MAX, asking)
                .await
                .map_err(late)?
        };
        let (status, answer) = self
            .runtime
            .block_on(asking)
            .with_context(|| format!("cannot ask the proxy at `http://{}`", self.authority))
            .fix(|| {
                "is it running, and is that the address that `weir serve` told as `admin`?".into()
            })?;
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
            _ => error,
        })
    }

    async fn exchange(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<(StatusCode, Value)> {
        let stream = TcpStream::connect(&self.authority).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.authority)
            .header(AUTHORIZATION, format!("Bearer {}", self.token))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(
                body.map_or_else(String::new, Value::to_string),
            )))?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
        let body = body.collect().await.map_err(|error| anyhow!("{error}"))?;
        // What is not JSON is not from here; the status says what can be said.
        let answer = serde_json::from_slice(&body.to_bytes()).unwrap_or(Value::Null);
        Ok((status, answer))
    }
}
