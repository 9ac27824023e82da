//! One pass over an event that checks all of it and remembers where the wanted values are.

use super::{
    BadJson, PaddedEvent,
    bytes::Bytes,
    fields::{Fields, Kind, Slot},
    keys::KnownKeys,
    number::skip_number,
    paths::{Level, Node, PathTree},
    string::{string_end, unescape},
};

/// The most objects and arrays that may be open at once, the event itself included.
const MAX_DEPTH: u32 = 128;

/// The longest event whose places fit in a [`Slot`].
const MAX_EVENT_BYTES: usize = 1 << 30;

/// When objects are numbered anew: an event of [`MAX_EVENT_BYTES`] can't hold enough objects to reach the end.
const LAST_EVENT_NUMBER: u32 = 1 << 31;

/// One member of the event itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    /// The first byte of its key, behind the quote.
    pub(crate) start: u32,
    /// The quote that ends its key.
    pub(crate) key_end: u32,
    /// The first byte of its value.
    pub(crate) value: u32,
    /// Behind its value.
    pub(crate) end: u32,
    /// Its node, if it is wanted.
    pub(crate) node: Option<Node>,
    /// Whether its key has escapes.
    pub(crate) escaped: bool,
}

/// Scans events for a set of paths. Keeps its memory between events.
#[derive(Clone, Debug)]
pub(crate) struct Scanner {
    tree: PathTree,
    slots: Vec<Slot>,
    members: Vec<Member>,
    /// Whether two members may have the same key.
    may_repeat: bool,
    known_keys: KnownKeys,
    /// Number of the object opened last.
    opened: u32,
    /// Number of the event scanned last.
    event: u32,
    /// A key without its escapes, padded.
    key: Vec<u8>,
}

impl Scanner {
    /// A scanner for the paths of `tree`.
    pub(crate) fn new(tree: PathTree) -> Self {
        let slots = vec![Slot::default(); tree.len()];
        let known_keys = KnownKeys::new();
        Self {
            tree,
            slots,
            members: Vec::new(),
            may_repeat: false,
            known_keys,
            opened: 0,
            event: 0,
            key: Vec::new(),
        }
    }

    /// Checks an event and finds its values; [`fields`](Self::fields) then answers for this event.
    ///
    /// # Errors
    /// When the event is not what this module accepts, or larger than 1 GiB.
    #[inline]
    pub(crate) fn scan(&mut self, event: PaddedEvent<'_>) -> Result<(), BadJson> {
        let bytes = Bytes::new(event);
        if bytes.end() > MAX_EVENT_BYTES {
            return Err(BadJson);
        }
        if self.opened >= LAST_EVENT_NUMBER {
            self.slots.fill(Slot::default());
            self.known_keys = KnownKeys::new();
            self.opened = 0;
        }
        self.opened += 1;
        self.event = self.opened;
        self.members.clear();
        self.known_keys.restart(self.event);
        self.may_repeat = false;
        let mut pass = Pass {
            bytes,
            tree: &self.tree,
            slots: &mut self.slots,
            members: &mut self.members,
            may_repeat: &mut self.may_repeat,
            known_keys: &mut self.known_keys,
            opened: &mut self.opened,
            key: &mut self.key,
            non_ascii: 0,
        };
        let start = bytes.skip_space(0);
        if bytes.byte(start) != b'{' {
            return Err(BadJson);
        }
        let end = pass.object::<true>(start, Level::TOP, self.event, 1)?;
        // Only strings can hold bytes from 0x80 on, since no other token takes any.
        let valid = pass.non_ascii == 0 || str::from_utf8(bytes.event()).is_ok();
        if valid && bytes.is_blank_from(end) { Ok(()) } else { Err(BadJson) }
    }

    /// The values of `event`, which must be the one that was scanned last, and successfully.
    #[inline(always)]
    pub(crate) fn fields<'a>(&'a self, event: PaddedEvent<'a>) -> Fields<'a> {
        Fields { bytes: Bytes::new(event), tree: &self.tree, slots: &self.slots, event: self.event }
    }

    /// As after two billion objects.
    #[cfg(test)]
    pub(crate) fn with_object_numbers_used_up(mut self) -> Self {
        self.opened = LAST_EVENT_NUMBER;
        self.slots.iter_mut().for_each(|slot| slot.within = 1);
        self
    }

    /// The members of the event scanned last, in its order.
    pub(crate) fn members(&self) -> &[Member] {
        &self.members
    }

    /// Whether two of [`members`](Self::members) may have the same key. If not, they have not.
    pub(crate) fn members_may_repeat(&self) -> bool {
        self.may_repeat
    }
}

/// One pass over one event. Methods take the place where a token starts and return the place behind it.
struct Pass<'a, 's> {
    bytes: Bytes<'a>,
    tree: &'s PathTree,
    slots: &'s mut [Slot],
    members: &'s mut Vec<Member>,
    may_repeat: &'s mut bool,
    known_keys: &'s mut KnownKeys,
    opened: &'s mut u32,
    key: &'s mut Vec<u8>,
    /// Not 0 if a string may hold bytes from 0x80 on.
    non_ascii: u32,
}

/// A key and the place of its value.
struct Key {
    node: Option<Node>,
    /// The quote that ends it.
    end: usize,
    value: usize,
    escaped: bool,
    /// Whether the object may have it twice.
    may_repeat: bool,
}

impl Pass<'_, '_> {
    /// The object at `at`, which has this number; `depth` containers are open, itself included. `TOP` for the event
    /// itself, whose members are remembered.
    fn object<const TOP: bool>(
        &mut self,
        at: usize,
        level: Level,
        number: u32,
        depth: u32,
    ) -> Result<usize, BadJson> {
        if depth > MAX_DEPTH {
            return Err(BadJson);
        }
        let bytes = self.bytes;
        let mut at = bytes.skip_space(at + 1);
        if bytes.byte(at) == b'}' {
            return Ok(at + 1);
        }
        loop {
            let start = at + 1;
            let key = self.key(at, level)?;
            let node = key.node;
            #[cfg(feature = "planted-bugs")]
            let node = node.filter(|node| !self.hides_a_later_one(*node, number));
            at = self.value(key.value, node, number, depth)?;
            if TOP {
                let (start, key_end) = (start as u32, key.end as u32);
                let (value, end, escaped) = (key.value as u32, at as u32, key.escaped);
                self.members.push(Member { start, key_end, value, end, node, escaped });
                *self.may_repeat |= key.may_repeat;
            }
            at = bytes.skip_space(at);
            match bytes.byte(at) {
                b',' => at = bytes.skip_space(at + 1),
                b'}' => return Ok(at + 1),
                _ => return Err(BadJson),
            }
        }
    }

    /// The key at `at` of an object of this level, and the colon behind it.
    #[inline(always)]
    fn key(&mut self, at: usize, level: Level) -> Result<Key, BadJson> {
        let text = self.bytes.chunk(at).ok_or(BadJson)?;
        if let Some(key) = self.known_keys.guess(text, level) {
            let end = at + key.text_len - 2;
            let value = self.bytes.skip_space(end + 2);
            return Ok(Key { node: key.node, end, value, escaped: false, may_repeat: key.may_repeat });
        }
        self.unexpected_key(at, level)
    }

    #[inline(never)]
    fn unexpected_key(&mut self, at: usize, level: Level) -> Result<Key, BadJson> {
        let bytes = self.bytes;
        if bytes.byte(at) != b'"' {
            return Err(BadJson);
        }
        let (end, escaped) = string_end(bytes, at + 1, &mut self.non_ascii)?;
        let colon = bytes.skip_space(end + 1);
        if bytes.byte(colon) != b':' {
            return Err(BadJson);
        }
        let value = bytes.skip_space(colon + 1);
        if escaped {
            let node = self.escaped_node(level, at + 1, end);
            return Ok(Key { node, end, value, escaped, may_repeat: true });
        }
        let node = self.tree.find(level, bytes.padded(), at + 1, end - at - 1);
        let may_repeat = match bytes.chunk(at) {
            // Only a colon right behind the quote: a key must not be known under several texts.
            Some(text) if colon == end + 1 => self.known_keys.learn(text, colon + 1 - at, level, node),
            _ => true,
        };
        Ok(Key { node, end, value, escaped, may_repeat })
    }

    #[cold]
    fn escaped_node(&mut self, level: Level, key: usize, key_end: usize) -> Option<Node> {
        self.key.clear();
        unescape(&self.bytes.padded()[key..key_end], self.key);
        let len = self.key.len();
        self.key.extend_from_slice(&[0; 16]);
        self.tree.find(level, self.key, 0, len)
    }

    /// Planted bug: whether `node` was seen before in the object with this number.
    #[cfg(feature = "planted-bugs")]
    fn hides_a_later_one(&self, node: Node, number: u32) -> bool {
        use crate::planted::{Bug, active};

        active(Bug::DuplicateKeyFirst) && self.slots[node.index()].within == number
    }

    fn array(&mut self, at: usize, depth: u32) -> Result<usize, BadJson> {
        if depth > MAX_DEPTH {
            return Err(BadJson);
        }
        let bytes = self.bytes;
        let mut at = bytes.skip_space(at + 1);
        if bytes.byte(at) == b']' {
            return Ok(at + 1);
        }
        loop {
            at = self.value(at, None, 0, depth)?;
            at = bytes.skip_space(at);
            match bytes.byte(at) {
                b',' => at = bytes.skip_space(at + 1),
                b']' => return Ok(at + 1),
                _ => return Err(BadJson),
            }
        }
    }

    /// The value at `at`, inside the object with the number `within`; remembered if it has a node.
    #[inline(always)]
    fn value(&mut self, at: usize, node: Option<Node>, within: u32, depth: u32) -> Result<usize, BadJson> {
        let bytes = self.bytes;
        let mut start = at;
        let mut object = 0;
        let (kind, text_end, end) = match bytes.byte(at) {
            b'"' => {
                let (end, escaped) = string_end(bytes, at + 1, &mut self.non_ascii)?;
                start = at + 1;
                (if escaped { Kind::Escaped } else { Kind::Text }, end, end + 1)
            }
            b'-' | b'0'..=b'9' => {
                let end = skip_number(&bytes, at)?;
                (Kind::Number, end, end)
            }
            b'{' => {
                let level = node.map_or(Level::UNWANTED, |node| self.tree.below(node));
                if level != Level::UNWANTED {
                    *self.opened += 1;
                    object = *self.opened;
                }
                let end = self.object::<false>(at, level, object, depth + 1)?;
                (Kind::Object, end, end)
            }
            b'[' => {
                let end = self.array(at, depth + 1)?;
                (Kind::Array, end, end)
            }
            b't' if bytes.word(at) as u32 == u32::from_le_bytes(*b"true") => (Kind::True, at + 4, at + 4),
            b'n' if bytes.word(at) as u32 == u32::from_le_bytes(*b"null") => (Kind::Null, at + 4, at + 4),
            b'f' if bytes.word(at + 1) as u32 == u32::from_le_bytes(*b"alse") => {
                (Kind::False, at + 5, at + 5)
            }
            _ => return Err(BadJson),
        };
        if let Some(node) = node {
            let len = (text_end - start) as u32;
            self.slots[node.index()] = Slot { start: start as u32, len, within, object, kind };
        }
        Ok(end)
    }
}
