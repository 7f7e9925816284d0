//! Work that is done where it is awaited, and goes on as a task of its own if nobody waits for it any more.
//!
//! A call must not be cut off by a client that hangs up, so it would have to be a task from the start; but nearly every call is waited
//! for to its end, and then a task costs its allocation, its queueing and a wake-up each way for nothing.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;

/// A future that outlives whoever awaits it, where it is to.
pub(crate) struct Outliving<F>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    /// None once it has ended.
    work: Option<Pin<Box<F>>>,
    goes_on: bool,
}

impl<F> Outliving<F>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    /// `goes_on`: whether it does if this is dropped before the end.
    pub(crate) fn new(work: F, goes_on: bool) -> Self {
        Self {
            work: Some(Box::pin(work)),
            goes_on,
        }
    }

}

impl<F> Future for Outliving<F>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Some(work) = &mut self.work else {
            return Poll::Pending; // it has ended, and was told
        };
        let polled = work.as_mut().poll(context);
        if polled.is_ready() {
            self.work = None;
        }
        polled
    }
}

impl<F> Drop for Outliving<F>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn drop(&mut self) {
        let work = self.work.take().filter(|_| self.goes_on);
        if let (Some(work), Ok(runtime)) = (work, Handle::try_current()) {
            drop(runtime.spawn(work));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use tokio::sync::oneshot;

    use super::*;

    /// Work that is polled once and then left: what it says once it is let go on.
    async fn left(goes_on: bool) -> Option<&'static str> {
        let (go, wait) = oneshot::channel::<()>();
        let (said, heard) = oneshot::channel();
        let work = async move {
            wait.await.unwrap();
            said.send("done").ok();
        };
        let mut work = Outliving::new(work, goes_on);
        tokio::select! { biased; () = &mut work => {}, () = std::future::ready(()) => {} }
        drop(work);
        go.send(()).ok();
        heard.await.ok()
    }

    #[tokio::test]
    async fn what_is_left_goes_on_where_it_is_to() {
        assert_eq!(left(true).await, Some("done"));
        assert_eq!(left(false).await, None);
    }

    #[test]
    fn without_a_runtime_it_ends() {
        drop(Outliving::new(std::future::pending::<()>(), true));
    }
}
