//! What the scanner found at the wanted paths.

use super::{
    bytes::Bytes,
    names::NameTable,
    paths::{Node, PathTree},
};

/// What stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field<'a> {
    /// Nothing, or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number as written.
    Number(&'a [u8]),
    /// A string without escapes.
    Text(&'a [u8]),
    /// A string as written, with escapes.
    Escaped(&'a [u8]),
    /// An array as written, brackets included.
    Array(&'a [u8]),
    /// An object.
    Object,
}

/// [`Field`] without the bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    #[default]
    Null,
    True,
    False,
    Number,
    Text,
    Escaped,
    Array,
    Object,
}

/// Where the value at a node was last found.
///
/// Objects are numbered as they are opened, across events. A value counts only if the object that holds it is the
/// one last seen at the parent, and so on up to the event: that way nothing ever has to be cleared, neither between
/// events nor when a key stands twice and the second value hides what was found below the first.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slot {
    pub(super) start: u32,
    pub(super) len: u32,
    /// The number of the object that holds the value. Numbers start at 1.
    pub(super) within: u32,
    /// The number of the value, if it is an object in which more is wanted, else 0.
    pub(super) object: u32,
    pub(super) kind: Kind,
}

/// The values of one event at the wanted paths.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a> {
    pub(super) bytes: Bytes<'a>,
    pub(super) tree: &'a PathTree,
    pub(super) slots: &'a [Slot],
    /// The number of the event itself.
    pub(super) event: u32,
}

impl<'a> Fields<'a> {
    /// What stands at `node`.
    #[inline(always)]
    pub(crate) fn get(&self, node: Node) -> Field<'a> {
        let slot = &self.slots[node.index()];
        if !self.is_current(slot, node) {
            return Field::Null;
        }
        let (start, end) = (slot.start as usize, slot.start as usize + slot.len as usize);
        let text = &self.bytes.padded()[start..end];
        match slot.kind {
            Kind::Null => Field::Null,
            Kind::True => Field::Bool(true),
            Kind::False => Field::Bool(false),
            Kind::Number => Field::Number(text),
            Kind::Text => Field::Text(text),
            Kind::Escaped => Field::Escaped(text),
            Kind::Array => Field::Array(text),
            Kind::Object => Field::Object,
        }
    }

    /// The number that `names` has for the string at `node`; `None` if it is none of them, no string, or one with
    /// escapes.
    #[inline(always)]
    pub(crate) fn find_name(&self, node: Node, names: &NameTable) -> Option<u32> {
        let slot = &self.slots[node.index()];
        if slot.kind != Kind::Text || !self.is_current(slot, node) {
            return None;
        }
        names.get(self.bytes.padded(), slot.start as usize, slot.len as usize)
    }

    /// Where the value at `node` starts, counted from the start of the event.
    #[cfg(feature = "planted-bugs")]
    pub(crate) fn start(&self, node: Node) -> u32 {
        self.slots[node.index()].start
    }

    /// The event's bytes with at least 8 bytes behind any text in it.
    pub(crate) fn padded(&self) -> &'a [u8] {
        self.bytes.padded()
    }

    #[inline(always)]
    fn is_current(&self, slot: &Slot, node: Node) -> bool {
        if node.is_top() { slot.within == self.event } else { self.is_current_below(slot, node) }
    }

    #[inline]
    fn is_current_below(&self, slot: &Slot, node: Node) -> bool {
        let (mut within, mut at) = (slot.within, node);
        while let Some(parent) = self.tree.parent(at) {
            let holder = &self.slots[parent.index()];
            if holder.object != within {
                return false;
            }
            (within, at) = (holder.within, parent);
        }
        within == self.event
    }
}
