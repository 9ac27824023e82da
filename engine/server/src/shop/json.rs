//! Writes the generator's JSON: plain appends, since every text is known to need no escape.

use tidewater_connector_api::json::{write_time, write_u64};
use tidewater_model::Timestamp;

/// Appends to a line.
pub(super) struct Line<'a>(pub(super) &'a mut Vec<u8>);

impl Line<'_> {
    #[inline]
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    #[inline]
    pub(super) fn number(&mut self, number: u64) -> &mut Self {
        write_u64(self.0, number);
        self
    }

    #[inline]
    pub(super) fn time(&mut self, time: Timestamp) -> &mut Self {
        write_time(self.0, time);
        self
    }

    /// An amount of money.
    pub(super) fn cents(&mut self, cents: u64) -> &mut Self {
        self.number(cents / 100);
        let rest = (cents % 100) as u8;
        if rest > 0 {
            self.0.push(b'.');
            self.0.push(b'0' + rest / 10);
            if !rest.is_multiple_of(10) {
                self.0.push(b'0' + rest % 10);
            }
        }
        self
    }

    /// A UUID of these bits.
    pub(super) fn uuid(&mut self, bits: [u64; 2]) -> &mut Self {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = *b"00000000-0000-4000-8000-000000000000";
        let mut place = 0;
        for word in bits {
            for nibble in 0..16 {
                // The hyphens, and the two digits that say which kind of UUID it is.
                while matches!(place, 8 | 13 | 14 | 18 | 19 | 23) {
                    place += 1;
                }
                if let Some(digit) = text.get_mut(place) {
                    *digit = HEX[(word >> (60 - nibble * 4)) as usize & 15];
                    place += 1;
                }
            }
        }
        self.0.extend_from_slice(&text);
        self
    }
}
