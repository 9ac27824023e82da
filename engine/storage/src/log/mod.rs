//! The event log: every accepted event, in epochs, exactly as received. What is not in it did not happen.
//!
//! Files are named after their first epoch. Only the last one is written to; the others are durable to their last byte
//! before the next one was made, so anything wrong in them is damage, never a torn tail. They are *sealed* one by one:
//! rewritten compressed and with an index ([`sealed`]), after which the plain file goes. When nobody needs the oldest ones
//! any more they are *retired*: `meta` says where the log begins now, and then they are removed ([`archive`]).
//!
//! An event of no bytes is one that was taken out: no event is ever accepted empty. It keeps its place.

mod archive;
mod entry;
pub(crate) mod place;
mod reader;
mod recovery;
pub(crate) mod sealed;
mod writer;

pub use archive::LogArchive;
pub use entry::{EpochEntry, EpochHeader, EventBytes};
pub use reader::LogReader;
pub(crate) use recovery::Witness;
pub use sealed::SealedFile;
pub use writer::{LogOptions, LogWriter};

/// The number of a log's first epoch. 0 means "before anything", as in an acknowledgement of nothing.
pub const FIRST_EPOCH: u64 = 1;
