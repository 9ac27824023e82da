//! Times and lengths of time, in whole milliseconds.
//!
//! A time is a plain count of milliseconds without leap seconds; a day is always 24 hours and a week 7 days.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A point in time: milliseconds since 1970-01-01T00:00:00Z. Written as RFC 3339 in UTC with milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

/// A length of time in milliseconds; may be negative as the result of arithmetic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub i64);

/// Why a text is no time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimeError {
    /// Not of the form `2026-01-05T10:15:00Z`.
    Malformed,
    /// Date and time are there, but neither `Z` nor an offset such as `+01:00` follows: nobody can tell when that was.
    NoOffset,
    /// The form is right, but there is no such moment: a month 13, February 30, hour 24, an offset of 24 hours.
    OutOfRange,
}

impl fmt::Display for TimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "not an RFC 3339 time such as `2026-01-05T10:15:00Z`",
            Self::NoOffset => "a time without `Z` or an offset such as `+01:00`",
            Self::OutOfRange => "there is no such date or time of day",
        })
    }
}

impl std::error::Error for TimeError {}

const DAYS_BEFORE_MONTH: [u16; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
const DAYS_IN_MONTH: [u8; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
/// Days from 0000-01-01 to 1970-01-01 in the proleptic Gregorian calendar.
const DAYS_TO_1970: i64 = 719_528;

impl Timestamp {
    /// 0000-01-01T00:00:00.000Z, the first time that has a four-digit year.
    pub const MIN: Self = Self(-DAYS_TO_1970 * Millis::DAY.0);
    /// 9999-12-31T23:59:59.999Z, the last time that an event may have.
    pub const MAX: Self = Self(253_402_300_799_999);

    /// Reads an RFC 3339 time with its offset, such as `2026-01-05T10:15:00Z` or `2026-01-05 11:15:00.5+01:00`.
    ///
    /// Lower-case `t` and `z` and a space instead of `T` are accepted; whatever is finer than a millisecond is
    /// cut off; a leap second (`:60`) becomes the last millisecond of its minute. Because of the offset the result
    /// may lie up to a day outside [`MIN`](Self::MIN) and [`MAX`](Self::MAX).
    ///
    /// # Errors
    /// See [`TimeError`].
    pub fn parse(text: &[u8]) -> Result<Self, TimeError> {
        let Some((head, tail)) = text.split_first_chunk::<19>() else { return Err(TimeError::Malformed) };
        let separators = head[4] == b'-'
            && head[7] == b'-'
            && matches!(head[10], b'T' | b't' | b' ')
            && head[13] == b':'
            && head[16] == b':';
        if !separators {
            return Err(TimeError::Malformed);
        }
        let year = two_digits(head[0], head[1])? * 100 + two_digits(head[2], head[3])?;
        let month = two_digits(head[5], head[6])?;
        let day = two_digits(head[8], head[9])?;
        let hour = two_digits(head[11], head[12])?;
        let minute = two_digits(head[14], head[15])?;
        let second = two_digits(head[17], head[18])?;
        let (fraction_ms, tail) = fraction(tail)?;
        let offset_minutes = offset(tail)?;

        if !(1..=12).contains(&month) || hour > 23 || minute > 59 || second > 60 {
            return Err(TimeError::OutOfRange);
        }
        if day == 0 || day > days_in_month(year, month) {
            return Err(TimeError::OutOfRange);
        }
        let (second, fraction_ms) = if second == 60 { (59, 999) } else { (second, fraction_ms) };
        let minutes =
            days_since_1970(year, month, day) * 1_440 + i64::from(hour * 60 + minute) - offset_minutes;
        Ok(Self(minutes * Millis::MINUTE.0 + i64::from(second * 1_000 + fraction_ms)))
    }

    /// The least multiple of `resolution`, counted from 1970, that is not before this time. A resolution that is not
    /// positive changes nothing; a result that cannot be represented is the last one that can.
    pub fn round_up(self, resolution: Millis) -> Self {
        if resolution.0 <= 1 {
            return self;
        }
        let past = self.0.rem_euclid(resolution.0);
        if past == 0 { self } else { Self(self.0.saturating_add(resolution.0 - past)) }
    }

    /// The 24 ASCII characters of `2026-01-05T10:15:00.000Z`. A time outside [`MIN`](Self::MIN) and
    /// [`MAX`](Self::MAX), which no event and no `now` has, is written as the nearer of the two; `Display` writes
    /// every time as it is.
    pub fn write_rfc3339(self) -> [u8; 24] {
        let (days, mut ms) = split_day(self.clamp(Self::MIN, Self::MAX).0);
        let (year, month, day) = civil(days);
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let mut put = |at: usize, value: u32| {
            text[at] = b'0' + (value / 10) as u8;
            text[at + 1] = b'0' + (value % 10) as u8;
        };
        // Clamped, so the year has four digits.
        let year = year as u32;
        put(0, year / 100);
        put(2, year % 100);
        put(5, month);
        put(8, day);
        put(11, ms / 3_600_000);
        ms %= 3_600_000;
        put(14, ms / 60_000);
        ms %= 60_000;
        put(17, ms / 1_000);
        ms %= 1_000;
        put(20, ms / 10);
        text[22] = b'0' + (ms % 10) as u8;
        text
    }
}

/// Writes `2026-01-05T10:15:00.000Z`; a year outside 0..=9999 with its sign and at least six digits.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if (Self::MIN..=Self::MAX).contains(self) {
            return f.pad(str::from_utf8(&self.write_rfc3339()).unwrap_or_default());
        }
        let (days, ms) = split_day(self.0);
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
        write!(f, "{year:+07}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1_000)
    }
}

#[inline]
fn two_digits(tens: u8, ones: u8) -> Result<u32, TimeError> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    if tens > 9 || ones > 9 {
        return Err(TimeError::Malformed);
    }
    Ok(u32::from(tens * 10 + ones))
}

/// Reads `.123456` if it is there: its first three digits, and what follows it.
fn fraction(text: &[u8]) -> Result<(u32, &[u8]), TimeError> {
    let Some((b'.', digits)) = text.split_first() else { return Ok((0, text)) };
    let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if count == 0 {
        return Err(TimeError::Malformed);
    }
    let place = |at: usize, weight: u32| if at < count { u32::from(digits[at] - b'0') * weight } else { 0 };
    Ok((place(0, 100) + place(1, 10) + place(2, 1), &digits[count..]))
}

/// Reads `Z` or `+01:00`, to the end of the text; in minutes.
fn offset(text: &[u8]) -> Result<i64, TimeError> {
    match *text {
        [b'Z' | b'z'] => Ok(0),
        [] => Err(TimeError::NoOffset),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (two_digits(h1, h2)?, two_digits(m1, m2)?);
            if hours > 23 || minutes > 59 {
                return Err(TimeError::OutOfRange);
            }
            let offset = i64::from(hours * 60 + minutes);
            Ok(if sign == b'-' { -offset } else { offset })
        }
        _ => Err(TimeError::Malformed),
    }
}

fn is_leap(year: u32) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_in_month(year: u32, month: u32) -> u32 {
    u32::from(DAYS_IN_MONTH[month as usize - 1]) + u32::from(month == 2 && is_leap(year))
}

/// The date must exist, in a year from 0 on.
fn days_since_1970(year: u32, month: u32, day: u32) -> i64 {
    // Leap days of the years before this one; the year 0 is a leap year, hence the rounding up.
    let leap_days = year.div_ceil(4) - year.div_ceil(100) + year.div_ceil(400);
    let in_year =
        u32::from(DAYS_BEFORE_MONTH[month as usize - 1]) + day - 1 + u32::from(month > 2 && is_leap(year));
    i64::from(year * 365 + leap_days + in_year) - DAYS_TO_1970
}

/// Days since 1970, rounded down, and the milliseconds of that day.
fn split_day(ms: i64) -> (i64, u32) {
    (ms.div_euclid(Millis::DAY.0), ms.rem_euclid(Millis::DAY.0) as u32)
}

/// Year, month and day of a day since 1970, for any day.
///
/// Counts in eras of 400 years that begin on a March 1, so that the leap day is the last of its year.
fn civil(days: i64) -> (i64, u32, u32) {
    let days = days + DAYS_TO_1970 - 60;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month as u32, day as u32)
}

/// The units that a length of time is written in, longest first.
const UNITS: [(&str, i64); 6] = [
    ("w", Millis::WEEK.0),
    ("d", Millis::DAY.0),
    ("h", Millis::HOUR.0),
    ("m", Millis::MINUTE.0),
    ("s", Millis::SECOND.0),
    ("ms", 1),
];

impl Millis {
    /// 1,000 milliseconds.
    pub const SECOND: Self = Self(1_000);
    /// 60 seconds.
    pub const MINUTE: Self = Self(60_000);
    /// 60 minutes.
    pub const HOUR: Self = Self(3_600_000);
    /// 24 hours.
    pub const DAY: Self = Self(86_400_000);
    /// 168 hours.
    pub const WEEK: Self = Self(604_800_000);

    /// Reads a whole number and a unit: `500ms`, `30s`, `10m`, `2h`, `7d`, `4w`. `None` for anything else, and for
    /// what does not fit in 64 bits of milliseconds.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let (_, unit_ms) = UNITS.iter().find(|(name, _)| *name == unit)?;
        number.parse::<i64>().ok()?.checked_mul(*unit_ms).map(Self)
    }
}

/// Writes the largest unit that divides it: `30d`, `90s`, `-30m`; nothing is `0s`.
impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.pad("0s");
        }
        let (name, unit_ms) = UNITS.iter().find(|(_, unit_ms)| self.0 % unit_ms == 0).unwrap_or(&UNITS[5]);
        f.pad(&format!("{}{name}", self.0 / unit_ms))
    }
}

#[cfg(test)]
mod tests;
