//! The two tables as Arrow schemas (DESIGN 6.1): every column, in a fixed order, with its exact type.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

/// Version of both schemas, kept in every file's metadata under [`SCHEMA_VERSION_KEY`].
///
/// A column is never reused for another meaning; new columns are appended and raise this number.
pub const SCHEMA_VERSION: &str = "1";

/// Metadata key of the schema version.
pub const SCHEMA_VERSION_KEY: &str = "weir.schema";

/// The table `calls`: one row a call.
pub fn calls_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| with_version(calls_fields()));
    Arc::clone(&SCHEMA)
}

/// The table `events`: one row an event.
pub fn events_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| with_version(events_fields()));
    Arc::clone(&SCHEMA)
}

fn calls_fields() -> Vec<Field> {
    vec![
        required("seq", DataType::Int64),
        optional("finish_seq", DataType::Int64),
        required("node", dictionary()),
        required("direction", dictionary()),
        required("call_id", digest()),
        required("decided_at", timestamp()),
        required("received_at", timestamp()),
        optional("finished_at", timestamp()),
        optional("server", dictionary()),
        optional("grant", dictionary()),
        optional("session", dictionary()),
        optional("principal", dictionary()),
        optional("client_name", dictionary()),
        optional("client_version", dictionary()),
        optional("client_address", dictionary()),
        optional("protocol", dictionary()),
        optional("trace_id", digest()),
        optional("method", dictionary()),
        optional("wire_tool", dictionary()),
        optional("tool", dictionary()),
        optional("risk", dictionary()),
        optional("request_id", DataType::Utf8),
        optional("request_bytes", DataType::Int64),
        optional("arguments", DataType::Utf8),
        optional("effective_arguments", DataType::Utf8),
        optional("arguments_digest", digest()),
        optional("redacted", list(DataType::Utf8)),
        required("verdict", dictionary()),
        optional("reason", dictionary()),
        optional("rule", dictionary()),
        optional("message", dictionary()),
        optional("via", list(dictionary())),
        optional("policy_digest", dictionary()),
        optional("resolver_digest", dictionary()),
        optional("engine", dictionary()),
        optional("tool_definition_digest", dictionary()),
        optional("shadow", list(DataType::Struct(shadow_fields()))),
        optional("approval", DataType::Struct(approval_fields())),
        optional("given_back", DataType::Boolean),
        optional("limit_counts", list(DataType::Struct(limit_count_fields()))),
        optional("decide_ns", DataType::Int32),
        optional("commit_us", DataType::Int32),
        optional("upstream_us", DataType::Int64),
        optional("outcome", dictionary()),
        optional("status", DataType::Int16),
        optional("result_bytes", DataType::Int64),
        optional("result_digest", digest()),
        optional("result", DataType::Utf8),
    ]
}

fn events_fields() -> Vec<Field> {
    vec![
        required("seq", DataType::Int64),
        required("node", dictionary()),
        required("at", timestamp()),
        required("kind", dictionary()),
        optional("digest", dictionary()),
        optional("server", dictionary()),
        optional("grant", dictionary()),
        optional("tool", dictionary()),
        optional("address", dictionary()),
        optional("count", DataType::Int64),
        optional("text", DataType::Utf8),
        optional("detail", DataType::Utf8),
    ]
}

/// Fields of one entry of `shadow`.
pub(crate) fn shadow_fields() -> Fields {
    Fields::from(vec![
        required("verdict", dictionary()),
        required("rule", dictionary()),
        required("policy_digest", dictionary()),
    ])
}

/// Fields of `approval`.
pub(crate) fn approval_fields() -> Fields {
    Fields::from(vec![
        required("asked_at", timestamp()),
        optional("answered_at", timestamp()),
        optional("answer_seq", DataType::Int64),
        optional("by", dictionary()),
        optional("answer", dictionary()),
    ])
}

/// Fields of one entry of `limit_counts`.
pub(crate) fn limit_count_fields() -> Fields {
    Fields::from(vec![
        required("counter", DataType::Utf8),
        required("value", DataType::Int64),
    ])
}

/// Text of which few different values occur.
pub(crate) fn dictionary() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

/// Microseconds since the epoch, UTC.
pub(crate) fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// Field of a list's elements.
pub(crate) fn element(data_type: DataType) -> Field {
    Field::new_list_field(data_type, false)
}

fn list(data_type: DataType) -> DataType {
    DataType::List(Arc::new(element(data_type)))
}

fn digest() -> DataType {
    DataType::FixedSizeBinary(16)
}

fn required(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, false)
}

fn optional(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}

fn with_version(fields: Vec<Field>) -> SchemaRef {
    let metadata = [(SCHEMA_VERSION_KEY.to_owned(), SCHEMA_VERSION.to_owned())];
    Arc::new(Schema::new_with_metadata(fields, metadata.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_have_every_column_of_the_design_once() {
        let schema = calls_schema();
        let mut names: Vec<_> = schema.fields().iter().map(|f| f.name().clone()).collect();
        assert_eq!(names.len(), 48);
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 48);
    }

    #[test]
    fn schemas_carry_their_version() {
        assert_eq!(
            calls_schema()
                .metadata()
                .get(SCHEMA_VERSION_KEY)
                .map(String::as_str),
            Some("1")
        );
        assert_eq!(
            events_schema()
                .metadata()
                .get(SCHEMA_VERSION_KEY)
                .map(String::as_str),
            Some("1")
        );
    }
}
