//! What must hold of every input that the parsers take from strangers; `fuzz/run` looks for one that breaks it.
//!
//! Each module is one target: a function over bytes that panics where a promise is broken. See `docs/wall.md`.

pub mod document;
pub mod events;
pub mod foreign;
pub mod message;
pub mod path;

#[path = "../../proxy/src/sse.rs"]
#[allow(dead_code, reason = "the very file, for its splitter")]
mod sse;

#[path = "../../cli/src/nas/url.rs"]
#[allow(
    dead_code,
    reason = "the very file: URLs as the careless NAS builds them"
)]
mod url_building;
