#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

/// Gives a stream out in pieces of the given sizes, over and over.
struct Pieces<'a> {
    rest: &'a [u8],
    sizes: Vec<usize>,
    turn: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let size = self.sizes[self.turn % self.sizes.len()].min(into.len()).min(self.rest.len());
        self.turn += 1;
        let (piece, rest) = self.rest.split_at(size);
        into[..size].copy_from_slice(piece);
        self.rest = rest;
        Ok(size)
    }
}

type Event = (Vec<u8>, Option<u64>);

/// Reads all from `offset`: the events, and after every batch how many there were and where reading would resume.
fn read(
    text: &[u8],
    offset: usize,
    sizes: &[usize],
    limits: &BatchLimits,
) -> (Vec<Event>, Vec<(usize, u64)>) {
    let mut stream = Pieces { rest: &text[offset..], sizes: sizes.to_vec(), turn: 0 };
    let mut lines = Lines::new(offset as u64);
    let (mut events, mut resumes) = (Vec::new(), Vec::new());
    loop {
        let mut batch = RawEvents::new();
        let step = loop {
            match lines.step(&mut stream, &mut batch, limits).unwrap() {
                Step::More => {}
                other => break other,
            }
        };
        if step == Step::End {
            lines.finish(&mut batch, limits);
        }
        events.extend((0..batch.len()).map(|place| (batch.get(place).to_vec(), batch.oversized(place))));
        resumes.push((events.len(), lines.offset()));
        if step == Step::End {
            return (events, resumes);
        }
    }
}

/// What a plain split gives.
fn expected(text: &[u8], max: usize, kept: usize) -> Vec<Event> {
    text.split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| !line.trim_ascii().is_empty())
        .map(|line| {
            let large = (line.len() > max).then_some(line.len() as u64);
            let is_whole = line.len() <= kept.max(max);
            (line[..if is_whole { line.len() } else { max }].to_vec(), large)
        })
        .collect()
}

proptest! {
    /// Whatever the pieces, the lines are those of a plain split, and resuming after any batch gives the rest.
    #[test]
    fn like_a_plain_split(
        text in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b' '), Just(b'a'), Just(b'b')], 0..300),
        sizes in proptest::collection::vec(1usize..40, 1..6),
        max in 3usize..20,
        kept_bytes in 0usize..60,
        max_events in 1usize..8,
    ) {
        let limits = BatchLimits { max_events, max_bytes: 60, max_event_bytes: max, kept_bytes };
        let (events, resumes) = read(&text, 0, &sizes, &limits);
        prop_assert_eq!(&events, &expected(&text, max, kept_bytes));
        for (count, offset) in resumes {
            let (rest, _) = read(&text, offset as usize, &sizes, &limits);
            prop_assert_eq!(&rest[..], &events[count..]);
        }
    }
}

#[test]
fn carriage_returns_and_a_byte_order_mark_are_no_part_of_an_event() {
    let limits = BatchLimits { max_events: 9, max_bytes: 99, max_event_bytes: 4, kept_bytes: 9 };
    let (events, resumes) = read(b"\xef\xbb\xbfabcd\r\nef\r\n", 0, &[100], &limits);
    assert_eq!(events, [(b"abcd".to_vec(), None), (b"ef".to_vec(), None)]);
    assert_eq!(resumes, [(2, 13)]);
}

#[test]
fn a_long_line_that_is_kept_ends_before_its_line_break() {
    let limits = BatchLimits { max_events: 9, max_bytes: 99, max_event_bytes: 4, kept_bytes: 9 };
    for size in [1, 100] {
        let (events, _) = read(b"abcdefgh\r\nabcdefghi\r\n", 0, &[size], &limits);
        assert_eq!(events[0], (b"abcdefgh".to_vec(), Some(8)));
        assert_eq!(events.len(), 2);
    }
}

#[test]
fn a_line_beyond_what_is_kept_is_not_held() {
    struct Endless(usize);
    impl Read for Endless {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let count = self.0.min(into.len());
            self.0 -= count;
            into[..count].fill(b'x');
            Ok(count)
        }
    }
    let limits =
        BatchLimits { max_events: 9, max_bytes: 1 << 20, max_event_bytes: 1 << 10, kept_bytes: 16 << 20 };
    let mut lines = Lines::new(0);
    let mut batch = RawEvents::new();
    let len = 100 << 20;
    let mut stream = Endless(len).chain(&b"\n{}\n"[..]);
    while lines.step(&mut stream, &mut batch, &limits).unwrap() != Step::End {}
    assert_eq!((batch.len(), batch.oversized(0), batch.get(0).len()), (2, Some(len as u64), 1 << 10));
    assert_eq!(batch.get(1), b"{}");
    assert_eq!(lines.offset(), len as u64 + 4);
    assert!(lines.block.capacity() <= 2 * BLOCK_BYTES && batch.capacity_bytes() < 4096);
}
