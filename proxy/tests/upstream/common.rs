//! Messages to send and answers to look at.

use std::time::Duration;

use ::http::{HeaderMap, Method};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use weir_proxy::leave::{Leave, Pass};
use weir_proxy::sse::Event;
use weir_proxy::upstream::{
    Answer, AnswerBody, Era, Exchange, ForwardError, MessageKind, RequestId, StreamFault, Upstream,
    UpstreamLimits,
};

pub(crate) type Events = BoxStream<'static, Result<Event, StreamFault>>;

pub(crate) const LIMITS: UpstreamLimits = UpstreamLimits {
    connect_timeout: Duration::from_secs(10),
    answer_timeout: Duration::from_secs(20),
    event_bytes_max: 4096,
    answer_bytes_max: 4096,
    in_flight_max: 8,
    streams_max: 8,
    children_max: 4,
};

/// A request with the id and method that stand in `body`.
pub(crate) fn request(era: Era, body: &str) -> Exchange {
    let message: serde_json::Value = serde_json::from_str(body).unwrap();
    let raw = message["id"].to_string();
    let key = body.find("\"id\"").unwrap() + 4;
    let at = key + body[key..].find(&raw).unwrap();
    Exchange {
        request_id: Some(RequestId {
            span: at..at + raw.len(),
            raw: raw.into(),
        }),
        rpc_method: message["method"].as_str().unwrap().into(),
        kind: MessageKind::Request,
        ..bare(Method::POST, era, body)
    }
}

/// A notification, or a client's response.
pub(crate) fn told(era: Era, body: &str) -> Exchange {
    let message: serde_json::Value = serde_json::from_str(body).unwrap();
    let method = message["method"].as_str();
    Exchange {
        rpc_method: method.unwrap_or_default().into(),
        kind: if method.is_some() {
            MessageKind::Notification
        } else {
            MessageKind::Response
        },
        ..bare(Method::POST, era, body)
    }
}

pub(crate) fn bare(method: Method, era: Era, body: &str) -> Exchange {
    let accept = (
        "accept".parse().unwrap(),
        "application/json, text/event-stream".parse().unwrap(),
    );
    Exchange {
        method,
        headers: HeaderMap::from_iter([accept]).into(),
        body: Bytes::copy_from_slice(body.as_bytes()),
        request_id: None,
        rpc_method: "".into(),
        kind: MessageKind::Bare,
        era,
        session: None,
        grant: "ops-agent".into(),
        caller: "ops-agent/1".into(),
    }
}

pub(crate) async fn forward(
    upstream: &Upstream,
    exchange: Exchange,
) -> Result<Answer, ForwardError> {
    upstream
        .forward(Leave::Pass(Pass::for_response()), exchange)
        .await
}

pub(crate) fn whole(answer: Answer) -> String {
    match answer.body {
        AnswerBody::Whole(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        AnswerBody::Events(_) => panic!("events, not a whole answer"),
    }
}

pub(crate) fn events(answer: Answer) -> Events {
    match answer.body {
        AnswerBody::Events(events) => events,
        AnswerBody::Whole(bytes) => panic!("a whole answer, not events: {bytes:?}"),
    }
}

pub(crate) async fn next_data(events: &mut Events) -> String {
    let event = events.next().await.unwrap().unwrap();
    String::from_utf8(event.data().unwrap().to_vec()).unwrap()
}

pub(crate) fn failed(result: Result<Answer, ForwardError>) -> ForwardError {
    match result {
        Ok(answer) => panic!("answered {}", answer.status),
        Err(fault) => fault,
    }
}
