//! Places of events in the log, of which the first is asked for, and any may go.

use std::collections::BTreeMap;

/// Some places. One may stand several times: one event may say the same by two values of its `previousId`.
#[derive(Debug, Default)]
pub(super) enum Places {
    #[default]
    None,
    /// Most are alone.
    One(u64),
    /// Each with how often it stands.
    Many(BTreeMap<u64, u64>),
}

impl Places {
    pub(super) fn is_empty(&self) -> bool {
        self.first().is_none()
    }

    pub(super) fn first(&self) -> Option<u64> {
        match self {
            Self::None => None,
            Self::One(place) => Some(*place),
            Self::Many(places) => places.keys().next().copied(),
        }
    }

    pub(super) fn insert(&mut self, place: u64) {
        match self {
            Self::None => *self = Self::One(place),
            Self::One(other) => {
                let mut places = BTreeMap::from([(*other, 1)]);
                *places.entry(place).or_default() += 1;
                *self = Self::Many(places);
            }
            Self::Many(places) => *places.entry(place).or_default() += 1,
        }
    }

    /// Removes a place once, if it is there.
    pub(super) fn remove(&mut self, place: u64) {
        match self {
            Self::One(own) if *own == place => *self = Self::None,
            Self::None | Self::One(_) => {}
            Self::Many(places) => {
                if let Some(times) = places.get_mut(&place) {
                    *times -= 1;
                    if *times == 0 {
                        places.remove(&place);
                    }
                }
            }
        }
    }

    /// Removes all others.
    pub(super) fn keep_only(&mut self, place: u64) {
        let times = self.iter().filter(|own| *own == place).count();
        *self = Self::None;
        (0..times).for_each(|_| self.insert(place));
    }

    /// All of them, from the first.
    pub(super) fn iter(&self) -> impl Iterator<Item = u64> {
        let (one, many) = match self {
            Self::None => (None, None),
            Self::One(place) => (Some(*place), None),
            Self::Many(places) => (None, Some(places)),
        };
        let many = many.into_iter().flat_map(|places| places.iter());
        one.into_iter().chain(many.flat_map(|(place, times)| (0..*times).map(move |_| *place)))
    }
}
