//! The two instructions that safe Rust has no name for: a 16-byte search and a prefetch. Neither changes a result.
//!
//! This is the only module of the crate that may hold `unsafe`. Every block in it stands on a length that the
//! function's own signature guarantees.
#![expect(unsafe_code, reason = "vector loads and prefetches take raw pointers")]

/// What 16 bytes of JSON text hold; bit `i` is about byte `i`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marks {
    /// A quote, a backslash or a control character: what ends or interrupts a string.
    pub(crate) special: u32,
    /// A byte from 0x80 on.
    pub(crate) non_ascii: u32,
}

/// Looks at 16 bytes of a JSON string at once.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn string_marks(bytes: &[u8; 16]) -> Marks {
    use std::arch::x86_64::{
        _mm_cmpeq_epi8, _mm_loadu_si128, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8,
    };

    // SAFETY: the reference covers exactly the 16 bytes that the unaligned load reads, and all instructions are of
    // SSE2, which is part of x86_64.
    unsafe {
        let chunk = _mm_loadu_si128(bytes.as_ptr().cast());
        let quote = _mm_cmpeq_epi8(chunk, _mm_set1_epi8(b'"' as i8));
        let backslash = _mm_cmpeq_epi8(chunk, _mm_set1_epi8(b'\\' as i8));
        // Unsigned `byte <= 0x1f`, which SSE2 has no comparison for.
        let control = _mm_cmpeq_epi8(_mm_min_epu8(chunk, _mm_set1_epi8(0x1f)), chunk);
        let special = _mm_or_si128(_mm_or_si128(quote, backslash), control);
        Marks { special: _mm_movemask_epi8(special) as u32, non_ascii: _mm_movemask_epi8(chunk) as u32 }
    }
}

/// Looks at 16 bytes of a JSON string at once.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
pub(crate) fn string_marks(bytes: &[u8; 16]) -> Marks {
    portable_marks(bytes)
}

/// [`string_marks`] byte by byte: the fallback, and what the vector version is tested against.
#[cfg(any(test, not(target_arch = "x86_64")))]
fn portable_marks(bytes: &[u8; 16]) -> Marks {
    bytes.iter().enumerate().fold(Marks { special: 0, non_ascii: 0 }, |marks, (at, byte)| Marks {
        special: marks.special | u32::from(matches!(byte, b'"' | b'\\' | 0..=0x1f)) << at,
        non_ascii: marks.non_ascii | u32::from(*byte >= 0x80) << at,
    })
}

/// Starts to load `item` into the cache.
#[inline(always)]
pub(crate) fn prefetch<T>(item: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

        // SAFETY: a prefetch never faults and changes nothing but the cache; the address is a live item's.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(item).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = item;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn finds_each_kind_at_each_place() {
        for at in 0..16 {
            for byte in 0..=255u8 {
                let mut bytes = *b"abcdefghijklmnop";
                bytes[at] = byte;
                assert_eq!(string_marks(&bytes), portable_marks(&bytes), "byte {byte:#x} at {at}");
            }
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_portable_version(bytes in any::<[u8; 16]>()) {
            prop_assert_eq!(string_marks(&bytes), portable_marks(&bytes));
        }
    }
}
