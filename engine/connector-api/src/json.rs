//! Deltas as JSON: the same bytes at every sink, and fast, since a busy pipeline writes a million of them.

use tidewater_model::{Delta, DeltaBatch, Timestamp};

/// So many deltas must share a detail on average before it pays to remember what is written of it.
const MANY: usize = 2;

/// Appends one delta as the JSON object of the contract, without a newline:
///
/// `{"epoch":41,"now":"2026-01-05T10:15:00.000Z","segment":"loyal","profile":"6H2S…","change":"entered",`
/// `"reason":"orders 2 -> 3","identifiers":{"user_id":["u42"]},"more":{"email":7}}`; `more` only where values are
/// left out.
pub fn write_delta(out: &mut Vec<u8>, epoch: u64, now: Timestamp, delta: &Delta<'_>) {
    DeltaWriter::new(epoch, now).write(out, delta);
}

/// Writes the deltas of one batch as [`write_delta`] does; what they have in common is worked out once.
#[derive(Clone, Debug)]
pub struct DeltaWriter {
    /// All up to the segment's name, then the segment of the delta before: a batch is sorted by segment.
    head: Vec<u8>,
    /// How much of `head` stays whatever the segment is.
    common: usize,
    segment: Option<usize>,
    /// Of each identifier its name, quoted.
    identifiers: Vec<Vec<u8>>,
    /// What stands at the end of a line, of all details so far, one after the other.
    ends: Vec<u8>,
    /// Of each detail the part of `ends`, empty if it has not been written yet. None at all where hardly a delta shares its detail.
    details: Vec<(usize, usize)>,
}

impl DeltaWriter {
    /// A writer for the deltas of an epoch.
    pub fn new(epoch: u64, now: Timestamp) -> Self {
        let mut head = b"{\"epoch\":".to_vec();
        write_u64(&mut head, epoch);
        head.extend_from_slice(b",\"now\":\"");
        write_time(&mut head, now);
        head.extend_from_slice(b"\",\"segment\":");
        let common = head.len();
        let (ends, details) = (Vec::new(), Vec::new());
        Self { head, common, segment: None, identifiers: Vec::new(), ends, details }
    }

    /// A writer for the deltas of a batch, and of no other: it remembers what some of them have in common.
    pub fn of_batch(batch: &DeltaBatch) -> Self {
        let shared = if batch.len() >= MANY * batch.details() { batch.details() } else { 0 };
        Self { details: vec![(0, 0); shared], ..Self::new(batch.epoch(), batch.now()) }
    }

    /// Appends one of them, without a newline.
    pub fn write(&mut self, out: &mut Vec<u8>, delta: &Delta<'_>) {
        self.prepare(delta);
        out.extend_from_slice(&self.head);
        out.extend_from_slice(&delta.profile().encode());
        out.extend_from_slice(b"\",\"change\":\"");
        out.extend_from_slice(delta.change().name().as_bytes());
        let Some((start, end)) = self.details.get(delta.detail()).copied() else {
            return self.write_end(out, delta);
        };
        if start < end {
            out.extend_from_slice(&self.ends[start..end]);
            return;
        }
        let from = out.len();
        self.write_end(out, delta);
        let start = self.ends.len();
        self.ends.extend_from_slice(&out[from..]);
        self.details[delta.detail()] = (start, self.ends.len());
    }

    fn write_end(&self, out: &mut Vec<u8>, delta: &Delta<'_>) {
        out.extend_from_slice(b"\",\"reason\":");
        write_string(out, delta.reason());
        out.extend_from_slice(b",\"identifiers\":{");
        self.write_identifiers(out, delta);
        out.push(b'}');
        self.write_more(out, delta);
        out.push(b'}');
    }

    fn prepare(&mut self, delta: &Delta<'_>) {
        let segment = Some(delta.segment_index());
        if self.segment == segment {
            return;
        }
        if self.segment.is_none() {
            self.identifiers = delta.names().identifiers().iter().map(|name| quoted(name)).collect();
        }
        self.segment = segment;
        self.head.truncate(self.common);
        write_string(&mut self.head, delta.segment());
        self.head.extend_from_slice(b",\"profile\":\"");
    }

    fn write_identifiers(&self, out: &mut Vec<u8>, delta: &Delta<'_>) {
        let mut open = None;
        for (identifier, value) in delta.identifiers() {
            if open == Some(identifier) {
                out.push(b',');
            } else {
                if open.is_some() {
                    out.extend_from_slice(b"],");
                }
                out.extend_from_slice(&self.identifiers[identifier]);
                out.extend_from_slice(b":[");
                open = Some(identifier);
            }
            write_string(out, value);
        }
        if open.is_some() {
            out.push(b']');
        }
    }

    fn write_more(&self, out: &mut Vec<u8>, delta: &Delta<'_>) {
        let mut first = true;
        for (identifier, count) in delta.more() {
            out.extend_from_slice(if first { b",\"more\":{" } else { b"," });
            first = false;
            out.extend_from_slice(&self.identifiers[identifier]);
            out.push(b':');
            write_u64(out, u64::from(count));
        }
        if !first {
            out.push(b'}');
        }
    }
}

fn quoted(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    write_string(&mut out, text);
    out
}

/// Appends a JSON string, quotes included: `"`, `\` and control characters escaped, all else as it is.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    out.push(b'"');
    // Without a branch for each byte: hardly any string holds one to escape.
    let must_escape = |byte: &u8| (*byte < 0x20) | (*byte == b'"') | (*byte == b'\\');
    if bytes.iter().fold(false, |any, byte| any | must_escape(byte)) {
        escape(out, bytes);
    } else {
        out.extend_from_slice(bytes);
    }
    out.push(b'"');
}

#[cold]
fn escape(out: &mut Vec<u8>, bytes: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
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

/// Appends a time as RFC 3339 in UTC with milliseconds, without quotes.
pub fn write_time(out: &mut Vec<u8>, time: Timestamp) {
    out.extend_from_slice(&time.write_rfc3339());
}

#[cfg(test)]
mod tests;
