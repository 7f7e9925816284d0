//! Spans in the JSON of OTLP (opentelemetry-proto, `ExportTraceServiceRequest`): ids in hexadecimal, times as decimal strings.

use serde_json::{Value, json};

use super::span::{Attribute, Finished, Side};

/// The body of one request to `/v1/traces`.
pub(super) fn request(node: &str, spans: &[Finished]) -> Value {
    let version = env!("CARGO_PKG_VERSION");
    let resource: [Attribute; 3] = [
        ("service.name", "weir".into()),
        ("service.version", version.into()),
        ("service.instance.id", node.to_owned().into()),
    ];
    json!({ "resourceSpans": [{
        "resource": { "attributes": attributes(&resource) },
        "scopeSpans": [{
            "scope": { "name": "weir", "version": version },
            "spans": spans.iter().map(span).collect::<Vec<_>>(),
        }],
    }] })
}

fn span(span: &Finished) -> Value {
    let kind = match span.side {
        Side::Server => 2,
        Side::Client => 3,
    };
    let mut told = attributes(&span.attributes);
    let mut status = json!({});
    if let Some(error) = span.error {
        told.extend(attributes(&[("error.type", error.into())]));
        status = json!({ "code": 2 });
    }
    let mut value = json!({
        "traceId": hex::encode(span.trace_id),
        "spanId": hex::encode(span.id),
        "name": span.name,
        "kind": kind,
        "startTimeUnixNano": span.began.to_string(),
        "endTimeUnixNano": span.ended.to_string(),
        "attributes": told,
        "status": status,
    });
    if let (Some(parent), Some(value)) = (span.parent, value.as_object_mut()) {
        value.insert("parentSpanId".to_owned(), hex::encode(parent).into());
    }
    value
}

fn attributes(attributes: &[Attribute]) -> Vec<Value> {
    attributes
        .iter()
        .map(|(key, value)| json!({ "key": key, "value": { "stringValue": value } }))
        .collect()
}
