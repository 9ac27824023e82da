//! Durability: what is on disk is whole, or the reader is told where it is not.
//!
//! A *state directory* ([`StateDir`]) belongs to one process at a time and holds
//!
//! | path | what | durable when |
//! |---|---|---|
//! | `meta` | id key, deployment, definitions ([`Meta`]) | written (temp, fsync, rename, fsync of the directory) |
//! | `log/NNN.log` | accepted events in epochs, the truth ([`LogWriter`], [`LogReader`]) | [`LogWriter::sync`] |
//! | `quarantine/records` | refused events ([`Quarantine`]) | [`Quarantine::sync`] |
//! | `acks/SINK` | how far each sink has come ([`AckFile`]) | [`AckFile::record`] returns |
//! | `checkpoints/` | state as of an epoch ([`Checkpoints`], [`Manifest`]) | [`Checkpoints::commit`] returns |
//! | `outbox/SINK/` | deltas a slow sink has not taken yet ([`Outbox`]) | never: made again from the log |
//!
//! Modules in reading order: [`files`] (the file system behind an interface, so that tests can make it fail),
//! `frame` (the checksummed unit of every file), `state`, `log`, `checkpoint`, `quarantine`, `acks`, `outbox`, `copy`.
//! Everything is synchronous; the caller owns threads, clocks and randomness.

mod acks;
mod checkpoint;
mod codec;
mod copy;
mod error;
pub mod files;
mod frame;
mod log;
mod outbox;
#[cfg(feature = "planted-bugs")]
pub mod planted;
mod quarantine;
#[cfg(any(test, feature = "testing"))]
pub mod sim;
mod state;

pub use acks::{Ack, AckFile};
pub use checkpoint::{Checkpoints, Manifest, StateFile, StateFileReader, StateFileWriter};
pub use copy::{Copied, Extent};
pub use error::StorageError;
pub use files::{Blob, DiskFiles, Files};
pub use frame::MAX_PAYLOAD;
pub use log::{
    EpochEntry, EpochHeader, EventBytes, FIRST_EPOCH, LogOptions, LogReader, LogWriter, Recovered,
};
pub use outbox::{Outbox, OutboxOptions, Pushed};
pub use quarantine::{Appended, Filter, NewRecord, Quarantine, QuarantineOptions, QuarantineReader, Record};
pub use state::{Meta, NewState, StateDir, StateReader};

#[cfg(test)]
mod tests;
