//! Where operators keep their state: plain tables that grow in small parts, so that no single step stalls.

mod index;
mod panes;
mod slab;
mod texts;

pub(crate) use index::Index;
pub(crate) use panes::{PanePool, Panes};
pub(crate) use slab::Slab;
pub use texts::Texts;
pub(crate) use texts::{TextRef, TraitTexts};
