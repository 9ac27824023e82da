#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn check_padding(events: &RawEvents) {
    for index in 0..events.len() {
        let (rest, len) = events.padded(index);
        assert_eq!(&rest[..len], events.get(index));
        assert!(rest.len() >= len + EVENT_PADDING);
        let tail = &rest[rest.len() - EVENT_PADDING..];
        assert!(tail.iter().all(|byte| *byte == 0), "the padding is zero");
    }
}

#[test]
fn lines_are_split_trimmed_and_blank_ones_skipped() {
    let mut events = RawEvents::new();
    events.push_lines(b"{\"a\":1}\r\n\n  \t\r\n {\"b\":2}\nlast");
    let got: Vec<&[u8]> = events.iter().collect();
    assert_eq!(got, [&b"{\"a\":1}"[..], b" {\"b\":2}", b"last"]);
    assert_eq!(events.bytes(), 7 + 8 + 4);
    check_padding(&events);
}

#[test]
fn a_long_line_is_oversized_and_keeps_its_prefix_or_all_of_it() {
    let mut events = RawEvents::new();
    let limits = LineLimits { max_events: 100, max_event_bytes: 4, kept_bytes: 7 };
    assert_eq!(events.push_lines_limited(b"abcd\nabcdefgh\nab\nabcdefg\r\n", limits), 26);
    events.push_oversized(b"xy", 1 << 40);
    let got: Vec<&[u8]> = events.iter().collect();
    assert_eq!(got, [&b"abcd"[..], b"abcd", b"ab", b"abcdefg", b"xy"]);
    let large: Vec<Option<u64>> = (0..5).map(|index| events.oversized(index)).collect();
    assert_eq!(large, [None, Some(8), None, Some(7), Some(1 << 40)]);
    check_padding(&events);
}

#[test]
fn a_full_batch_leaves_the_rest_of_the_block() {
    let mut events = RawEvents::new();
    let limits = LineLimits { max_events: 2, max_event_bytes: 100, kept_bytes: 100 };
    assert_eq!(events.push_lines_limited(b"a\n\nb\nc\n", limits), 5);
    assert_eq!(events.len(), 2);
    assert_eq!(events.push_lines_limited(b"c\n", limits), 0);
    check_padding(&events);
}

#[test]
fn clear_keeps_the_memory_and_forgets_the_rest() {
    let mut events = RawEvents::with_capacity(1000);
    events.push_oversized(b"abc", 9);
    let capacity = events.capacity_bytes();
    assert!(events.used_bytes() >= 3 + EVENT_PADDING && events.used_bytes() <= 200);
    events.clear();
    assert_eq!(events.used_bytes(), 0);
    assert!(events.is_empty() && events.bytes() == 0 && events.oversized(0).is_none());
    assert_eq!(events.capacity_bytes(), capacity);
    events.push(b"d");
    assert_eq!(events.get(0), b"d");
    check_padding(&events);
}

proptest! {
    /// However events get in, they come out as a plain list of them would.
    #[test]
    fn like_a_list(
        events in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..80), any::<bool>()), 0..40),
        cut in 0usize..40,
    ) {
        let cut = cut.min(events.len());
        let fill = |part: &[(Vec<u8>, bool)]| {
            let mut batch = RawEvents::new();
            for (event, large) in part {
                if *large { batch.push_oversized(event, 7) } else { batch.push(event) }
            }
            batch
        };
        let mut batch = fill(&events[..cut]);
        let mut second = fill(&events[cut..]);
        batch.append(&mut second);
        prop_assert!(second.is_empty());
        prop_assert_eq!(batch.len(), events.len());
        for (index, (event, large)) in events.iter().enumerate() {
            prop_assert_eq!(batch.get(index), &event[..]);
            prop_assert_eq!(batch.oversized(index), large.then_some(7));
        }
        prop_assert_eq!(batch.bytes(), events.iter().map(|(event, _)| event.len()).sum::<usize>());
        check_padding(&batch);
    }
}
