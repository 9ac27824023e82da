//! What makes an event a message sent twice: its id, and a hash of its content.
//!
//! The content of an event are its own members apart from `sentAt`, `receivedAt` and `_metadata`, which say how it
//! travelled and not what happened. Each member is hashed as its key and the text of its value, and the hashes are
//! added up, so the order of the members says nothing. The text of a value counts as it was written: white space
//! or another spelling of a number inside a member is other content.

use std::{borrow::Cow, collections::HashMap};

use tidewater_model::HashKey;
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

use super::json::{Field, Fields, Member, Node, PathTree, Scanner, unescape};

/// What an event is remembered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageKey {
    /// Hash of `messageId`; of an event without one, of its content.
    pub id: u128,
    /// Hash of its content.
    pub content: u64,
}

/// Reads message keys.
#[derive(Clone, Copy, Debug)]
pub(super) struct Messages {
    message_id: Node,
    /// Per node of the tree: whether it is a member that is no content. Nodes behind the end are content.
    ignored: [bool; 8],
    id_seed: u64,
    content_seed: u64,
    second_content_seed: u64,
}

impl Messages {
    /// Adds the paths it needs to `tree`, which must be the first that are added to it. Seeds follow from the deployment's key, so that nobody can make two ids
    /// or contents collide on purpose.
    pub(super) fn new(key: HashKey, tree: &mut PathTree) -> Self {
        let mut ignored = [false; 8];
        for key in ["sentAt", "receivedAt", "_metadata"] {
            ignored[tree.want_key(key).index()] = true;
        }
        Self {
            message_id: tree.want_key("messageId"),
            ignored,
            id_seed: xxh3_64_with_seed(b"messageId", key.0),
            content_seed: xxh3_64_with_seed(b"content", key.0),
            second_content_seed: xxh3_64_with_seed(b"content id", key.0),
        }
    }

    /// The key of the event that was scanned last. A `messageId` is a string that is not empty, or a number; `None` for
    /// an event that has neither it nor a time of its own.
    #[inline]
    pub(super) fn read(
        &self,
        fields: Fields<'_>,
        scanner: &Scanner,
        has_own_time: bool,
    ) -> Option<MessageKey> {
        let hash = |id: &[u8]| xxh3_128_with_seed(id, self.id_seed);
        let id = match fields.get(self.message_id) {
            Field::Text(id) | Field::Number(id) if !id.is_empty() => Some(hash(id)),
            Field::Escaped(raw) => {
                let mut id = Vec::new();
                unescape(raw, &mut id);
                Some(hash(&id))
            }
            _ => None,
        };
        if id.is_none() && !has_own_time {
            return None;
        }
        let content = self.content(fields, scanner, self.content_seed);
        let id = id.unwrap_or_else(|| {
            let second = self.content(fields, scanner, self.second_content_seed);
            u128::from(second) << 64 | u128::from(content)
        });
        Some(MessageKey { id, content })
    }

    #[inline(always)]
    fn content(&self, fields: Fields<'_>, scanner: &Scanner, seed: u64) -> u64 {
        if scanner.members_may_repeat() {
            return self.content_of_repeated(fields, scanner, seed);
        }
        let text = fields.padded();
        let mut sum = 0u64;
        for member in scanner.members() {
            if self.is_ignored(member) {
                continue;
            }
            // Most members are written the way they are hashed.
            sum = sum.wrapping_add(if member.value == member.key_end + 2 {
                xxh3_64_with_seed(&text[member.start as usize..member.end as usize], seed)
            } else {
                hash_spelled_out(&key_of(text, member), value_of(text, member), seed)
            });
        }
        sum
    }

    /// The same for members among which a key may stand twice, or be spelled with escapes: the last counts.
    #[cold]
    fn content_of_repeated(&self, fields: Fields<'_>, scanner: &Scanner, seed: u64) -> u64 {
        let text = fields.padded();
        let counted = scanner.members().iter().filter(|member| !self.is_ignored(member));
        let last: HashMap<_, _> =
            counted.map(|member| (key_of(text, member), value_of(text, member))).collect();
        last.iter().fold(0u64, |sum, (key, value)| sum.wrapping_add(hash_spelled_out(key, value, seed)))
    }

    #[inline(always)]
    fn is_ignored(&self, member: &Member) -> bool {
        member.node.is_some_and(|node| self.ignored.get(node.index()).copied().unwrap_or(false))
    }
}

fn key_of<'a>(text: &'a [u8], member: &Member) -> Cow<'a, [u8]> {
    let raw = &text[member.start as usize..member.key_end as usize];
    if !member.escaped {
        return Cow::Borrowed(raw);
    }
    let mut key = Vec::new();
    unescape(raw, &mut key);
    Cow::Owned(key)
}

fn value_of<'a>(text: &'a [u8], member: &Member) -> &'a [u8] {
    &text[member.value as usize..member.end as usize]
}

/// The hash of `key":value`.
fn hash_spelled_out(key: &[u8], value: &[u8], seed: u64) -> u64 {
    let parts = [key, b"\":", value];
    let mut short = [0; 256];
    let len = key.len() + 2 + value.len();
    if len > short.len() {
        return xxh3_64_with_seed(&parts.concat(), seed);
    }
    let mut rest = short.as_mut_slice();
    for part in parts {
        let (place, behind) = rest.split_at_mut(part.len());
        place.copy_from_slice(part);
        rest = behind;
    }
    xxh3_64_with_seed(&short[..len], seed)
}
