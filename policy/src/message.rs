//! A JSON-RPC message as a client sends it, read strictly (DESIGN 5.6).

mod ask;
mod envelope;
mod method;

use std::borrow::Cow;
use std::ops::Range;

use crate::malformed::{Flaw, Malformed};
use crate::{Object, Value};

pub use ask::{Ask, AskKind, recorded_arguments};
pub use method::known_method;

pub(crate) use ask::{NO_ARGUMENTS, is_name, is_reserved};

/// One message from a client to a server.
#[derive(Debug, Clone, PartialEq)]
pub enum Message<'a> {
    /// A method with an id: an answer is awaited.
    Request(Request<'a>),
    /// A method without an id.
    Notification(Notification<'a>),
    /// The client's answer to a request of the server.
    Response(Response<'a>),
}

impl<'a> Message<'a> {
    /// Reads a whole message; `bytes` hold one message and nothing else.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        envelope::read(bytes)
    }

    /// What policy is to judge, if it is to judge this message: none for answers and for methods that
    /// every revision of the protocol lets pass.
    pub fn ask(&self) -> Result<Option<Ask<'_>>, Malformed> {
        match self {
            Self::Request(request) if !known_method(&request.method) => request.ask().map(Some),
            Self::Notification(note) if !known_method(&note.method) => note.ask().map(Some),
            Self::Request(_) | Self::Notification(_) | Self::Response(_) => Ok(None),
        }
    }
}

/// A request: method, id and parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Request<'a> {
    /// The id, as it stood.
    pub id: Id<'a>,
    /// The method.
    pub method: Cow<'a, str>,
    /// The parameters, `_meta` among them.
    pub params: Option<Object<'a>>,
    /// The text of `params.arguments`, as it stood.
    pub arguments_raw: Option<&'a str>,
}

impl Request<'_> {
    /// What policy judges: the tool, resource, prompt or method that is asked for.
    pub fn ask(&self) -> Result<Ask<'_>, Malformed> {
        ask::of(&self.method, self.params.as_ref()).map_err(|flaw| Malformed {
            id: Some(self.id.raw.to_owned()),
            ..Malformed::new(flaw)
        })
    }

    /// The member `key` of `params._meta`, as the modern era uses it for what headers said before.
    pub fn meta(&self, key: &str) -> Option<&Value<'_>> {
        meta(self.params.as_ref(), key)
    }
}

/// A notification: a method that nobody answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Notification<'a> {
    /// The method.
    pub method: Cow<'a, str>,
    /// The parameters.
    pub params: Option<Object<'a>>,
}

impl Notification<'_> {
    /// What policy judges, as for a request. Calls of tools, resources and prompts need an id, so
    /// here only methods are left.
    pub fn ask(&self) -> Result<Ask<'_>, Malformed> {
        if method::needs_id(&self.method) {
            return Err(Malformed::new(Flaw::MissingId));
        }
        ask::of(&self.method, self.params.as_ref()).map_err(Malformed::new)
    }

    /// The member `key` of `params._meta`.
    pub fn meta(&self, key: &str) -> Option<&Value<'_>> {
        meta(self.params.as_ref(), key)
    }
}

fn meta<'o>(params: Option<&'o Object<'_>>, key: &str) -> Option<&'o Value<'o>> {
    match params?.get("_meta")? {
        Value::Object(meta) => meta.get(key),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            None
        }
    }
}

/// The client's answer to something the server asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Response<'a> {
    /// The id of the server's request; `null` where the client could not read it.
    pub id: Id<'a>,
    /// What it answered.
    pub answer: Answer<'a>,
}

/// An answer's content.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer<'a> {
    /// `result`
    Result(Value<'a>),
    /// `error`
    Error(Value<'a>),
}

/// An id as it stood in the message, so that it can be compared, recorded and replaced byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Id<'a> {
    /// The JSON text: `7`, `"7"`.
    pub raw: &'a str,
    /// Where that text stands in the message's bytes.
    pub span: Range<usize>,
}
