//! Links of identifiers, kept with the owner that asserts them.

use rustc_hash::FxHashMap;

/// A list longer than this gets an index, so that an owner with many links costs no more an event.
const INDEXED_FROM: usize = 16;

/// What an owner knows of one of its links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// The other identifier.
    pub(crate) other: u128,
    /// Time of the first event that asserts it.
    pub(crate) first: i64,
    /// Time of the last event that asserts it.
    pub(crate) last: i64,
}

/// The links of one owner.
#[derive(Debug, Default)]
pub(crate) struct LinkList {
    links: Vec<Link>,
    index: Option<Box<FxHashMap<u128, u32>>>,
}

impl LinkList {
    /// The links in no particular order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Link> {
        self.links.iter()
    }

    fn position(&self, other: u128) -> Option<usize> {
        match &self.index {
            Some(index) => index.get(&other).map(|place| *place as usize),
            None => self.links.iter().position(|link| link.other == other),
        }
    }

    /// Takes in an assertion at `time`; true if the link is new.
    pub(crate) fn assert(&mut self, other: u128, time: i64) -> bool {
        if self.extend(other, time) {
            return false;
        }
        // Most owners have one link: a capacity of four would waste three of them.
        if self.links.is_empty() {
            self.links.reserve_exact(1);
        }
        self.links.push(Link { other, first: time, last: time });
        if let Some(index) = &mut self.index {
            index.insert(other, self.links.len() as u32 - 1);
        } else if self.links.len() > INDEXED_FROM {
            let entries = self.links.iter().enumerate();
            self.index = Some(Box::new(entries.map(|(place, link)| (link.other, place as u32)).collect()));
        }
        true
    }

    /// Takes in another assertion at `time`; false if there is no such link.
    pub(crate) fn extend(&mut self, other: u128, time: i64) -> bool {
        let Some(place) = self.position(other) else { return false };
        let link = &mut self.links[place];
        link.first = link.first.min(time);
        link.last = link.last.max(time);
        true
    }

    /// Forgets a link; true if it was there.
    pub(crate) fn remove(&mut self, other: u128) -> bool {
        let Some(place) = self.position(other) else { return false };
        self.links.swap_remove(place);
        if let Some(index) = &mut self.index {
            index.remove(&other);
            if let Some(moved) = self.links.get(place) {
                index.insert(moved.other, place as u32);
            }
        }
        true
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> u64 {
        let index = self.index.as_ref().map_or(0, |index| index.capacity() * 33);
        (size_of::<Self>() + self.links.capacity() * size_of::<Link>() + index) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_find_and_forget_like_short_ones() {
        let mut list = LinkList::default();
        for other in 0..100u128 {
            assert!(list.assert(other, 5));
            assert!(!list.assert(other, 3));
        }
        for other in (0..100).step_by(3) {
            assert!(list.remove(other));
            assert!(!list.remove(other));
        }
        let mut left: Vec<u128> = list.iter().map(|link| link.other).collect();
        left.sort_unstable();
        assert_eq!(left, (0..100).filter(|other| other % 3 != 0).collect::<Vec<u128>>());
        assert!(list.iter().all(|link| link.first == 3 && link.last == 5));
        assert!(left.iter().all(|other| !list.assert(*other, 4)));
    }
}
