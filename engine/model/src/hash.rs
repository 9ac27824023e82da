//! The keyed hash that stands for an identifier everywhere inside the engine, and as a published profile id.
//!
//! Version 1: `xxh3_128(value, seed)` with `seed = xxh3_64(name, key)`. The name, not the rank, is hashed, so
//! that reordering `identifiers` keeps every id. It is our own function with a version of its own: state on disk
//! and published ids outlive the hash functions of any library.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

/// A deployment's secret: without it nobody can make two identifiers collide on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HashKey(pub u64);

impl HashKey {
    /// The fixed key of engines without a state directory and of tests.
    pub const FIXED: Self = Self(0x5eed_71de_3a7e_0001);

    /// The seed for values of the identifier called `name`.
    pub fn seed(self, name: &str) -> IdentifierSeed {
        IdentifierSeed(xxh3_64_with_seed(name.as_bytes(), self.0))
    }
}

impl std::fmt::Debug for HashKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HashKey(secret)")
    }
}

/// Hashes the values of one identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdentifierSeed(u64);

impl IdentifierSeed {
    /// The 128-bit hash of a normalized value.
    #[inline]
    pub fn hash(self, value: &[u8]) -> u128 {
        xxh3_128_with_seed(value, self.0)
    }
}
