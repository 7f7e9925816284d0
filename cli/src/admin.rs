//! Asking a proxy that runs: its admin address, over plain HTTP on this host.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::configuration;
use crate::failure::{Fix as _, advised};

/// Which proxy is asked.
#[derive(Debug, clap::Args)]
pub struct AdminArguments {
    /// The admin address of the proxy, `http://127.0.0.1:9443`. Left out, the configuration says it.
    #[arg(long, visible_alias = "url", value_name = "URL")]
    admin: Option<String>,

    /// The configuration that names the admin address.
    #[arg(long, value_name = "FILE", default_value = "weir.toml")]
    config: PathBuf,
}

/// An open way to the proxy.
pub struct Admin {
    pub authority: String,
    runtime: tokio::runtime::Runtime,
}

/// An answer is not longer than all that waits can be.
const ANSWER_BYTES_MAX: usize = 1 << 30;
/// The proxy answers from memory, once the disk has what was said.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(30);

impl AdminArguments {
    /// Finds the proxy; nothing is asked yet.
    pub fn open(&self) -> anyhow::Result<Admin> {
        let authority = match &self.admin {
            // As `weir serve` tells it: `http://127.0.0.1:9443/healthz`.
            Some(url) => {
                let url = url.strip_prefix("http://").unwrap_or(url);
                url.split('/').next().unwrap_or(url).to_owned()
            }
            None => self.configured()?,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start a runtime")?;
        Ok(Admin { authority, runtime })
    }

    fn configured(&self) -> anyhow::Result<String> {
        let config = configuration::load(&self.config)?;
        let address = config.admin.ok_or_else(|| {
            advised(
                anyhow!("`{}` has no admin address", self.config.display()),
                "add [admin] with `address`, or give `--admin`".into(),
            )
        })?;
        Ok(address.to_string())
    }
}

impl Admin {
    /// Sends a request and reads the answer. What is not JSON is not from here, and reads as null: the status says what can be said.
    pub fn ask(&self, request: Request<Full<Bytes>>) -> anyhow::Result<(StatusCode, Value)> {
        let asking = async {
            let late = |_| anyhow!("no answer for {} s", ANSWER_WAIT_MAX.as_secs());
            tokio::time::timeout(ANSWER_WAIT_MAX, self.exchange(request))
                .await
                .map_err(late)?
        };
        self.runtime
            .block_on(asking)
            .with_context(|| format!("cannot ask the proxy at `http://{}`", self.authority))
            .fix(|| {
                "is it running, and is that the address that `weir serve` told as `admin`?".into()
            })
    }

    async fn exchange(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> anyhow::Result<(StatusCode, Value)> {
        let stream = TcpStream::connect(&self.authority).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        request.headers_mut().insert(HOST, self.authority.parse()?);
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
        let body = body.collect().await.map_err(|error| anyhow!("{error}"))?;
        let answer = serde_json::from_slice(&body.to_bytes()).unwrap_or(Value::Null);
        Ok((status, answer))
    }
}
