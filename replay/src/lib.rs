//! The record run again: what-if under a candidate, and SQL over the record
