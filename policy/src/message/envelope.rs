//! From bytes to a message: the envelope's members, and what must hold between them.

use std::borrow::Cow;

use super::method::needs_id;
use super::{Answer, Id, Message, Notification, Request, Response};
use crate::malformed::{Flaw, INVALID_PARAMS, INVALID_REQUEST, Malformed};
use crate::strict::{self, Fault, Reader};
use crate::{Number, Object, Value};

/// The envelope's own keys.
const ENVELOPE: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];

/// The keys of `params` that decide what a message does.
const PARAMS: [&str; 11] = [
    "name",
    "arguments",
    "uri",
    "_meta",
    "task",
    "taskId",
    "inputResponses",
    "requestState",
    "protocolVersion",
    "capabilities",
    "clientInfo",
];

/// The members as they stood, each at most once.
#[derive(Default)]
struct Envelope<'a> {
    /// Whether `jsonrpc` is the version we speak.
    version: Option<bool>,
    id: Option<(IdKind, Id<'a>)>,
    method: Option<Method<'a>>,
    params: Option<Value<'a>>,
    arguments_raw: Option<&'a str>,
    result: Option<Value<'a>>,
    error: Option<Value<'a>>,
    /// Keys outside the protocol; kept only to find duplicates among them.
    others: Object<'a>,
    /// The first key that could be read in two ways, and the code of its place.
    flaw: Option<(Flaw, i32, usize)>,
}

/// What stands at `method`.
enum Method<'a> {
    Name(Cow<'a, str>),
    /// No string.
    Other,
}

/// What stands at `id`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum IdKind {
    /// A string, or an integer in its only spelling.
    Good,
    Null,
    Bad,
}

pub(super) fn read(bytes: &[u8]) -> Result<Message<'_>, Malformed> {
    let text = strict::text(bytes).map_err(malformed)?;
    let mut reader = Reader::new(text);
    reader.space();
    if reader.peek() != Some(b'{') {
        return Err(not_an_object(reader));
    }
    let mut envelope = Envelope::default();
    envelope.fill(&mut reader).map_err(malformed)?;
    envelope.message()
}

fn malformed(fault: Fault) -> Malformed {
    Malformed {
        at: Some(fault.at),
        ..Malformed::new(fault.flaw)
    }
}

/// Why a text that does not begin as an object is no message: a batch, another value, or no JSON.
fn not_an_object(mut reader: Reader<'_>) -> Malformed {
    let flaw = if reader.peek() == Some(b'[') {
        Flaw::Batch
    } else {
        Flaw::NotAnObject
    };
    match reader.value(0).and_then(|_| reader.end()) {
        Ok(()) => Malformed::new(flaw),
        Err(fault) => malformed(fault),
    }
}

impl<'a> Envelope<'a> {
    fn fill(&mut self, reader: &mut Reader<'a>) -> Result<(), Fault> {
        reader.open(0)?;
        if !reader.take(b'}') {
            loop {
                let key = reader.key()?;
                self.member(reader, key)?;
                if reader.close_member()? {
                    break;
                }
            }
        }
        reader.end()?;
        if self.others.repeats_late() {
            self.flaw(Flaw::DuplicateKey, INVALID_REQUEST, reader.position());
        }
        // A duplicate deeper down is one of the parameters (or of an answer): the envelope's own
        // keys were compared as they came.
        if let Some(doubt) = reader.doubt {
            self.flaw(doubt.flaw, INVALID_PARAMS, doubt.at);
        }
        Ok(())
    }

    fn member(&mut self, reader: &mut Reader<'a>, key: Cow<'a, str>) -> Result<(), Fault> {
        let start = reader.position();
        let duplicate = match key.as_ref() {
            "jsonrpc" => {
                let value = reader.value(1)?;
                let is_ours = matches!(&value, Value::String(version) if version == "2.0");
                again(&mut self.version, is_ours)
            }
            "id" => {
                let value = reader.value(1)?;
                let id = Id {
                    raw: reader.since(start),
                    span: start..reader.position(),
                };
                again(&mut self.id, (IdKind::of(&value, id.raw), id))
            }
            "method" => {
                let method = match reader.value(1)? {
                    Value::String(name) => Method::Name(name),
                    Value::Null
                    | Value::Bool(_)
                    | Value::Number(_)
                    | Value::Array(_)
                    | Value::Object(_) => Method::Other,
                };
                again(&mut self.method, method)
            }
            "params" if reader.peek() == Some(b'{') => {
                let params = self.params(reader)?;
                again(&mut self.params, Value::Object(params))
            }
            "params" => again(&mut self.params, reader.value(1)?),
            "result" => again(&mut self.result, reader.value(1)?),
            "error" => again(&mut self.error, reader.value(1)?),
            other => {
                if differs_by_case(other, &ENVELOPE) {
                    self.flaw(Flaw::AmbiguousKey, INVALID_REQUEST, start);
                }
                let duplicate = self.others.repeats(other);
                self.others.0.push((key, reader.value(1)?));
                duplicate
            }
        };
        if duplicate {
            self.flaw(Flaw::DuplicateKey, INVALID_REQUEST, start);
        }
        Ok(())
    }

    /// The object at `params`, noting where `arguments` stands.
    fn params(&mut self, reader: &mut Reader<'a>) -> Result<Object<'a>, Fault> {
        let mut params = Object(Vec::with_capacity(3));
        reader.open(1)?;
        if reader.take(b'}') {
            return Ok(params);
        }
        loop {
            let key = reader.key()?;
            let start = reader.position();
            let is_arguments = key == "arguments";
            match key.as_ref() {
                // what every call has, and both are `PARAMS`
                "arguments" | "name" => {}
                other => {
                    if !PARAMS.contains(&other) && differs_by_case(other, &PARAMS) {
                        self.flaw(Flaw::AmbiguousKey, INVALID_PARAMS, start);
                    }
                }
            }
            if params.repeats(&key) {
                self.flaw(Flaw::DuplicateKey, INVALID_PARAMS, start);
            }
            reader.read(2, params.place(key))?;
            if is_arguments {
                self.arguments_raw = Some(reader.since(start));
            }
            if reader.close_member()? {
                break;
            }
        }
        if params.repeats_late() {
            self.flaw(Flaw::DuplicateKey, INVALID_PARAMS, reader.position());
        }
        Ok(params)
    }

    fn flaw(&mut self, flaw: Flaw, code: i32, at: usize) {
        self.flaw.get_or_insert((flaw, code, at));
    }

    /// The message these members make, if they make exactly one.
    fn message(self) -> Result<Message<'a>, Malformed> {
        let id = self.readable_id();
        let refuse = |flaw| Malformed {
            id: id.map(str::to_owned),
            ..Malformed::new(flaw)
        };
        if let Some((flaw, code, at)) = self.flaw {
            return Err(Malformed {
                code,
                at: Some(at),
                ..refuse(flaw)
            });
        }
        if self.version != Some(true) {
            return Err(refuse(Flaw::Version));
        }
        match (self.method, self.result, self.error) {
            (Some(Method::Name(method)), None, None) => {
                let params = match self.params {
                    None => None,
                    Some(Value::Object(params)) => Some(params),
                    Some(_) => return Err(refuse(Flaw::Params)),
                };
                match self.id {
                    Some((IdKind::Good, id)) => Ok(Message::Request(Request {
                        id,
                        method,
                        params,
                        arguments_raw: self.arguments_raw,
                    })),
                    Some(_) => Err(refuse(Flaw::Id)),
                    None if needs_id(&method) => Err(refuse(Flaw::MissingId)),
                    None => Ok(Message::Notification(Notification { method, params })),
                }
            }
            (None, Some(result), None) => answer(self.id, Answer::Result(result)).map_err(refuse),
            (None, None, Some(error)) => answer(self.id, Answer::Error(error)).map_err(refuse),
            (None | Some(Method::Other), None, None) => Err(refuse(Flaw::Method)),
            (_, _, _) => Err(refuse(Flaw::ResultInRequest)),
        }
    }

    /// The id for an error's answer: only where the envelope left no doubt which one is meant.
    fn readable_id(&self) -> Option<&'a str> {
        let certain = !matches!(self.flaw, Some((_, code, _)) if code != INVALID_PARAMS);
        match &self.id {
            Some((IdKind::Good, id)) if certain => Some(id.raw),
            _ => None,
        }
    }
}

/// Fills `slot`; whether it was full before, which then keeps what it had.
#[inline]
fn again<T>(slot: &mut Option<T>, value: T) -> bool {
    let full = slot.is_some();
    if !full {
        *slot = Some(value);
    }
    full
}

fn answer<'a>(id: Option<(IdKind, Id<'a>)>, answer: Answer<'a>) -> Result<Message<'a>, Flaw> {
    match (id, &answer) {
        (Some((IdKind::Null, id)), Answer::Error(_)) | (Some((IdKind::Good, id)), _) => {
            Ok(Message::Response(Response { id, answer }))
        }
        (Some(_), _) => Err(Flaw::Id),
        (None, _) => Err(Flaw::MissingId),
    }
}

impl IdKind {
    fn of(value: &Value<'_>, raw: &str) -> Self {
        match value {
            Value::String(_) | Value::Number(Number::Integer(_)) => Self::Good,
            Value::Number(Number::Decimal(_))
                if raw != "-0" && raw.bytes().all(|b| b.is_ascii_digit() || b == b'-') =>
            {
                Self::Good
            }
            Value::Null => Self::Null,
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => Self::Bad,
        }
    }
}

/// Whether some reader that ignores case would take `key` for one of `known`. Besides ASCII, two
/// letters fold into it under Unicode's rules, and at least one widely used reader folds them.
fn differs_by_case(key: &str, known: &[&str]) -> bool {
    known.iter().any(|name| {
        let mut folded = key.chars().map(|c| match c {
            '\u{17f}' => 's',
            '\u{212a}' => 'k',
            c => c.to_ascii_lowercase(),
        });
        name.chars()
            .all(|c| folded.next() == Some(c.to_ascii_lowercase()))
            && folded.next().is_none()
    })
}
