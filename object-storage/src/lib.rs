//! A copy of the record in S3-compatible object storage: sealed files and checkpoints are shipped there, each object written
//! once, and the copy is verified from there.
//!
//! A [`Replica`] is brought up to the record in rounds. What is in the bucket counts only once a signed list names it,
//! and the list goes last, so that the bucket holds a valid copy at every moment. [`Shipper`] does this beside a
//! proxy, on a thread of its own; [`verify`] reads a copy with the recorder's own verification.
//!
//! This crate never overwrites or deletes an object, never holds up a call, and never reads the environment.

mod bucket;
mod error;
mod list;
mod place;
mod replica;
mod shipper;
mod verify;
mod view;
mod wire;

pub use bucket::Bucket;
pub use error::ObjectStorageError;
pub use place::{Credentials, Place, Retention, RetentionMode};
pub use replica::{Behind, Progress, Replica, Round};
pub use shipper::{Shipper, Status};
pub use verify::{FetchedAnchor, Verified, public_key, verify, verify_as_of};

/// A runtime for one thread: what this crate does waits for the network, and for nothing else.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}
