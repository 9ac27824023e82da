//! What makes an event a message sent twice: its id, and a hash of its content.
//!
//! The content of an event are its own members apart from `sentAt`, `receivedAt` and `_metadata`, which say how it
//! travelled and not what happened. Each member is hashed as its key and the text of its value, and the hashes are
//! added up, so the order of the members says nothing. The text of a value counts as it was written: white space
//! or another spelling of a number inside a member is other content.

use std::{borrow::Cow, collections::HashMap};

use tidewater_model::HashKey;
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

use super::json::{Field, Fields, Member, Node, PathTree, unescape};

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
    /// Members that are no content.
    ignored: [Node; 3],
    id_seed: u64,
    content_seed: u64,
    second_content_seed: u64,
}

impl Messages {
    /// Adds the paths it needs to `tree`. Seeds follow from the deployment's key, so that nobody can make two ids
    /// or contents collide on purpose.
    pub(super) fn new(key: HashKey, tree: &mut PathTree) -> Self {
        Self {
            message_id: tree.want_key("messageId"),
            ignored: ["sentAt", "receivedAt", "_metadata"].map(|key| tree.want_key(key)),
            id_seed: xxh3_64_with_seed(b"messageId", key.0),
            content_seed: xxh3_64_with_seed(b"content", key.0),
            second_content_seed: xxh3_64_with_seed(b"content id", key.0),
        }
    }

    /// The key of an event with these members. A `messageId` is a string that is not empty, or a number; `None` for
    /// an event that has neither it nor a time of its own.
    #[inline]
    pub(super) fn read(
        &self,
        fields: Fields<'_>,
        members: &[Member],
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
        let content = self.content(fields, members, self.content_seed);
        let id = id.unwrap_or_else(|| {
            let second = self.content(fields, members, self.second_content_seed);
            u128::from(second) << 64 | u128::from(content)
        });
        Some(MessageKey { id, content })
    }

    #[inline]
    fn content(&self, fields: Fields<'_>, members: &[Member], seed: u64) -> u64 {
        let text = fields.padded();
        let mut seen = [0u64; 4];
        let mut sum = 0u64;
        for member in members {
            let (word, bit) = (usize::from(member.known / 64), 1 << (member.known % 64));
            if seen[word] & bit != 0 || member.known == 0 {
                return self.content_of_repeated(fields, members, seed);
            }
            seen[word] |= bit;
            if member.node.is_some_and(|node| self.ignored.contains(&node)) {
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
    fn content_of_repeated(&self, fields: Fields<'_>, members: &[Member], seed: u64) -> u64 {
        let text = fields.padded();
        let counted =
            members.iter().filter(|member| !member.node.is_some_and(|node| self.ignored.contains(&node)));
        let last: HashMap<_, _> =
            counted.map(|member| (key_of(text, member), value_of(text, member))).collect();
        last.iter().fold(0u64, |sum, (key, value)| sum.wrapping_add(hash_spelled_out(key, value, seed)))
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
