//! Numbers and texts as bytes, shortest first; reading never trusts a length.

use super::Damaged;

fn put_u128(out: &mut Vec<u8>, mut number: u128) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

pub(crate) fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

pub(crate) fn put_i64(out: &mut Vec<u8>, number: i64) {
    put(out, (number << 1 ^ number >> 63) as u64);
}

pub(crate) fn put_i128(out: &mut Vec<u8>, number: i128) {
    put_u128(out, (number << 1 ^ number >> 127) as u128);
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads what was put, front to back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Damaged> {
        let (front, rest) = self.0.split_at_checked(len).ok_or(Damaged)?;
        self.0 = rest;
        Ok(front)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Damaged> {
        Ok(self.take(1)?[0])
    }

    pub(crate) fn unsigned(&mut self) -> Result<u128, Damaged> {
        // Most are short, and 128 bits are dear.
        if let Some((byte @ ..0x80, rest)) = self.0.split_first() {
            self.0 = rest;
            return Ok(u128::from(*byte));
        }
        let (mut number, mut shift) = (0u128, 0);
        loop {
            let byte = self.byte()?;
            let bits = u128::from(byte & 0x7f);
            if shift > 126 || bits << shift >> shift != bits {
                return Err(Damaged);
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
            shift += 7;
        }
    }

    /// A number that fits whatever is wanted.
    pub(crate) fn number<T: TryFrom<u128>>(&mut self) -> Result<T, Damaged> {
        T::try_from(self.unsigned()?).map_err(|_| Damaged)
    }

    pub(crate) fn signed(&mut self) -> Result<i128, Damaged> {
        let bits = self.unsigned()?;
        Ok((bits >> 1) as i128 ^ -((bits & 1) as i128))
    }

    pub(crate) fn time(&mut self) -> Result<i64, Damaged> {
        i64::try_from(self.signed()?).map_err(|_| Damaged)
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Damaged> {
        let len = self.number()?;
        self.take(len)
    }

    pub(crate) fn hash(&mut self) -> Result<u128, Damaged> {
        let bytes = self.take(16)?.try_into().map_err(|_| Damaged)?;
        Ok(u128::from_le_bytes(bytes))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_put_is_read(a: u64, b: i64, c: i128, d: u128, text in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut out = Vec::new();
            put(&mut out, a);
            put_i64(&mut out, b);
            put_i128(&mut out, c);
            put_u128(&mut out, d);
            put_bytes(&mut out, &text);
            let mut input = Input(&out);
            prop_assert_eq!(input.number::<u64>(), Ok(a));
            prop_assert_eq!(input.time(), Ok(b));
            prop_assert_eq!(input.signed(), Ok(c));
            prop_assert_eq!(input.unsigned(), Ok(d));
            prop_assert_eq!(input.bytes(), Ok(text.as_slice()));
            prop_assert!(input.is_empty());
            let mut short = Input(&out[..out.len() - 1]);
            let all = (|| {
                for _ in 0..4 {
                    short.unsigned()?;
                }
                short.bytes()
            })();
            prop_assert_eq!(all, Err(Damaged));
        }
    }

    #[test]
    fn a_number_that_is_too_long_is_damage() {
        assert_eq!(Input(&[0xff; 30]).unsigned(), Err(Damaged));
        assert_eq!(Input(&[0x80; 30]).unsigned(), Err(Damaged));
        assert_eq!(Input(&[0xff, 0xff, 0xff, 0xff, 0x7f]).number::<u32>(), Err(Damaged));
    }
}
