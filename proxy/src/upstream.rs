//! What stands behind Weir: one MCP server, reached over HTTP(S) in one of its two forms, or over a child's stdio.
//!
//! [`Upstream::forward`] is the only way out of this crate towards a server, and it takes a [`Leave`] by value:
//! either a permit, which only a durable decision can make, or a pass for a message that no policy judges.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use bytes::Bytes;
use futures_util::stream::BoxStream;

use crate::leave::Leave;
use crate::sse::Event;

pub use self::duplex::DuplexUpstream;
pub(crate) use self::duplex::line;
pub(crate) use self::http::Connector;
pub use self::http::HttpUpstream;

mod duplex;
mod http;

/// How one server is reached; made by the configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct UpstreamSpec {
    /// The server's name in `weir.toml`.
    pub server: Arc<str>,
    /// Where it is.
    pub transport: Transport,
    /// Headers added to every request (HTTP only): the upstream's own credential.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Whom one peer serves; nothing is shared over [`Transport::Http`].
    pub sharing: Sharing,
    /// Bounds of every exchange with it.
    pub limits: UpstreamLimits,
}

/// Where a server is. Shown without what may hold a secret: queries of addresses and values of the environment.
#[derive(Clone, PartialEq)]
pub enum Transport {
    /// An MCP endpoint over HTTP or HTTPS.
    Http {
        /// The endpoint; its path is used as it stands.
        url: ::http::Uri,
        /// Certificates to trust instead of the platform's (PEM file).
        ca: Option<PathBuf>,
        /// Which versions are spoken.
        versions: Versions,
    },
    /// A child process that speaks one message per line.
    Stdio {
        /// Program and arguments; never empty.
        command: Vec<String>,
        /// The child's whole environment: nothing is inherited.
        environment: BTreeMap<String, String>,
        /// Its working directory; the configuration file's folder unless given.
        directory: PathBuf,
    },
    /// The transport of 2024-11-05 over HTTP or HTTPS: a stream of events, and an address to post to that it names.
    Sse {
        /// Where the stream is.
        url: ::http::Uri,
        /// Certificates to trust instead of the platform's (PEM file).
        ca: Option<PathBuf>,
    },
}

/// The versions of HTTP that a server is spoken to in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versions {
    /// HTTP/1.1 alone.
    One,
    /// HTTP/2 where the server takes it in the TLS handshake.
    Both,
}

/// Whom one peer serves: a child process, or a stream of [`Transport::Sse`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// One session, or one caller where the protocol has none.
    Session,
    /// All sessions and callers of one grant.
    Grant,
    /// The one client there is, from [`Upstream::begin`] on: as if it had started a child itself, so the child's stderr is ours.
    Sole,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http { url, ca, versions } => f
                .debug_struct("Http")
                .field("host", &url.host())
                .field("path", &url.path())
                .field("ca", ca)
                .field("versions", versions)
                .finish(),
            Self::Stdio {
                command,
                environment,
                directory,
            } => f
                .debug_struct("Stdio")
                .field("program", &command.first())
                .field("environment", &environment.keys())
                .field("directory", directory)
                .finish(),
            Self::Sse { url, ca } => f
                .debug_struct("Sse")
                .field("host", &url.host())
                .field("path", &url.path())
                .field("ca", ca)
                .finish(),
        }
    }
}

/// Bounds of an exchange with an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpstreamLimits {
    /// TCP and TLS to the upstream, or the start of the child.
    pub connect_timeout: Duration,
    /// From the request's last byte to the answer's first, and between two events of an answer to a POST.
    pub answer_timeout: Duration,
    /// One server-sent event, or one line of a child.
    pub event_bytes_max: usize,
    /// An answer that is not a stream.
    pub answer_bytes_max: usize,
    /// Requests under way at once; more are refused with [`Cause::Busy`].
    pub in_flight_max: usize,
    /// Streams open at once that wait for nothing in particular; more are refused as well.
    pub streams_max: usize,
    /// Children, or streams, alive at once where each session has its own.
    pub children_max: usize,
}

/// One message on its way to the upstream, judged already.
#[derive(Debug)]
pub struct Exchange {
    /// POST for a message, GET for a legacy stream, DELETE for the end of a legacy session.
    pub method: Method,
    /// What the client sent. [`Upstream::forward`] picks what is the upstream's business, and adds the upstream's own headers.
    pub headers: Arc<HeaderMap>,
    /// The very bytes that were judged. Empty for GET and DELETE.
    pub body: Bytes,
    /// The JSON-RPC id of a request, with its place in `body`, so that a shared child can be given an id of our own.
    pub request_id: Option<RequestId>,
    /// `initialize`, `tools/call`, …; empty for a client's response, for GET and for DELETE.
    pub rpc_method: Arc<str>,
    /// What kind of message `body` is.
    pub kind: MessageKind,
    /// Which of the protocol's eras the client speaks: in the modern one a client that goes away cancels.
    pub era: Era,
    /// The client's `Mcp-Session-Id`, already checked to belong to the grant.
    pub session: Option<Arc<str>>,
    /// The grant that it comes under.
    pub grant: Arc<str>,
    /// Who shares state with whom where the protocol has no session: one value per (grant, session column).
    pub caller: Arc<str>,
}

/// A request's id as it stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId {
    /// The raw JSON text: `7`, `"a"`.
    pub raw: Arc<str>,
    /// Where that text stands in the message.
    pub span: Range<usize>,
}

/// What a client's message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageKind {
    /// Wants an answer.
    Request,
    /// Wants none.
    Notification,
    /// Answers a request of the server.
    Response,
    /// No message: GET or DELETE.
    Bare,
}

/// The two ways MCP is spoken (see DESIGN, and the protocol's revisions).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Era {
    /// 2024-11-05 to 2025-11-25: handshake, sessions, resumable streams.
    Legacy,
    /// 2026-07-28: no handshake, no session, a disconnect cancels.
    Modern,
}

/// What the upstream said.
pub struct Answer {
    /// Its HTTP status; a stdio server's is 200, or 202 where nothing is to be answered.
    pub status: StatusCode,
    /// Its headers without hop-by-hop ones. A stdio server's `initialize` answer carries `Mcp-Session-Id` here too.
    pub headers: HeaderMap,
    /// Its body.
    pub body: AnswerBody,
}

/// An answer's body.
pub enum AnswerBody {
    /// Complete, at most `answer_bytes_max` long, not compressed.
    Whole(Bytes),
    /// Server-sent events as they come. Dropping the stream gives the exchange up: for a modern request that is a cancel,
    /// which the implementation passes on at once.
    Events(BoxStream<'static, Result<Event, StreamFault>>),
}

/// Why an exchange brought no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{cause}: {detail}")]
pub struct ForwardError {
    /// Whether a byte of the message may have reached the server. Only [`Reached::Never`] gives a reservation back.
    pub reached: Reached,
    /// What went wrong.
    pub cause: Cause,
    /// For the log, never for the caller: may name hosts and paths, never values of headers or messages.
    pub detail: String,
}

/// Whether the server can have seen the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// Provably not: connection refused, TLS failed, no child, refused before the first byte.
    Never,
    /// It may have.
    Maybe,
}

/// What went wrong with an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// No connection, TLS failure, child did not start.
    Unreachable,
    /// Nothing came in time.
    Timeout,
    /// The connection broke or the child ended in the middle.
    Broken,
    /// The answer is over its limit, compressed, or not HTTP or JSON-RPC.
    BadAnswer,
    /// Too many requests under way.
    Busy,
    /// The client asked for its end.
    Cancelled,
}

impl Cause {
    /// The word in the record's `outcome` and in metrics.
    pub fn outcome(self) -> &'static str {
        match self {
            Self::Unreachable | Self::Busy => "unreachable",
            Self::Timeout => "timeout",
            Self::Broken | Self::BadAnswer => "http_error",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreachable => "the server cannot be reached",
            Self::Timeout => "the server did not answer in time",
            Self::Broken => "the server broke off",
            Self::BadAnswer => "the server's answer cannot be used",
            Self::Busy => "too many calls to this server are under way",
            Self::Cancelled => "the client cancelled the call",
        })
    }
}

/// Why a stream of events ended early.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{cause}: {detail}")]
pub struct StreamFault {
    /// What went wrong.
    pub cause: Cause,
    /// For the log, never for the caller.
    pub detail: String,
}

/// Why an upstream cannot be set up at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("server `{server}`: {detail}")]
pub struct ConnectError {
    /// Which server.
    pub server: Arc<str>,
    /// One clear line for the operator.
    pub detail: String,
}

/// One server behind the proxy. Cheap to clone, shared by all connections.
#[derive(Debug, Clone)]
pub enum Upstream {
    /// Over HTTP or HTTPS.
    Http(Arc<HttpUpstream>),
    /// Over a line of its own in each direction: a child process, or a stream.
    Duplex(Arc<DuplexUpstream>),
}

impl Upstream {
    /// Makes ready to reach the server: reads its CA, checks the command. Does not wait for the server to be up.
    pub async fn connect(spec: &UpstreamSpec) -> Result<Self, ConnectError> {
        match &spec.transport {
            Transport::Http { .. } => Ok(Self::Http(Arc::new(HttpUpstream::connect(spec).await?))),
            Transport::Stdio { .. } | Transport::Sse { .. } => {
                Ok(Self::Duplex(Arc::new(DuplexUpstream::connect(spec).await?)))
            }
        }
    }

    /// Sends one message and hands back the server's answer; never retries, never follows a redirect.
    ///
    /// Dropping the returned future gives the exchange up like dropping the stream of [`AnswerBody::Events`] does. A legacy client that
    /// goes away has not cancelled: whoever forwards in its stead goes on waiting.
    pub async fn forward(&self, leave: Leave, exchange: Exchange) -> Result<Answer, ForwardError> {
        match self {
            Self::Http(upstream) => upstream.forward(leave, exchange).await,
            Self::Duplex(upstream) => Box::pin(upstream.forward(leave, exchange)).await,
        }
    }

    /// Starts what serves the one client there is ([`Sharing::Sole`]); nothing is to be started elsewhere.
    pub fn begin(&self) -> Result<(), ConnectError> {
        match self {
            Self::Http(_) => Ok(()),
            Self::Duplex(upstream) => upstream.begin(),
        }
    }

    /// Done when that has ended, with how.
    pub async fn ended(&self) -> String {
        match self {
            Self::Http(_) => std::future::pending().await,
            Self::Duplex(upstream) => upstream.ended().await,
        }
    }

    /// Lets go of the server: idle connections are closed, children get their stdin closed, then TERM, then KILL, all within
    /// `deadline`.
    pub async fn close(&self, deadline: Duration) {
        match self {
            Self::Http(upstream) => upstream.close(),
            Self::Duplex(upstream) => upstream.close(deadline).await,
        }
    }
}
