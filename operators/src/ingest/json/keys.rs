//! Guesses which key comes next, from the events seen before.
//!
//! Events of one source have the same few keys in the same order. To find the end of a key takes the processor some
//! twenty cycles that nothing else can overlap, because everything behind it stands at a place not known before; to
//! check a guess takes a comparison that the branch predictor takes off that path. A guess is compared in full, so
//! a wrong one costs time and nothing else.

use super::paths::{Level, Node};

/// The longest text of a key that can be guessed, from its opening quote to its colon.
pub(super) const MAX_TEXT: usize = 24;

const WORDS: usize = MAX_TEXT / 8;

/// A key seen before, as it was written.
#[derive(Clone, Copy, Debug)]
struct KnownKey {
    /// The text, the first byte in the lowest bits, 0 behind its end.
    words: [u64; WORDS],
    /// Which bits of `words` the text has.
    masks: [u64; WORDS],
    level: Level,
    node: Option<Node>,
    /// Bytes from the opening quote to the colon.
    text_len: u8,
    /// The key that followed last time.
    next: u8,
    /// The event that had it last.
    event: u32,
}

/// Stands where no key is known yet: no text that has bytes such as these is JSON.
const UNKNOWN: KnownKey = KnownKey {
    words: [u64::MAX; WORDS],
    masks: [u64::MAX; WORDS],
    level: Level::UNWANTED,
    node: None,
    text_len: 2,
    next: 0,
    event: 0,
};

/// The keys seen before. Which of two keys that fall on the same place is known changes nothing but the speed.
#[derive(Clone, Debug)]
pub(super) struct KnownKeys {
    /// The first stands for the start of an event.
    keys: Box<[KnownKey; 256]>,
    last: u8,
    event: u32,
}

impl KnownKeys {
    pub(super) fn new() -> Self {
        Self { keys: Box::new([UNKNOWN; 256]), last: 0, event: 0 }
    }

    /// A new event begins, which has this number.
    #[inline(always)]
    pub(super) fn restart(&mut self, event: u32) {
        self.last = 0;
        self.event = event;
    }

    /// The key at the start of `text` in an object of `level`, if it is the one that was to be expected.
    #[inline(always)]
    pub(super) fn guess(&mut self, text: &[u8; MAX_TEXT], level: Level) -> Option<Guess> {
        let expected = self.keys[usize::from(self.last)].next;
        let key = &mut self.keys[usize::from(expected)];
        let words = to_words(text);
        let differs =
            (0..WORDS).fold(0, |differs, at| differs | ((words[at] & key.masks[at]) ^ key.words[at]));
        if differs != 0 || key.level != level {
            return None;
        }
        self.last = expected;
        let may_repeat = key.event == self.event;
        key.event = self.event;
        Some(Guess { node: key.node, text_len: usize::from(key.text_len), may_repeat })
    }

    /// Remembers the key in the first `text_len` bytes of `text`, from its quote to its colon; whether the event may
    /// have had it before. A key that is too long to be guessed, or has other characters than ASCII, which guessing
    /// would exempt from being checked, is not remembered.
    pub(super) fn learn(
        &mut self,
        text: &[u8; MAX_TEXT],
        text_len: usize,
        level: Level,
        node: Option<Node>,
    ) -> bool {
        if text_len > MAX_TEXT {
            return true;
        }
        let masks = std::array::from_fn(|word| {
            let covered = (text_len.saturating_sub(word * 8)).min(8) as u32;
            u64::MAX.checked_shr(64 - 8 * covered).unwrap_or(0)
        });
        let mut words = to_words(text);
        (0..WORDS).for_each(|at| words[at] &= masks[at]);
        if words.iter().any(|word| word & 0x8080_8080_8080_8080 != 0) {
            return true;
        }
        let mixed = words.iter().fold(level.number(), |mixed, word| {
            (mixed ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23)
        });
        let place = (mixed >> 56).max(1) as u8;
        let key = &mut self.keys[usize::from(place)];
        // A key of this event that had the place before may come again, so the place keeps its event.
        let may_repeat = key.event == self.event;
        if key.words != words || key.level != level {
            *key = KnownKey { words, masks, level, node, text_len: text_len as u8, next: 0, event: 0 };
        }
        key.event = self.event;
        self.keys[usize::from(self.last)].next = place;
        self.last = place;
        may_repeat
    }
}

/// A key that was guessed right.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guess {
    pub(super) node: Option<Node>,
    /// Bytes from the opening quote to the colon.
    pub(super) text_len: usize,
    /// Whether the event may have had it before, at the same level.
    pub(super) may_repeat: bool,
}

#[inline(always)]
fn to_words(text: &[u8; MAX_TEXT]) -> [u64; WORDS] {
    let (words, _) = text.as_chunks::<8>();
    std::array::from_fn(|at| u64::from_le_bytes(words[at]))
}
