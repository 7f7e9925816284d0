//! An MCP server over HTTP or HTTPS.
//!
//! One request goes out once: nothing is retried, no redirect is followed, and what the caller may not say for itself
//! (`Host`, credentials, content type, compression) is said by Weir. Over HTTP/1.1, and over HTTP/2 where the configuration says so:
//! `docs/decisions/0030-upstream-http.md` and `0185-http2-to-servers.md`.

use std::error::Error as StdError;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use tokio::sync::Semaphore;

pub(crate) use self::connector::Connector;
pub(super) use self::pool::{AnswerStream, Pool};

use crate::leave::Leave;
use crate::upstream::{
    Answer, AnswerBody, Cause, ConnectError, Exchange, ForwardError, Reached,
    Transport, UpstreamLimits, UpstreamSpec, Versions,
};

mod connector;
pub(super) mod events;
mod headers;
mod pool;

/// A pool of connections to one endpoint.
pub struct HttpUpstream {
    server: Arc<str>,
    url: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
    limits: UpstreamLimits,
    pool: Pool,
    /// For streams that live for hours: over HTTP/2 they would take the places of calls on their connection.
    streaming: Pool,
    /// Places for messages, and apart from them for the streams a GET opens, which live for hours.
    calls: Arc<Semaphore>,
    streams: Arc<Semaphore>,
}

/// Makes ready to reach `url`; the error is one line for the operator.
pub(super) async fn pool(
    url: &Uri,
    ca: Option<&Path>,
    versions: Versions,
    connect_timeout: Duration,
) -> Result<Pool, String> {
    if url
        .authority()
        .is_some_and(|authority| authority.as_str().contains('@'))
    {
        return Err("a user or password in `url` is not sent: use `headers`".into());
    }
    Pool::new(
        url,
        Connector::new(url, ca, versions, connect_timeout).await?,
    )
}

/// Its url may hold a key, and its headers do.
impl std::fmt::Debug for HttpUpstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HttpUpstream({})", self.server)
    }
}

impl HttpUpstream {
    pub(super) async fn connect(spec: &UpstreamSpec) -> Result<Self, ConnectError> {
        let refuse = |detail: String| ConnectError {
            server: Arc::clone(&spec.server),
            detail,
        };
        let Transport::Http { url, ca, versions } = &spec.transport else {
            return Err(refuse("is not reached over HTTP".into()));
        };
        let pool = async || {
            pool(url, ca.as_deref(), *versions, spec.limits.connect_timeout)
                .await
                .map_err(refuse)
        };
        let calls = pool().await?;
        let streaming = match versions {
            Versions::One => calls.clone(),
            Versions::Both => pool().await?,
        };
        Ok(Self {
            server: Arc::clone(&spec.server),
            url: url.clone(),
            headers: spec.headers.clone(),
            limits: spec.limits,
            pool: calls,
            streaming,
            calls: Arc::new(Semaphore::new(spec.limits.in_flight_max)),
            streams: Arc::new(Semaphore::new(spec.limits.streams_max)),
        })
    }

    pub(super) async fn forward(
        &self,
        leave: Leave,
        exchange: Exchange,
    ) -> Result<Answer, ForwardError> {
        let listens =
            exchange.method == Method::GET || &*exchange.rpc_method == "subscriptions/listen";
        let (places, most, pool) = if listens {
            (&self.streams, self.limits.streams_max, &self.streaming)
        } else {
            (&self.calls, self.limits.in_flight_max, &self.pool)
        };
        let place = Arc::clone(places)
            .try_acquire_owned()
            .map_err(|_| ForwardError {
                reached: Reached::Never,
                cause: Cause::Busy,
                detail: format!("`{}` has {most} exchanges under way", self.server),
            })?;
        let limits = &self.limits;
        let patience = limits.connect_timeout.saturating_add(limits.answer_timeout);
        let response = tokio::time::timeout(patience, pool.send(self.request(leave, exchange)?))
            .await
            .map_err(|_| timeout("no answer in time"))??;
        let (parts, body) = usable(response)?.into_parts();
        let headers = headers::towards_client(&parts.headers);
        let body = if is_event_stream(&parts.headers) {
            let patience = (!listens).then_some(limits.answer_timeout);
            AnswerBody::Events(events::of(body, limits.event_bytes_max, patience, place))
        } else {
            AnswerBody::Whole(whole(body, limits).await?)
        };
        Ok(Answer {
            status: parts.status,
            headers,
            body,
        })
    }

    pub(super) fn close(&self) {
        self.pool.close();
        self.streaming.close();
    }

    /// The one place where a message becomes a request, and where leave to send it is spent.
    fn request(
        &self,
        leave: Leave,
        exchange: Exchange,
    ) -> Result<Request<Full<Bytes>>, ForwardError> {
        leave.spend();
        let has_body = !exchange.body.is_empty();
        let mut request = Request::builder()
            .method(exchange.method)
            .uri(self.url.clone())
            .body(Full::new(exchange.body))
            .map_err(|fault| ForwardError {
                reached: Reached::Never,
                cause: Cause::Unreachable,
                detail: format!("its url is no target for a request: {fault}"),
            })?;
        *request.headers_mut() = headers::towards_server(&exchange.headers);
        let headers = request.headers_mut();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if has_body {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        headers.entry(ACCEPT).or_insert(HeaderValue::from_static(
            "application/json, text/event-stream",
        ));
        for (name, value) in &self.headers {
            headers.insert(name, value.clone());
        }
        Ok(request)
    }
}

/// Refuses what would take the client past Weir or what Weir could not read.
pub(super) fn usable<B>(response: Response<B>) -> Result<Response<B>, ForwardError> {
    let status = response.status();
    if status.is_informational() || status.is_redirection() {
        return Err(bad_answer(format!(
            "status {status}, which is not followed"
        )));
    }
    let identity = |encoding: &HeaderValue| encoding.as_bytes().eq_ignore_ascii_case(b"identity");
    if !response
        .headers()
        .get_all(CONTENT_ENCODING)
        .iter()
        .all(identity)
    {
        return Err(bad_answer(
            "a compressed body, though `identity` was asked for".into(),
        ));
    }
    Ok(response)
}

pub(super) fn is_event_stream(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| {
            value
                .split(';')
                .next()
                .is_some_and(|essence| essence.trim().eq_ignore_ascii_case("text/event-stream"))
        })
}

pub(super) async fn whole(
    mut body: AnswerStream,
    limits: &UpstreamLimits,
) -> Result<Bytes, ForwardError> {
    let mut read = Vec::new();
    loop {
        let frame = tokio::time::timeout(limits.answer_timeout, body.frame())
            .await
            .map_err(|_| timeout("the answer stopped in the middle"))?;
        let Some(frame) = frame else {
            return Ok(read.into());
        };
        let frame = frame.map_err(|fault| broken(chain(&fault)))?;
        let Some(data) = frame.data_ref() else {
            continue;
        };
        if read.len().saturating_add(data.len()) > limits.answer_bytes_max {
            return Err(bad_answer(format!(
                "an answer of more than {} bytes",
                limits.answer_bytes_max
            )));
        }
        read.extend_from_slice(data);
    }
}

fn timeout(detail: &str) -> ForwardError {
    ForwardError {
        reached: Reached::Maybe,
        cause: Cause::Timeout,
        detail: detail.into(),
    }
}

fn broken(detail: String) -> ForwardError {
    ForwardError {
        reached: Reached::Maybe,
        cause: Cause::Broken,
        detail,
    }
}

fn bad_answer(detail: String) -> ForwardError {
    ForwardError {
        reached: Reached::Maybe,
        cause: Cause::BadAnswer,
        detail,
    }
}

/// An error with its causes, in one line.
pub(super) fn chain(fault: &(dyn StdError + 'static)) -> String {
    let mut text = fault.to_string();
    let mut source = fault.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
