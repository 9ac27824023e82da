//! Stored state: what a worker's state can be put together from again, and nothing that follows from it.
//!
//! A snapshot holds, per identifier, its node: first mention, the partial aggregates and panes of its own events, the
//! links it owns. Clusters, profiles, memberships, timers and arrangements are not in it; they are worked out again by
//! the same operators, in one epoch that has links and no events ([`read`], [`rejoin`]). So a snapshot does not depend on the
//! number of workers, and the worker that reads one need not be the one that wrote it.
//!
//! A snapshot is of one epoch, but is written while later ones are computed: [`Marks`] knows which nodes are still to
//! be written, and a node that is about to change before its turn is written first ([`write`]). It also knows which
//! nodes changed since the last snapshot; the next one holds those alone, and is read on top of the earlier ones.
//!
//! ```text
//! nodes    (length u32, node)*    so that a reader may skip what another worker has
//! node     hash 16 | rank | flags | place | text | traits | links | aliases
//! rest     (kind, link taken back or event dated in the future)*
//! ```
//! All other numbers are LEB128 varints, signed ones in zigzag; hashes and lengths are little-endian; texts are their length
//! and bytes. The format is versioned where it is stored: with the file that holds it.

pub(crate) mod bytes;
mod convert;
mod facts;
mod marks;
mod read;
mod rejoin;
mod write;

pub use convert::{Conversion, Filled, split_rest};
pub use facts::FactsReader;
pub(crate) use marks::Marks;
pub use read::Damaged;
pub(crate) use read::carried;
