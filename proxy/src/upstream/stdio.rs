//! An MCP server that is a child process.

use std::time::Duration;

use crate::leave::Leave;
use crate::upstream::{Answer, Cause, ConnectError, Exchange, ForwardError, Reached, UpstreamSpec};

/// The children of one server.
#[derive(Debug)]
pub struct StdioUpstream {}

impl StdioUpstream {
    pub(super) async fn connect(_spec: &UpstreamSpec) -> Result<Self, ConnectError> {
        Ok(Self {})
    }

    pub(super) async fn forward(
        &self,
        _leave: Leave,
        _exchange: Exchange,
    ) -> Result<Answer, ForwardError> {
        Err(ForwardError {
            reached: Reached::Never,
            cause: Cause::Unreachable,
            detail: "not built yet".into(),
        })
    }

    pub(super) async fn close(&self, _deadline: Duration) {}
}
