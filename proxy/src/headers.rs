//! The protocol's own headers, and that of traces.

use http::HeaderName;

/// The session of the legacy era.
pub(crate) static SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
/// The revision that a client speaks.
pub(crate) static PROTOCOL: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// In the modern era the body's method, once more.
pub(crate) static METHOD: HeaderName = HeaderName::from_static("mcp-method");
/// In the modern era the body's tool, prompt or resource, once more.
pub(crate) static NAME: HeaderName = HeaderName::from_static("mcp-name");
/// The last event that a client got of a stream.
pub(crate) static LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");
/// The place in a trace.
pub(crate) static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
