//! The running engine from outside, as an embedding program sees it. One binary: linking it is what takes long.

#![allow(clippy::unwrap_used, clippy::clone_on_ref_ptr, unreachable_pub)]

mod burst;
mod checkpoint;
mod common;
mod extension;
mod fixtures;
mod ingest;
mod letters;
mod outbox;
mod quarantine;
mod restart;
mod retention;
mod shutdown;
mod sinks;
mod subscribe;
