//! bincode 1.3, always with a limit: lengths read from disk never decide how much memory is taken.

use bincode::Options;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Appends `value` to `out`.
///
/// The types encoded here hold only numbers, strings, sequences and options, which always encode.
pub(crate) fn encode_into<T: Serialize>(out: &mut Vec<u8>, value: &T) -> Result<(), bincode::Error> {
    options(crate::MAX_PAYLOAD).serialize_into(out, value)
}

/// Decodes a value from the front of `bytes`; also returns how many bytes it took.
pub(crate) fn decode_prefix<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, usize), bincode::Error> {
    let mut rest = bytes;
    let value = options(bytes.len()).deserialize_from(&mut rest)?;
    Ok((value, bytes.len() - rest.len()))
}

fn options(limit: usize) -> impl Options {
    bincode::DefaultOptions::new().with_limit(limit as u64)
}
