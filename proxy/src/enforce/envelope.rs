//! What a message says about itself, and whether its headers say the same.
//!
//! The body is the truth; a header that names another method, name or revision is refused, since a server behind Weir may
//! believe the header (DESIGN 5.6).

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method};
use weir_policy::{Id, Message, Object, Value};

use super::Caller;
use super::mirrored::{decoded, parameters_agree};
use super::refusal::Refusal;
use crate::leave::Pass;
use crate::sessions::{Client, Session};
use crate::traces::Traceparent;
use crate::upstream::{Era, Exchange, MessageKind, RequestId};

/// The first revision without a handshake.
const MODERN_SINCE: &str = "2026-07-28";

/// A message and what its headers add.
pub(super) struct Envelope<'m> {
    message: &'m Message<'m>,
    era: Era,
    protocol: Option<&'m str>,
    session_id: Option<&'m str>,
    accept: Accept,
    parent: Option<Traceparent>,
    introduction: Option<Client>,
}

/// The form in which the client wants an answer of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accept {
    Json,
    Events,
}

impl<'m> Envelope<'m> {
    pub(super) fn of(message: &'m Message<'m>, headers: &'m HeaderMap) -> Result<Self, Refusal> {
        let meta = |key: &str| text(meta_of(message, key));
        let said = meta("io.modelcontextprotocol/protocolVersion");
        let header = one(message, headers, "mcp-protocol-version")?;
        if let (Some(said), Some(header)) = (said, header)
            && said != header
        {
            return Err(disagree(message, "MCP-Protocol-Version", headers));
        }
        let protocol = said.or(header);
        let mut envelope = Self {
            message,
            era: era_of(protocol),
            protocol: protocol.or_else(|| {
                initialize(message).and_then(|params| text(params.get("protocolVersion")))
            }),
            session_id: one(message, headers, "mcp-session-id")?,
            accept: accept(headers),
            parent: None,
            introduction: None,
        };
        envelope.agree(headers)?;
        envelope.parent = meta("traceparent")
            .or_else(|| headers.get("traceparent")?.to_str().ok())
            .and_then(Traceparent::parse);
        envelope.introduction = envelope.introduced();
        Ok(envelope)
    }

    /// Requires `Mcp-Method`, `Mcp-Name` and `Mcp-Param-*`, where they are given, to say what the body says.
    fn agree(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        if let Some(method) = one(self.message, headers, "mcp-method")?
            && method != self.method()
        {
            return Err(disagree(self.message, "Mcp-Method", headers));
        }
        let arguments = params_of(self.message).and_then(|params| params.get("arguments"));
        if !parameters_agree(headers, arguments) {
            return Err(disagree(self.message, "Mcp-Param", headers));
        }
        let Some(name) = one(self.message, headers, "mcp-name")? else {
            return Ok(());
        };
        let key = match self.method() {
            "tools/call" | "prompts/get" => "name",
            "resources/read" => "uri",
            _ => return Ok(()),
        };
        let said = params_of(self.message).and_then(|params| text(params.get(key)));
        if said.is_some_and(|said| decoded(name).as_deref() == Some(said)) {
            Ok(())
        } else {
            Err(disagree(self.message, "Mcp-Name", headers))
        }
    }

    /// Who the client says it is, if this message says so.
    fn introduced(&self) -> Option<Client> {
        let info = meta_of(self.message, "io.modelcontextprotocol/clientInfo")
            .or_else(|| initialize(self.message)?.get("clientInfo"))?;
        let Value::Object(info) = info else {
            return None;
        };
        let short = |key| {
            text(info.get(key))
                .filter(|text| text.len() <= 256)
                .map(Arc::from)
        };
        Some(Client {
            name: short("name"),
            version: short("version"),
            protocol: self.protocol.map(Arc::from),
        })
    }

    pub(super) fn introduction(&self) -> Option<Client> {
        self.introduction.clone()
    }

    /// The method; empty for a client's answer.
    pub(super) fn method(&self) -> &str {
        match self.message {
            Message::Request(request) => &request.method,
            Message::Notification(notification) => &notification.method,
            Message::Response(_) => "",
        }
    }

    /// The id of a request.
    pub(super) fn id(&self) -> Option<&Id<'m>> {
        match self.message {
            Message::Request(request) => Some(&request.id),
            Message::Notification(_) | Message::Response(_) => None,
        }
    }

    /// The arguments as they stood, where there are any.
    pub(super) fn arguments(&self) -> Option<&'m str> {
        match self.message {
            Message::Request(request) => request.arguments_raw.filter(|raw| *raw != "null"),
            Message::Notification(_) | Message::Response(_) => None,
        }
    }

    pub(super) fn era(&self) -> Era {
        self.era
    }

    pub(super) fn accept(&self) -> Accept {
        self.accept
    }

    pub(super) fn protocol(&self) -> Option<&str> {
        self.protocol
    }

    pub(super) fn session_id(&self) -> Option<&str> {
        self.session_id
    }

    /// Where the message stands in its caller's trace.
    pub(super) fn parent(&self) -> Option<Traceparent> {
        self.parent
    }

    /// The token under which the client wants to hear of progress, as JSON.
    pub(super) fn progress_token(&self) -> Option<String> {
        meta_of(self.message, "progressToken").map(Value::to_json)
    }

    /// The request that a client takes back with this notification, as [`Envelope::request_key`] names it.
    pub(super) fn takes_back(&self) -> Option<String> {
        let id = match self.message {
            Message::Notification(note) if note.method == "notifications/cancelled" => {
                note.params.as_ref()?.get("requestId")?
            }
            Message::Request(_) | Message::Notification(_) | Message::Response(_) => return None,
        };
        Some(id.to_json())
    }

    /// The id of a request in one spelling.
    pub(super) fn request_key(&self) -> Option<String> {
        let raw = self.id()?.raw;
        Some(Value::parse(raw).map_or_else(|_| raw.to_owned(), |id| id.to_json()))
    }

    /// Leave for what no policy judges: nothing else comes here, and what does gets none.
    pub(super) fn leave(&self) -> Option<Pass> {
        match self.message {
            Message::Response(_) => Some(Pass::for_response()),
            Message::Request(_) | Message::Notification(_) => Pass::for_method(self.method()),
        }
    }

    /// The message as it goes to the server: the very bytes that were judged.
    pub(super) fn exchange(
        &self,
        headers: &Arc<HeaderMap>,
        body: &Bytes,
        caller: &Caller,
        session: &Session,
    ) -> Exchange {
        Exchange {
            method: Method::POST,
            headers: Arc::clone(headers),
            body: body.clone(),
            request_id: self.id().map(|id| RequestId {
                raw: Arc::from(id.raw),
                span: id.span.clone(),
            }),
            rpc_method: Arc::from(self.method()),
            kind: match self.message {
                Message::Request(_) => MessageKind::Request,
                Message::Notification(_) => MessageKind::Notification,
                Message::Response(_) => MessageKind::Response,
            },
            era: self.era,
            session: self.session_id.map(Arc::from),
            grant: Arc::clone(&caller.grant.name),
            caller: caller_key(caller, session),
        }
    }
}

/// Who shares state with whom at a server without sessions.
pub(super) fn caller_key(caller: &Caller, session: &Session) -> Arc<str> {
    Arc::from(format!("{}/{}", caller.grant.name, session.id))
}

/// The era that a revision belongs to; without one, the handshake decides, so it is the legacy one.
pub(super) fn era_of(protocol: Option<&str>) -> Era {
    match protocol {
        Some(revision) if revision >= MODERN_SINCE => Era::Modern,
        _ => Era::Legacy,
    }
}

fn params_of<'m>(message: &'m Message<'m>) -> Option<&'m Object<'m>> {
    match message {
        Message::Request(request) => request.params.as_ref(),
        Message::Notification(notification) => notification.params.as_ref(),
        Message::Response(_) => None,
    }
}

fn meta_of<'m>(message: &'m Message<'m>, key: &str) -> Option<&'m Value<'m>> {
    match params_of(message)?.get("_meta")? {
        Value::Object(meta) => meta.get(key),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            None
        }
    }
}

fn initialize<'m>(message: &'m Message<'m>) -> Option<&'m Object<'m>> {
    match message {
        Message::Request(request) if request.method == "initialize" => request.params.as_ref(),
        Message::Request(_) | Message::Notification(_) | Message::Response(_) => None,
    }
}

fn text<'v>(value: Option<&'v Value<'_>>) -> Option<&'v str> {
    match value? {
        Value::String(text) => Some(text),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            None
        }
    }
}

/// The one value of a header; a second one, or one that is no text, can be read in two ways.
fn one<'h>(
    message: &Message<'_>,
    headers: &'h HeaderMap,
    name: &'static str,
) -> Result<Option<&'h str>, Refusal> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value
            .to_str()
            .map(Some)
            .map_err(|_| disagree(message, name, headers)),
        (Some(_), Some(_)) => Err(disagree(message, name, headers)),
    }
}

fn disagree(message: &Message<'_>, header: &'static str, headers: &HeaderMap) -> Refusal {
    let id = match message {
        Message::Request(request) => Some(request.id.raw.to_owned()),
        Message::Notification(_) | Message::Response(_) => None,
    };
    let said = text(meta_of(message, "io.modelcontextprotocol/protocolVersion"));
    let header_said = headers
        .get("mcp-protocol-version")
        .and_then(|value| value.to_str().ok());
    let modern = [said, header_said]
        .into_iter()
        .any(|revision| era_of(revision) == Era::Modern);
    Refusal::Disagree {
        header,
        id,
        era: if modern { Era::Modern } else { Era::Legacy },
    }
}

/// Whether the client takes an answer as a stream of events.
pub(super) fn takes_events(headers: &HeaderMap) -> bool {
    let said = headers.get_all(http::header::ACCEPT).iter();
    said.filter_map(|value| value.to_str().ok())
        .any(|value| value.contains("text/event-stream"))
}

/// JSON where the client takes it, events only where it takes nothing else.
pub(super) fn accept(headers: &HeaderMap) -> Accept {
    let said: Vec<&str> = headers
        .get_all(http::header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    let takes = |kind: &str| said.iter().any(|value| value.contains(kind));
    if takes("text/event-stream")
        && !takes("application/json")
        && !takes("*/*")
        && !takes("application/*")
    {
        Accept::Events
    } else {
        Accept::Json
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn check(body: &str, pairs: &[(&'static str, &str)]) -> Result<Era, &'static str> {
        let message = Message::parse(body.as_bytes()).unwrap();
        let headers = headers(pairs);
        match Envelope::of(&message, &headers) {
            Ok(envelope) => Ok(envelope.era()),
            Err(Refusal::Disagree { header, .. }) => Err(header),
            Err(_) => Err("another refusal"),
        }
    }

    const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"vm_stop","arguments":{}}}"#;
    const MODERN: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;

    #[test]
    fn headers_that_say_what_the_body_says_are_fine() {
        assert_eq!(check(CALL, &[]), Ok(Era::Legacy));
        assert_eq!(
            check(
                CALL,
                &[("mcp-method", "tools/call"), ("mcp-name", "vm_stop")]
            ),
            Ok(Era::Legacy)
        );
        assert_eq!(
            check(CALL, &[("mcp-name", "=?base64?dm1fc3RvcA==?=")]),
            Ok(Era::Legacy)
        );
        assert_eq!(
            check(MODERN, &[("mcp-protocol-version", "2026-07-28")]),
            Ok(Era::Modern)
        );
        assert_eq!(check(MODERN, &[]), Ok(Era::Modern));
    }

    #[test]
    fn headers_that_say_something_else_are_refused() {
        assert_eq!(
            check(CALL, &[("mcp-method", "tools/list")]),
            Err("Mcp-Method")
        );
        assert_eq!(check(CALL, &[("mcp-name", "vm_list")]), Err("Mcp-Name"));
        assert_eq!(
            check(CALL, &[("mcp-name", "=?base64?!!?=")]),
            Err("Mcp-Name")
        );
        assert_eq!(
            check(
                CALL,
                &[("mcp-method", "tools/call"), ("mcp-method", "tools/call")]
            ),
            Err("mcp-method")
        );
        assert_eq!(
            check(MODERN, &[("mcp-protocol-version", "2025-06-18")]),
            Err("MCP-Protocol-Version")
        );
    }

    #[test]
    fn events_are_sent_only_to_those_who_take_nothing_else() {
        assert_eq!(
            accept(&headers(&[(
                "accept",
                "application/json, text/event-stream"
            )])),
            Accept::Json
        );
        assert_eq!(
            accept(&headers(&[("accept", "text/event-stream")])),
            Accept::Events
        );
        assert_eq!(accept(&headers(&[])), Accept::Json);
    }
}
