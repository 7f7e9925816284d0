//! Criterion benches of the hot paths, beside other engines
