//! Making raw values comparable, and the values that are never identifiers. Plain ASCII takes the short way; the
//! result is always the one that Unicode's rules give.

use tidewater_model::{Normalize, identifier::DEFAULT_BLOCKED};

/// A text as identifiers that are normalized like this would have it as a value; `None` if that is never one. Whether an email
/// address has the form of one is not asked.
pub fn comparable(how: Normalize, text: &str) -> Option<String> {
    let mut value = text.as_bytes().to_vec();
    if how != Normalize::None {
        normalize(how, &mut value, 0);
    }
    if is_blocked_by_default(&value) { None } else { String::from_utf8(value).ok() }
}

/// Normalizes the text from `start` on, in place; `false` if it can't be an identifier.
pub(super) fn normalize(how: Normalize, text: &mut Vec<u8>, start: usize) -> bool {
    let raw = &mut text[start..];
    let simple = |byte: &u8| byte.is_ascii_graphic();
    let needs_trimming = !raw.first().is_none_or(simple) || !raw.last().is_none_or(simple);
    if needs_trimming || (how != Normalize::Trim && !raw.is_ascii()) {
        return normalize_unicode(how, text, start);
    }
    if how != Normalize::Trim {
        raw.make_ascii_lowercase();
    }
    how != Normalize::Email || is_ascii_email(raw)
}

#[cold]
fn normalize_unicode(how: Normalize, text: &mut Vec<u8>, start: usize) -> bool {
    // The scanner has checked the whole event.
    let Ok(raw) = str::from_utf8(&text[start..]) else { return false };
    let value = match how {
        Normalize::None => raw.to_owned(),
        Normalize::Trim => raw.trim().to_owned(),
        Normalize::Lowercase | Normalize::Email => raw.trim().to_lowercase(),
    };
    text.truncate(start);
    text.extend_from_slice(value.as_bytes());
    how != Normalize::Email || is_email(&value)
}

fn is_ascii_email(value: &[u8]) -> bool {
    let mut at = None;
    for (place, byte) in value.iter().enumerate() {
        if !byte.is_ascii_graphic() || (*byte == b'@' && at.replace(place).is_some()) {
            return false;
        }
    }
    at.is_some_and(|at| at > 0 && at + 1 < value.len())
}

fn is_email(value: &str) -> bool {
    let Some((name, domain)) = value.split_once('@') else { return false };
    let junk = |character: char| character.is_whitespace() || character.is_control();
    !name.is_empty() && !domain.is_empty() && !domain.contains('@') && !value.contains(junk)
}

/// Whether a value is never an identifier, compared trimmed and ignoring ASCII case.
#[inline]
pub(super) fn is_blocked_by_default(value: &[u8]) -> bool {
    let (Some(first), Some(last)) = (value.first(), value.last()) else { return true };
    if !first.is_ascii_graphic() || !last.is_ascii_graphic() {
        return is_blocked_untrimmed(value);
    }
    if matches!(first, b'0' | b'-') && value.iter().all(|byte| matches!(byte, b'0' | b'-')) {
        return true;
    }
    let ends = END_LETTERS.get(value.len()).copied().unwrap_or([0; 2]);
    // Nearly every value is told apart from all blocked ones by its length and its first and last letter.
    ends[0] & end_bit(*first) != 0 && ends[1] & end_bit(*last) != 0 && is_blocked_word(value)
}

#[cold]
fn is_blocked_untrimmed(value: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(value) else { return false };
    let trimmed = text.trim().as_bytes();
    trimmed.iter().all(|byte| matches!(byte, b'0' | b'-')) || is_blocked_word(trimmed)
}

#[cold]
fn is_blocked_word(value: &[u8]) -> bool {
    DEFAULT_BLOCKED.iter().any(|blocked| value.eq_ignore_ascii_case(blocked.as_bytes()))
}

/// Per length of a value: which letters a blocked value of that length starts with, and ends with.
static END_LETTERS: [[u32; 2]; 24] = end_letters();

/// A bit for a letter whatever its case; other characters share bits with letters.
const fn end_bit(byte: u8) -> u32 {
    1 << (byte & 0x1f)
}

const fn end_letters() -> [[u32; 2]; 24] {
    let mut letters = [[0; 2]; 24];
    let mut at = 0;
    while at < DEFAULT_BLOCKED.len() {
        let word = DEFAULT_BLOCKED[at].as_bytes();
        letters[word.len()][0] |= end_bit(word[0]);
        letters[word.len()][1] |= end_bit(word[word.len() - 1]);
        at += 1;
    }
    letters
}
