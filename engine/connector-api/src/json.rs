//! Deltas as JSON: the same bytes at every sink, and fast, since a busy pipeline writes a million of them.

use tidewater_model::{Delta, Timestamp};

/// Appends one delta as the JSON object of the contract, without a newline:
///
/// `{"epoch":41,"now":"2026-01-05T10:15:00.000Z","segment":"loyal","profile":"6H2S…","change":"entered",`
/// `"reason":"orders 2 -> 3","identifiers":{"user_id":["u42"]},"more":{"email":7}}`; `more` only where values are
/// left out.
pub fn write_delta(out: &mut Vec<u8>, epoch: u64, now: Timestamp, delta: &Delta<'_>) {
    out.extend_from_slice(b"{\"epoch\":");
    write_u64(out, epoch);
    out.extend_from_slice(b",\"now\":\"");
    write_time(out, now);
    out.extend_from_slice(b"\",\"segment\":");
    write_string(out, delta.segment());
    out.extend_from_slice(b",\"profile\":\"");
    out.extend_from_slice(&delta.profile().encode());
    out.extend_from_slice(b"\",\"change\":\"");
    out.extend_from_slice(delta.change().name().as_bytes());
    out.extend_from_slice(b"\",\"reason\":");
    write_string(out, delta.reason());
    out.extend_from_slice(b",\"identifiers\":{");
    write_identifiers(out, delta);
    out.push(b'}');
    write_more(out, delta);
    out.push(b'}');
}

fn write_identifiers(out: &mut Vec<u8>, delta: &Delta<'_>) {
    let names = &delta.names().identifiers;
    let mut open = None;
    for (identifier, value) in delta.identifiers() {
        if open == Some(identifier) {
            out.push(b',');
        } else {
            if open.is_some() {
                out.extend_from_slice(b"],");
            }
            write_string(out, &names[identifier]);
            out.extend_from_slice(b":[");
            open = Some(identifier);
        }
        write_string(out, value);
    }
    if open.is_some() {
        out.push(b']');
    }
}

fn write_more(out: &mut Vec<u8>, delta: &Delta<'_>) {
    let mut first = true;
    for (identifier, count) in delta.more() {
        out.extend_from_slice(if first { b",\"more\":{" } else { b"," });
        first = false;
        write_string(out, &delta.names().identifiers[identifier]);
        out.push(b':');
        write_u64(out, u64::from(count));
    }
    if !first {
        out.push(b'}');
    }
}

/// Appends a JSON string, quotes included: `"`, `\` and control characters escaped, all else as it is.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let bytes = text.as_bytes();
    // Whole runs are copied; few strings hold anything to escape.
    let mut run = 0;
    for (place, byte) in bytes.iter().enumerate() {
        let escape = match *byte {
            b'"' => b'"',
            b'\\' => b'\\',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x08 => b'b',
            0x0c => b'f',
            0..0x20 => b'u',
            _ => continue,
        };
        out.extend_from_slice(&bytes[run..place]);
        out.extend_from_slice(&[b'\\', escape]);
        if escape == b'u' {
            let (high, low) = (HEX[usize::from(*byte >> 4)], HEX[usize::from(*byte & 15)]);
            out.extend_from_slice(&[b'0', b'0', high, low]);
        }
        run = place + 1;
    }
    out.extend_from_slice(&bytes[run..]);
    out.push(b'"');
}

/// Appends a whole number.
pub fn write_u64(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// Appends a time as RFC 3339 in UTC with milliseconds, without quotes. Times outside of the years 0 to 9999, which
/// the format can't say, are written as the nearest it can.
pub fn write_time(out: &mut Vec<u8>, time: Timestamp) {
    const FIRST: i64 = -62_167_219_200_000; // 0000-01-01T00:00:00.000Z
    const LAST: i64 = 253_402_300_799_999; // 9999-12-31T23:59:59.999Z
    const DAY: i64 = 86_400_000;
    let millis = time.0.clamp(FIRST, LAST);
    let (year, month, day) = civil(millis.div_euclid(DAY));
    let of_day = millis.rem_euclid(DAY) as u32;
    let (seconds, fraction) = (of_day / 1000, of_day % 1000);
    let mut text = *b"0000-00-00T00:00:00.000Z";
    two_digits(&mut text[0..2], year / 100);
    two_digits(&mut text[2..4], year % 100);
    two_digits(&mut text[5..7], month);
    two_digits(&mut text[8..10], day);
    two_digits(&mut text[11..13], seconds / 3600);
    two_digits(&mut text[14..16], seconds / 60 % 60);
    two_digits(&mut text[17..19], seconds % 60);
    text[20] = b'0' + (fraction / 100) as u8;
    two_digits(&mut text[21..23], fraction % 100);
    out.extend_from_slice(&text);
}

fn two_digits(at: &mut [u8], number: u32) {
    at[0] = b'0' + (number / 10) as u8;
    at[1] = b'0' + (number % 10) as u8;
}

/// Year, month and day of a day counted from 1970, by counting in years that start in March so that the leap day
/// comes last.
fn civil(days: i64) -> (u32, u32, u32) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    ((era * 400 + year_of_era + next_year) as u32, month as u32, day as u32)
}

#[cfg(test)]
mod tests;
