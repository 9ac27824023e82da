//! Durability: what is on disk is whole, or the reader is told where it is not.
//!
//! A *state directory* ([`StateDir`]) belongs to one process at a time and holds
//!
//! | path | what | durable when |
//! |---|---|---|
//! | `meta` | id key, deployment, definitions ([`Meta`]) | written (temp, fsync, rename, fsync of the directory) |
//! | `log/NNN.log` | accepted events in epochs, the truth ([`LogWriter`], [`LogReader`]) | [`LogWriter::sync`] |
//! | `log/NNN.sealed` | the same of a full file, compressed; here or in a [`Store`] ([`LogArchive`]) | written, before the plain file goes |
//! | `quarantine/records` | refused events ([`Quarantine`]) | [`Quarantine::sync`] |
//! | `acks/SINK` | how far each sink has come ([`AckFile`]) | [`AckFile::record`] returns |
//! | `checkpoints/` | state as of an epoch ([`Checkpoints`], [`Manifest`]) | [`Checkpoints::commit`] returns |
//! | `outbox/SINK/` | deltas a slow sink has not taken yet ([`Outbox`]) | [`Unsynced::sync`]; else made again from the log |
//! | `dead_letters/SINK` | deltas a destination would not take ([`DeadLetters`]) | [`DeadLetters::sync`] |
//!
//! Modules in reading order: [`files`] (the file system behind an interface, so that tests can make it fail),
//! `frame` (the checksummed unit of every file), `state`, `log`, `checkpoint`, `quarantine`, `acks`, `outbox`,
//! `dead_letters`, `copy`.
//! Everything is synchronous; the caller owns threads, clocks and randomness.

mod acks;
mod checkpoint;
mod codec;
mod copy;
mod dead_letters;
mod error;
pub mod files;
mod frame;
mod log;
mod meta;
mod outbox;
#[cfg(feature = "planted-bugs")]
pub mod planted;
mod quarantine;
#[cfg(any(test, feature = "testing"))]
pub mod sim;
mod state;
mod store;

pub use acks::{Ack, AckFile};
pub use checkpoint::{Checkpoints, Manifest, StateFile, StateFileReader, StateFileWriter};
pub use copy::{Copied, Extent};
pub use dead_letters::{DeadLetterOptions, DeadLetterReader, DeadLetters, NewDeadLetter, StoredDeadLetter};
pub use error::StorageError;
pub use files::{Blob, DiskFiles, Files};
pub use frame::{MAX_PAYLOAD, Recovered};
pub use log::{
    EpochEntry, EpochHeader, EventBytes, FIRST_EPOCH, LogArchive, LogOptions, LogReader, LogWriter,
    SealedFile,
};
pub use meta::Meta;
pub use outbox::{NewBatch, Outbox, OutboxOptions, Pushed, Span, StoredBatch, Synced, Unsynced};
pub use quarantine::{Appended, Filter, NewRecord, Quarantine, QuarantineOptions, QuarantineReader, Record};
pub use state::{NewState, StateDir, StateReader};
#[cfg(feature = "object-store")]
pub use store::ObjectStore;
pub use store::{DirectoryStore, Store};

#[cfg(test)]
mod tests;
