//! Health, readiness, status, metrics and approvals, on a listener of their own that never leaves this host.
//!
//! It listens before the record is open and until the last call has ended, so that whoever asks is told why nothing is served.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRequestParts, Request};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::HOST;
use http::request::Parts;
use jiff::Timestamp;
use tokio::net::TcpListener;

use crate::gate::Gate;
use crate::serve::Progress;

mod approvals;
mod health;
mod metrics;
mod ready;
mod status;

/// What the admin address tells of: the start, and then the gate.
pub(crate) struct Desk {
    pub(crate) progress: Progress,
    started_at: Timestamp,
    address: SocketAddr,
    admin_address: Option<SocketAddr>,
    gate: OnceLock<Arc<Gate>>,
}

/// The gate, for what is of no use before there is one.
struct Open(Arc<Gate>);

/// Serves until this is dropped.
pub(crate) async fn listen(desk: Arc<Desk>, listener: TcpListener) {
    let router = Router::new()
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(ready::readyz))
        .route("/status", get(status::status))
        .route("/metrics", get(metrics::metrics))
        .merge(approvals::routes())
        .layer(DefaultBodyLimit::max(ANSWER_BYTES_MAX))
        .layer(middleware::from_fn(only_loopback_names))
        .with_state(desk);
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "the admin listener ended");
    }
}

/// What a person says is short.
const ANSWER_BYTES_MAX: usize = 16 << 10;

impl Desk {
    /// At the start, with the addresses that are taken.
    pub(crate) fn new(address: SocketAddr, admin_address: Option<SocketAddr>) -> Self {
        Self {
            progress: Progress::default(),
            started_at: Timestamp::now(),
            address,
            admin_address,
            gate: OnceLock::new(),
        }
    }

    /// From here on there is something to tell of.
    pub(crate) fn open(&self, gate: &Arc<Gate>) {
        drop(self.gate.set(Arc::clone(gate)));
    }

    fn gate(&self) -> Option<&Arc<Gate>> {
        self.gate.get()
    }
}

impl FromRequestParts<Arc<Desk>> for Open {
    type Rejection = (StatusCode, &'static str);

    async fn from_request_parts(_: &mut Parts, desk: &Arc<Desk>) -> Result<Self, Self::Rejection> {
        let starting = "the proxy is starting; /readyz says how far it is\n";
        desk.gate()
            .map(|gate| Self(Arc::clone(gate)))
            .ok_or((StatusCode::SERVICE_UNAVAILABLE, starting))
    }
}

/// A page of another site that resolves its name to this host gets nothing.
async fn only_loopback_names(request: Request, next: Next) -> Response {
    let host = request
        .headers()
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    if matches!(name, "localhost" | "127.0.0.1" | "[::1]")
        && !request.headers().contains_key("origin")
    {
        next.run(request).await
    } else {
        (StatusCode::FORBIDDEN, "only for this host\n").into_response()
    }
}
