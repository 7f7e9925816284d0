//! Evidence: what was recorded stays provable (DESIGN 6.5).
//!
//! The entries of a node's log are the [leaves](leaf) of an RFC 6962 [tree](merkle); a [checkpoint] is a [signed note](note)
//! of its size and root.

pub(crate) mod checkpoint;
pub(crate) mod key;
pub(crate) mod leaf;
pub(crate) mod merkle;
pub(crate) mod note;
pub(crate) mod proof;
pub(crate) mod row;
