//! JSON strings: where they end, whether their escapes are well-formed, and their text without escapes.

use super::{BadJson, bytes::Bytes};
use crate::intrinsics::string_marks;

/// The string whose text starts at `start`: the place of its closing quote, and whether it has escapes. Sets bits of
/// `non_ascii` if there may be bytes from 0x80 on in it.
#[inline(always)]
pub(super) fn string_end(
    bytes: Bytes<'_>,
    start: usize,
    non_ascii: &mut u32,
) -> Result<(usize, bool), BadJson> {
    let mut at = start;
    let mut escaped = false;
    while let Some(chunk) = bytes.chunk(at) {
        let marks = string_marks(chunk);
        *non_ascii |= marks.non_ascii;
        if marks.special == 0 {
            at += 16;
            continue;
        }
        at += marks.special.trailing_zeros() as usize;
        match bytes.byte(at) {
            b'"' => return Ok((at, escaped)),
            b'\\' => {
                escaped = true;
                at = skip_escape(&bytes, at)?;
            }
            _ => return Err(BadJson),
        }
    }
    Err(BadJson)
}

/// Checks the escape whose backslash stands at `at`; returns the place behind it.
///
/// Half a surrogate pair is refused: it stands for no character, so the text could be kept in no string.
#[cold]
fn skip_escape(bytes: &Bytes<'_>, at: usize) -> Result<usize, BadJson> {
    match bytes.byte(at + 1) {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(at + 2),
        b'u' => match hex4(|place| bytes.byte(at + 2 + place)).ok_or(BadJson)? {
            0xd800..=0xdbff => {
                let low = hex4(|place| bytes.byte(at + 8 + place)).ok_or(BadJson)?;
                let pair = bytes.byte(at + 6) == b'\\' && bytes.byte(at + 7) == b'u';
                if pair && (0xdc00..=0xdfff).contains(&low) { Ok(at + 12) } else { Err(BadJson) }
            }
            0xdc00..=0xdfff => Err(BadJson),
            _ => Ok(at + 6),
        },
        _ => Err(BadJson),
    }
}

/// Four hex digits.
fn hex4(byte: impl Fn(usize) -> u8) -> Option<u32> {
    (0..4).try_fold(0, |value, place| Some(value << 4 | char::from(byte(place)).to_digit(16)?))
}

/// Appends the text of a checked string without its escapes. Text that is not well-formed is copied as it stands
/// from the first mistake on.
#[cold]
pub(crate) fn unescape(mut raw: &[u8], out: &mut Vec<u8>) {
    out.reserve(raw.len());
    while let Some(at) = raw.iter().position(|byte| *byte == b'\\') {
        out.extend_from_slice(&raw[..at]);
        raw = &raw[at..];
        let Some(used) = unescape_one(raw, out) else { break };
        raw = &raw[used..];
    }
    out.extend_from_slice(raw);
}

/// Appends what the escape at the start of `raw` stands for; returns how many bytes it takes.
fn unescape_one(raw: &[u8], out: &mut Vec<u8>) -> Option<usize> {
    let plain = match raw.get(1)? {
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'u' => {
            let unit = |at: usize| hex4(|place| raw.get(at + place).copied().unwrap_or(0));
            let high = unit(2)?;
            let (code, used) = match high {
                0xd800..=0xdbff => (0x10000 + ((high - 0xd800) << 10) + unit(8)?.checked_sub(0xdc00)?, 12),
                _ => (high, 6),
            };
            let character = char::from_u32(code)?;
            out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            return Some(used);
        }
        other => *other,
    };
    out.push(plain);
    Some(2)
}
