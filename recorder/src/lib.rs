//! The record: schema, journal, segments, and reading it back
