//! The way back to the client: one message a line, each whole.

use bytes::Bytes;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::upstream::line;

/// Lines that may wait for a client that reads slowly; what brings more waits with them.
const LINES_WAITING_MAX: usize = 16;

/// Where messages for the client go in.
#[derive(Debug, Clone)]
pub(super) struct Output(mpsc::Sender<Bytes>);

/// An output that is written by a task of its own, which ends with the last sender or with the pipe.
pub(super) fn write_to(
    mut pipe: impl AsyncWrite + Send + Unpin + 'static,
) -> (Output, JoinHandle<()>) {
    let (sender, mut lines) = mpsc::channel::<Bytes>(LINES_WAITING_MAX);
    let writing = tokio::spawn(async move {
        while let Some(line) = lines.recv().await {
            let written = async {
                pipe.write_all(&line).await?;
                pipe.flush().await
            };
            if let Err(error) = written.await {
                tracing::debug!(%error, "the client does not read any more");
                return;
            }
        }
    });
    (Output(sender), writing)
}

impl Output {
    /// Sends one message; nobody misses it where nobody reads any more.
    pub(super) async fn say(&self, message: &[u8]) {
        drop(self.0.send(line(message.to_vec())).await);
    }

    /// Done when nobody reads any more.
    pub(super) async fn is_unheard(&self) {
        self.0.closed().await;
    }
}
