//! The NAS over streamable HTTP on loopback: sessions for the eras that have them, none for the modern one.

use std::collections::HashSet;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use uuid::Uuid;

use super::protocol::{MODERN, Nas};

/// The largest body that is read.
const BODY_BYTES_MAX: usize = 4 << 20;
const SESSION: &str = "mcp-session-id";

/// A listening NAS that has not begun to answer.
pub struct Server {
    listener: TcpListener,
    nas: Arc<Nas>,
    sessions: Arc<Mutex<HashSet<String>>>,
}

impl Server {
    /// Listens on `address`; port 0 picks a free one.
    pub async fn bind(nas: Nas, address: SocketAddr) -> io::Result<Self> {
        Ok(Self {
            listener: TcpListener::bind(address).await?,
            nas: Arc::new(nas),
            sessions: Arc::default(),
        })
    }

    /// The address it listens on.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until `stop` is done.
    pub async fn serve(self, stop: impl Future<Output = ()>) -> io::Result<()> {
        let mut stop = std::pin::pin!(stop);
        loop {
            let (stream, _) = tokio::select! {
                () = &mut stop => return Ok(()),
                accepted = self.listener.accept() => accepted?,
            };
            let (nas, sessions) = (Arc::clone(&self.nas), Arc::clone(&self.sessions));
            let service = service_fn(move |request| {
                let (nas, sessions) = (Arc::clone(&nas), Arc::clone(&sessions));
                async move { Ok::<_, Infallible>(respond(&nas, &sessions, request).await) }
            });
            tokio::spawn(async move {
                let connection = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .serve_connection(TokioIo::new(stream), service);
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection to the NAS ended");
                }
            });
        }
    }
}

async fn respond(
    nas: &Nas,
    sessions: &Mutex<HashSet<String>>,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    if head.uri.path() != "/mcp" {
        return status(StatusCode::NOT_FOUND);
    }
    let modern = header(&head.headers, "mcp-protocol-version") == Some(MODERN);
    let session = header(&head.headers, SESSION).map(str::to_owned);
    let known = |session: &str| {
        sessions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(session)
    };
    match (&head.method, session.filter(|_| !modern)) {
        (_, Some(session)) if !known(&session) => return status(StatusCode::NOT_FOUND),
        (&Method::POST, _) => {}
        (&Method::DELETE, Some(session)) => {
            sessions
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&session);
            return status(StatusCode::OK);
        }
        _ => return status(StatusCode::METHOD_NOT_ALLOWED),
    }
    let Ok(body) = Limited::new(body, BODY_BYTES_MAX).collect().await else {
        return status(StatusCode::PAYLOAD_TOO_LARGE);
    };
    let body = body.to_bytes();
    let answer = match nas.answer(&body) {
        Ok(Some(answer)) => answer,
        Ok(None) => return status(StatusCode::ACCEPTED),
        Err(error) => {
            tracing::error!(%error, "the NAS cannot write its log");
            return status(StatusCode::INTERNAL_SERVER_ERROR);
        }
    };
    let method = method_of(&body);
    let streams =
        header(&head.headers, "accept").is_some_and(|accept| accept.contains("text/event-stream"));
    let mut response = if streams && method == "tools/call" {
        event(&answer)
    } else {
        json(answer)
    };
    if method == "initialize" && !modern {
        let session = Uuid::new_v4().to_string();
        if let Ok(value) = HeaderValue::from_str(&session) {
            sessions
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(session);
            response.headers_mut().insert(SESSION, value);
        }
    }
    response
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The method of a message that was answered already, for choosing the form of the answer.
fn method_of(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Method {
        method: String,
    }
    serde_json::from_slice::<Method>(body)
        .map(|message| message.method)
        .unwrap_or_default()
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

fn json(answer: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(answer));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The answer as a stream of one event, as the SDKs' servers send it.
fn event(answer: &[u8]) -> Response<Full<Bytes>> {
    let mut text = b"event: message\ndata: ".to_vec();
    text.extend_from_slice(answer);
    text.extend_from_slice(b"\n\n");
    let mut response = Response::new(Full::from(text));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response
}
