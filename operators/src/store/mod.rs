//! Where operators keep their state: plain tables that grow in small parts, so that no single step stalls.

mod index;
mod panes;
mod slab;
mod texts;
mod trait_texts;

pub(crate) use index::Index;
pub(crate) use panes::{PanePool, Panes};
pub(crate) use slab::Slab;
pub(crate) use texts::TextRef;
pub use texts::Texts;
pub(crate) use trait_texts::TraitTexts;
