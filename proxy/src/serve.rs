//! Serving: from a configuration to a running proxy, and to its good end.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::config::Config;

pub use error::{Fault, ServeError};

mod error;

/// What is known once the proxy can be used.
#[derive(Debug, Clone)]
pub struct Ready {
    /// Where clients connect.
    pub address: SocketAddr,
    /// Where health and metrics are, if anywhere.
    pub admin_address: Option<SocketAddr>,
    /// The local CA's certificate, for clients to trust; none where the operator gave a certificate.
    pub ca_pem_path: Option<PathBuf>,
    /// This proxy's name in the record.
    pub node: String,
    /// The servers' names, in the configuration's order; each is at `https://<address>/<name>/mcp`.
    pub servers: Vec<String>,
}

/// Serves until `shutdown` is done, then stops in good order: no new calls, those under way are finished, the record is
/// sealed. `ready` is called once, when clients can connect.
pub async fn serve(
    config: Config,
    ready: impl FnOnce(Ready),
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    drop((config, ready, shutdown));
    Err(ServeError::NoServer)
}
