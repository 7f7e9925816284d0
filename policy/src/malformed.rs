//! Why a message was refused before any policy was asked.

use std::fmt;

use crate::{Decision, Reason};

/// A message that could be read in two ways, or not at all (DESIGN 5.6).
///
/// Its `Display` is the public text: it names what is wrong, never what stood in the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// The JSON-RPC error code of the answer.
    pub code: i32,
    /// What is wrong.
    pub flaw: Flaw,
    /// Where the reader stopped, in bytes from the start. For the operator's log.
    pub at: Option<usize>,
    /// The request's id as it stood, where the message was whole enough to say so for certain.
    pub id: Option<String>,
}

/// Everything that can be wrong with a message: a closed list of codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Flaw {
    /// The bytes are not UTF-8.
    NotUtf8,
    /// It begins with a byte order mark.
    ByteOrderMark,
    /// It is not JSON.
    NotJson,
    /// Something follows the message.
    TrailingBytes,
    /// It is nested deeper than 64.
    TooDeep,
    /// It holds more values than a message may.
    TooManyValues,
    /// An escape names half of a surrogate pair.
    LoneSurrogate,
    /// A number is beyond what a double can hold.
    NumberOverflow,
    /// A batch of messages.
    Batch,
    /// The message is no object.
    NotAnObject,
    /// An object has the same key twice.
    DuplicateKey,
    /// A key differs from one of the protocol only by case.
    AmbiguousKey,
    /// A key is `__proto__`: a member for some, the members behind an object for others.
    PrototypeKey,
    /// `jsonrpc` is missing or not `"2.0"`.
    Version,
    /// `method` is missing or no string.
    Method,
    /// A request that also carries `result` or `error`, or an answer that carries both.
    ResultInRequest,
    /// `id` is neither a string nor an integer.
    Id,
    /// A call that must have an id has none.
    MissingId,
    /// `params` is no object.
    Params,
    /// The name or URI of what is called is missing, empty, no string, or holds control characters.
    Name,
    /// The name begins with a prefix that policy uses for other things than tools.
    ReservedName,
    /// `arguments` is neither an object, null nor absent.
    Arguments,
    /// The operation of a dispatcher is no non-empty string.
    Operation,
    /// The arguments of an operation are no object.
    OperationArguments,
    /// Dispatchers and aliases lead from one to the next too often.
    ResolutionTooDeep,
}

impl Flaw {
    /// The code that stands in events and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotUtf8 => "not_utf8",
            Self::ByteOrderMark => "byte_order_mark",
            Self::NotJson => "not_json",
            Self::TrailingBytes => "trailing_bytes",
            Self::TooDeep => "too_deep",
            Self::TooManyValues => "too_many_values",
            Self::LoneSurrogate => "lone_surrogate",
            Self::NumberOverflow => "number_overflow",
            Self::Batch => "batch",
            Self::NotAnObject => "not_an_object",
            Self::DuplicateKey => "duplicate_key",
            Self::AmbiguousKey => "ambiguous_key",
            Self::PrototypeKey => "prototype_key",
            Self::Version => "version",
            Self::Method => "method",
            Self::ResultInRequest => "result_in_request",
            Self::Id => "id",
            Self::MissingId => "missing_id",
            Self::Params => "params",
            Self::Name => "name",
            Self::ReservedName => "reserved_name",
            Self::Arguments => "arguments",
            Self::Operation => "operation",
            Self::OperationArguments => "operation_arguments",
            Self::ResolutionTooDeep => "resolution_too_deep",
        }
    }

    /// What the caller is told.
    pub fn text(self) -> &'static str {
        match self {
            Self::NotUtf8 => "the message is not UTF-8",
            Self::ByteOrderMark => "the message begins with a byte order mark",
            Self::NotJson => "the message is not JSON",
            Self::TrailingBytes => "something follows the message",
            Self::TooDeep => "the message is nested deeper than 64",
            Self::TooManyValues => "the message holds too many values",
            Self::LoneSurrogate => "a string holds half of a surrogate pair",
            Self::NumberOverflow => "a number is too large",
            Self::Batch => "batches are not accepted",
            Self::NotAnObject => "the message is no object",
            Self::DuplicateKey => "an object has the same key twice",
            Self::AmbiguousKey => "a key differs from one of the protocol only by case",
            Self::PrototypeKey => "a key is `__proto__`, which servers read in different ways",
            Self::Version => "`jsonrpc` must be \"2.0\"",
            Self::Method => "`method` must be a string",
            Self::ResultInRequest => "`method`, `result` and `error` exclude each other",
            Self::Id => "`id` must be a string or an integer",
            Self::MissingId => "this method needs an `id`",
            Self::Params => "`params` must be an object",
            Self::Name => {
                "the name of what is called must be a non-empty string without control characters"
            }
            Self::ReservedName => {
                "a tool's name must not begin with `resource:`, `prompt:` or `method:`"
            }
            Self::Arguments => "`arguments` must be an object",
            Self::Operation => "the operation must be a non-empty string",
            Self::OperationArguments => "the arguments of the operation must be an object",
            Self::ResolutionTooDeep => "the call leads through too many dispatchers",
        }
    }

    /// The JSON-RPC code where the flaw alone decides it (a key's place decides for duplicates).
    pub(crate) fn code(self) -> i32 {
        match self {
            Self::NotUtf8
            | Self::ByteOrderMark
            | Self::NotJson
            | Self::TrailingBytes
            | Self::TooDeep
            | Self::TooManyValues
            | Self::LoneSurrogate
            | Self::NumberOverflow => PARSE_ERROR,
            Self::Batch
            | Self::NotAnObject
            | Self::DuplicateKey
            | Self::AmbiguousKey
            | Self::PrototypeKey
            | Self::Version
            | Self::Method
            | Self::ResultInRequest
            | Self::Id
            | Self::MissingId => INVALID_REQUEST,
            Self::Params
            | Self::Name
            | Self::ReservedName
            | Self::Arguments
            | Self::Operation
            | Self::OperationArguments
            | Self::ResolutionTooDeep => INVALID_PARAMS,
        }
    }
}

/// Not JSON at all.
pub(crate) const PARSE_ERROR: i32 = -32700;
/// JSON, but no message.
pub(crate) const INVALID_REQUEST: i32 = -32600;
/// A message, but its parameters cannot be read in one way.
pub(crate) const INVALID_PARAMS: i32 = -32602;

impl Malformed {
    /// `flaw` with its own code and nothing known of the id.
    pub(crate) fn new(flaw: Flaw) -> Self {
        Self {
            code: flaw.code(),
            flaw,
            at: None,
            id: None,
        }
    }

    /// The denial that stands in the record.
    pub fn decision(&self) -> Decision {
        Decision::deny(Reason::Malformed, "(malformed)", self.flaw.text())
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.flaw.text())
    }
}

impl std::error::Error for Malformed {}
