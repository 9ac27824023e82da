//! Profiles and their ids.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::value::Value;

/// A profile's published id: the deployment-keyed 128-bit hash of its cluster's first identifier, written as 26
/// characters of Crockford base32. Ids sort the same as numbers and as text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProfileId(pub u128);

const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

impl ProfileId {
    /// The 26 characters, as ASCII bytes.
    pub fn encode(self) -> [u8; 26] {
        let mut text = [0; 26];
        for (place, byte) in text.iter_mut().rev().enumerate() {
            *byte = CROCKFORD[(self.0 >> (5 * place)) as usize & 31];
        }
        text
    }

    /// Reads what [`encode`](Self::encode) wrote, ignoring case. `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if bytes.len() != 26 {
            return None;
        }
        let mut id = 0u128;
        for (place, byte) in bytes.iter().enumerate() {
            let digit = CROCKFORD.iter().position(|c| *c == byte.to_ascii_uppercase())? as u128;
            // 26 digits hold 130 bits, so the first one may use only three of its five.
            if place == 0 && digit > 7 {
                return None;
            }
            id = id << 5 | digit;
        }
        Some(Self(id))
    }
}

impl fmt::Display for ProfileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.encode().iter().try_for_each(|byte| fmt::Write::write_char(f, *byte as char))
    }
}

impl fmt::Debug for ProfileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One profile as of the end of an epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Its published id.
    pub id: ProfileId,
    /// Per identifier of the pipeline, in rank order: the profile's values, sorted bytewise.
    pub identifiers: Vec<Vec<String>>,
    /// Per trait of the pipeline, in the order of the engine's spec.
    pub traits: Vec<Value>,
    /// Indices of the segments it is in, ascending.
    pub segments: Vec<usize>,
}
