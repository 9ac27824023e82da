//! Scalars of events and of `first`/`last` traits packed into 128 bits.
//!
//! The top byte is the kind, in the order that settles ties (false < true < numbers < strings). Numbers are kept
//! in the low 120 bits, offset so that greater numbers have greater bits; a string is a place in a text buffer.

use tidewater_model::Decimal;

/// A packed scalar; see the module's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scalar128(pub(crate) u128);

const KIND_SHIFT: u32 = 120;
const OFFSET: i128 = 1 << 119;

impl Scalar128 {
    /// Nothing there.
    pub(crate) const NULL: Self = Self(0);
    /// `false`.
    pub(crate) const FALSE: Self = Self(1 << KIND_SHIFT);
    /// `true`.
    pub(crate) const TRUE: Self = Self(2 << KIND_SHIFT);

    /// A number.
    pub(crate) fn number(number: Decimal) -> Self {
        Self(3 << KIND_SHIFT | (number.0 + OFFSET) as u128)
    }

    /// A string at `start` of a text buffer, `len` bytes long.
    pub(crate) fn string(start: u64, len: u32) -> Self {
        Self(4 << KIND_SHIFT | u128::from(start) << 32 | u128::from(len))
    }

    /// What it is.
    pub(crate) fn unpack(self) -> Unpacked {
        match self.0 >> KIND_SHIFT {
            0 => Unpacked::Null,
            1 => Unpacked::Bool(false),
            2 => Unpacked::Bool(true),
            3 => Unpacked::Number(Decimal((self.0 & ((1 << KIND_SHIFT) - 1)) as i128 - OFFSET)),
            _ => Unpacked::String { start: (self.0 >> 32) as u64, len: self.0 as u32 },
        }
    }

    /// Its two words, low first.
    pub(crate) fn words(self) -> [u64; 2] {
        [self.0 as u64, (self.0 >> 64) as u64]
    }

    /// The scalar in two words, low first.
    pub(crate) fn from_words(low: u64, high: u64) -> Self {
        Self(u128::from(high) << 64 | u128::from(low))
    }
}

/// A scalar taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unpacked {
    /// Nothing there.
    Null,
    /// A truth value.
    Bool(bool),
    /// A number.
    Number(Decimal),
    /// A string in the buffer that belongs to the scalar.
    String {
        /// Its first byte.
        start: u64,
        /// Its length in bytes.
        len: u32,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_and_orders() {
        let numbers =
            [-1_000_000_000_000_000_000_000_000_000, -1, 0, 1, 1_000_000_000_000_000_000_000_000_000];
        let packed: Vec<_> = numbers.iter().map(|n| Scalar128::number(Decimal(*n))).collect();
        assert!(packed.windows(2).all(|pair| pair[0].0 < pair[1].0));
        for (number, scalar) in numbers.iter().zip(&packed) {
            assert_eq!(scalar.unpack(), Unpacked::Number(Decimal(*number)));
            let [low, high] = scalar.words();
            assert_eq!(Scalar128::from_words(low, high), *scalar);
        }
        let text = Scalar128::string(1 << 40, 77);
        assert_eq!(text.unpack(), Unpacked::String { start: 1 << 40, len: 77 });
        assert!(Scalar128::FALSE.0 < Scalar128::TRUE.0 && Scalar128::TRUE.0 < packed[0].0);
        assert!(packed[4].0 < text.0);
    }
}
