//! Checkpoints: what a restart begins with, so that it replays the end of the log instead of all of it.
//!
//! A checkpoint is of an epoch, and is put together while later ones are computed:
//!
//! ```text
//! sequencer ── cuts epoch E, asks ──▶ workers ── nodes as they were at E ──▶ checkpoint thread ──▶ state file, manifest
//!     └── messages, aliases, positions ────────────────────────────────────────▲
//! publisher ── since when who is a member, once E is durable ──────────────────┘
//! ```
//! Nothing waits for it. It counts once its manifest is durable, which is after its epoch is durable in the log; until
//! then the one before counts. It holds what has changed since that one, or everything, now and then.
//!
//! A restart may only begin behind deltas that every sink has: those of earlier epochs are not made again.
//! [`choose`] says which checkpoints are kept and which one is used.

pub(crate) mod choose;
pub(crate) mod collect;
pub(crate) mod control;
pub(crate) mod earlier;
mod pace;
pub(crate) mod pieces;
pub(crate) mod restore;
pub(crate) mod take;
pub(crate) mod trigger;
mod whole;
