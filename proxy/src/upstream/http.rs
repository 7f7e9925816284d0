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
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use self::connector::Connector;

use self::connector::ConnectTimeout;
use crate::leave::Leave;
use crate::outlive::Outliving;
use crate::upstream::{
    Answer, AnswerBody, Cause, ConnectError, Era, Exchange, ForwardError, MessageKind, Reached,
    Transport, UpstreamLimits, UpstreamSpec, Versions,
};

mod connector;
pub(super) mod events;
mod headers;

/// An idle connection is let go before the usual server does (Node and uvicorn: 5 s), since a request written onto a
/// connection that is just being closed fails and is not sent again.
const POOL_IDLE: Duration = Duration::from_secs(4);

/// What one HTTP/2 stream may have on its way that its client does not take: so little that those of slow clients do not take up the
/// connection, which all share.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 64 * 1024 * 1024;
/// An HTTP/2 connection with requests under way is asked so often whether it still is one, and given up after so long.
const PING: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(20));

/// A pool of connections to one endpoint.
pub struct HttpUpstream {
    server: Arc<str>,
    url: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
    limits: UpstreamLimits,
    client: HttpClient,
    /// For streams that live for hours: over HTTP/2 they would take the places of calls on their connection.
    streaming: HttpClient,
    /// Places for messages, and apart from them for the streams a GET opens, which live for hours.
    calls: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    /// Exchanges of clients that may have gone away; cancelled when the deadline of `close` is over.
    tasks: TaskTracker,
    closing: CancellationToken,
}

/// A pool of connections, made the same way for every transport over HTTP.
pub(super) type HttpClient = Client<Connector, Full<Bytes>>;

/// Makes ready to reach `url`; the error is one line for the operator.
pub(super) async fn client(
    url: &Uri,
    ca: Option<&Path>,
    versions: Versions,
    connect_timeout: Duration,
) -> Result<HttpClient, String> {
    if url
        .authority()
        .is_some_and(|authority| authority.as_str().contains('@'))
    {
        return Err("a user or password in `url` is not sent: use `headers`".into());
    }
    let connector = Connector::new(url, ca, versions, connect_timeout).await?;
    Ok(Client::builder(TokioExecutor::new())
        .pool_idle_timeout(POOL_IDLE)
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .http2_initial_stream_window_size(STREAM_WINDOW_BYTES)
        .http2_initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keep_alive_interval(PING.0)
        .http2_keep_alive_timeout(PING.1)
        .retry_canceled_requests(false)
        .set_host(true)
        .build(connector))
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
            client(url, ca.as_deref(), *versions, spec.limits.connect_timeout)
                .await
                .map_err(refuse)
        };
        let client = pool().await?;
        let streaming = match versions {
            Versions::One => client.clone(),
            Versions::Both => pool().await?,
        };
        Ok(Self {
            server: Arc::clone(&spec.server),
            url: url.clone(),
            headers: spec.headers.clone(),
            limits: spec.limits,
            client,
            streaming,
            calls: Arc::new(Semaphore::new(spec.limits.in_flight_max)),
            streams: Arc::new(Semaphore::new(spec.limits.streams_max)),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
        })
    }

    pub(super) async fn forward(
        &self,
        leave: Leave,
        exchange: Exchange,
    ) -> Result<Answer, ForwardError> {
        let listens =
            exchange.method == Method::GET || &*exchange.rpc_method == "subscriptions/listen";
        let (places, most, client) = if listens {
            (&self.streams, self.limits.streams_max, &self.streaming)
        } else {
            (&self.calls, self.limits.in_flight_max, &self.client)
        };
        let place = Arc::clone(places)
            .try_acquire_owned()
            .map_err(|_| ForwardError {
                reached: Reached::Never,
                cause: Cause::Busy,
                detail: format!("`{}` has {most} exchanges under way", self.server),
            })?;
        let gone_is_cancel = exchange.era == Era::Modern || exchange.kind == MessageKind::Bare;
        let request = self.request(leave, exchange)?;
        let running = self.tasks.track_future(carry(Carried {
            client: client.clone(),
            limits: self.limits,
            place,
            tasks: self.tasks.clone(),
            closing: self.closing.clone(),
            gone_is_cancel,
            listens,
            request,
        }));
        // A legacy client that goes away has not cancelled: its exchange runs on without it.
        Outliving::new(running, !gone_is_cancel).await
    }

    pub(super) async fn close(&self, deadline: Duration) {
        self.tasks.close();
        if tokio::time::timeout(deadline, self.tasks.wait())
            .await
            .is_err()
        {
            tracing::debug!(server = %self.server, open = self.tasks.len(), "exchanges cut off by the end of the process");
        }
        self.closing.cancel();
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

/// One exchange with everything it needs, so that it can outlive its client.
struct Carried {
    client: HttpClient,
    limits: UpstreamLimits,
    place: OwnedSemaphorePermit,
    tasks: TaskTracker,
    closing: CancellationToken,
    gone_is_cancel: bool,
    /// The answer is a stream that may stay silent for hours.
    listens: bool,
    request: Request<Full<Bytes>>,
}

async fn carry(carried: Carried) -> Result<Answer, ForwardError> {
    let Carried {
        client,
        limits,
        place,
        tasks,
        closing,
        gone_is_cancel,
        listens,
        request,
    } = carried;
    let patience = limits.connect_timeout.saturating_add(limits.answer_timeout);
    let response = tokio::select! {
        response = tokio::time::timeout(patience, client.request(request)) => response,
        () = closing.cancelled() => return Err(broken("the process ended".into())),
    };
    let response = response
        .map_err(|_| timeout("no answer in time"))?
        .map_err(|fault| classify(&fault))?;
    let (parts, body) = usable(response)?.into_parts();
    let headers = headers::towards_client(&parts.headers);
    let body = if is_event_stream(&parts.headers) {
        let patience = (!listens).then_some(limits.answer_timeout);
        let stream = events::of(body, limits.event_bytes_max, patience, place);
        AnswerBody::Events(if gone_is_cancel {
            stream
        } else {
            events::kept(stream, tasks, closing)
        })
    } else {
        AnswerBody::Whole(whole(body, &limits).await?)
    };
    Ok(Answer {
        status: parts.status,
        headers,
        body,
    })
}

/// Refuses what would take the client past Weir or what Weir could not read.
pub(super) fn usable(response: Response<Incoming>) -> Result<Response<Incoming>, ForwardError> {
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
    mut body: Incoming,
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

/// Whether the request can have left this machine. Only two things prove that it did not: there was no connection, or
/// the client hands the unsent request back (hyper: "canceled").
pub(super) fn classify(fault: &hyper_util::client::legacy::Error) -> ForwardError {
    let hyper = fault
        .source()
        .and_then(|source| source.downcast_ref::<hyper::Error>());
    let unsent = fault.is_connect() || hyper.is_some_and(hyper::Error::is_canceled);
    let cause = if ConnectTimeout::caused(fault) {
        Cause::Timeout
    } else if unsent {
        Cause::Unreachable
    } else if hyper.is_some_and(|fault| fault.is_parse() || fault.is_parse_too_large()) {
        Cause::BadAnswer
    } else {
        Cause::Broken
    };
    let reached = if unsent {
        Reached::Never
    } else {
        Reached::Maybe
    };
    ForwardError {
        reached,
        cause,
        detail: chain(fault),
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
