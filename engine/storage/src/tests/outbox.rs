//! First in, first out, bounded; after a crash what was synced is there, and nothing with a gap before it.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::{NewBatch, Outbox, OutboxOptions, Pushed, Span, StoredBatch};

fn outbox(state: &StateDir, max_bytes: u64, file_bytes: u64, acknowledged: u64) -> Outbox {
    // Of 0 to 89 bytes: many are in pieces.
    state
        .open_outbox("slow", OutboxOptions { max_bytes, file_bytes, piece_bytes: 40 }, acknowledged)
        .unwrap()
        .0
}

fn reopened(state: &StateDir, file_bytes: u64, acknowledged: u64) -> Outbox {
    outbox(state, 1 << 20, file_bytes, acknowledged)
}

fn spilled(files: &SimFiles) -> Vec<PathBuf> {
    files.paths().into_iter().filter(|path| path.starts_with("state/outbox")).collect()
}

fn context_of(epoch: u64) -> Vec<u8> {
    vec![(epoch / 7) as u8; 3]
}

fn bytes_of(epoch: u64) -> Vec<u8> {
    vec![epoch as u8; (epoch * 13 % 90) as usize]
}

/// What a batch takes in three pieces, at most.
const LARGEST: u64 = 200;

fn push(outbox: &mut Outbox, after: u64, epoch: u64, is_held: bool) -> Pushed {
    let batch = NewBatch { after, epoch, context: &context_of(epoch), bytes: &bytes_of(epoch) };
    outbox.push(batch, is_held).unwrap()
}

fn check(batch: &StoredBatch) {
    assert_eq!((&batch.context[..], &batch.bytes), (&context_of(batch.epoch)[..], &bytes_of(batch.epoch)));
}

/// Everything that is left behind an epoch.
fn drain(outbox: &mut Outbox, mut behind: u64) -> Vec<u64> {
    let mut epochs = Vec::new();
    while let Some(batch) = outbox.pop(behind).unwrap() {
        check(&batch);
        behind = batch.epoch;
        epochs.push(batch.epoch);
    }
    assert_eq!((outbox.len(), outbox.bytes()), (0, 0));
    epochs
}

fn sync(outbox: &mut Outbox) -> Span {
    let synced = outbox.unsynced().sync().unwrap();
    outbox.synced(synced)
}

proptest! {
    #[test]
    fn batches_come_out_as_they_went_in(
        steps in prop::collection::vec((0..4u8, any::<bool>()), 1..200),
        max_bytes in 100u64..3000,
        file_bytes in 1u64..1000,
    ) {
        let files = SimFiles::new();
        let state = state(&files);
        let mut outbox = outbox(&state, max_bytes, file_bytes, 0);
        let mut model: VecDeque<u64> = VecDeque::new();
        let (mut last, mut behind) = (0, 0);
        for (step, is_held) in steps {
            match step {
                0 | 1 => {
                    // As its queue does: nothing is held in memory behind what is only on disk.
                    let is_held = is_held && model.is_empty();
                    let before = outbox.bytes();
                    let pushed = push(&mut outbox, last, last + 1, is_held);
                    if pushed == Pushed::Full {
                        prop_assert!(!is_held && before + LARGEST > max_bytes);
                        continue;
                    }
                    last += 1;
                    if is_held { behind = last } else { model.push_back(last) }
                }
                2 => {
                    let popped = outbox.pop(behind).unwrap();
                    popped.iter().for_each(check);
                    behind = popped.as_ref().map_or(behind, |batch| batch.epoch);
                    prop_assert_eq!(popped.map(|batch| batch.epoch), model.pop_front());
                }
                _ => {
                    outbox.forget(behind).unwrap();
                    if model.is_empty() {
                        prop_assert!(spilled(&files).is_empty());
                    }
                }
            }
            prop_assert_eq!(outbox.len(), model.len() as u64);
            prop_assert!(outbox.bytes() <= max_bytes.max(LARGEST));
        }
    }

    /// A sink's whole life on a disk that loses what was not synced: pushed, delivered without ever having been here,
    /// acknowledged, synced, crashed.
    #[test]
    fn after_a_crash_it_has_what_was_synced_and_no_gap(
        steps in prop::collection::vec((0..8u8, 0..4u64), 1..120),
        file_bytes in 1u64..600,
    ) {
        let files = SimFiles::new();
        let mut state = Some(state(&files));
        let mut outbox = outbox(state.as_ref().unwrap(), 1 << 20, file_bytes, 0);
        // The last epoch there is, the last that the sink took, what it is known for good to have taken, what is synced.
        let (mut last, mut taken, mut acknowledged, mut synced) = (0, 0, 0, Span::default());
        // Epochs with deltas.
        let mut loud = Vec::new();
        for (seed, (step, count)) in steps.into_iter().enumerate() {
            match step {
                0..=2 => for _ in 0..=count {
                    let _ = push(&mut outbox, last, last + 1, false);
                    last += 1;
                    loud.push(last);
                },
                3 => {
                    outbox.quiet(last, last + count).unwrap();
                    last += count;
                }
                // It takes all there is, and some that never come here.
                4 => {
                    drain(&mut outbox, taken);
                    loud.extend((0..count).map(|n| last + 1 + n));
                    last += count;
                    taken = last;
                }
                5 => {
                    acknowledged = taken;
                    outbox.forget(acknowledged).unwrap();
                }
                6 => synced = sync(&mut outbox),
                _ => {
                    drop((outbox, state.take()));
                    files.crash(seed as u64);
                    state = Some(super::state(&files));
                    let foretold = state.as_ref().unwrap().reader().outbox_through("slow", acknowledged).unwrap();
                    outbox = reopened(state.as_ref().unwrap(), file_bytes, acknowledged);
                    let through = outbox.span().through;
                    prop_assert_eq!(foretold, through);
                    if synced.after <= acknowledged {
                        prop_assert!(through >= synced.through, "{through} of {synced:?}");
                    }
                    prop_assert!(through <= last.max(acknowledged));
                    let expected: Vec<u64> =
                        loud.iter().copied().filter(|e| *e > acknowledged && *e <= through).collect();
                    prop_assert_eq!(outbox.len(), expected.len() as u64);
                    let mut behind = acknowledged;
                    for epoch in expected {
                        let batch = outbox.pop(behind).unwrap().unwrap();
                        check(&batch);
                        prop_assert_eq!(batch.epoch, epoch);
                        behind = epoch;
                    }
                    (last, taken) = (through, through);
                    loud.retain(|epoch| *epoch <= through);
                    // All that was read is durable by now.
                    synced = Span { after: acknowledged, through };
                }
            }
        }
    }
}

#[test]
fn of_a_sink_without_an_outbox_it_is_known_what_it_has_acknowledged() {
    let state = state(&SimFiles::new());
    assert_eq!(state.reader().outbox_through("slow", 7).unwrap(), 7);
}

#[test]
fn what_is_damaged_is_cut_off_with_all_behind_it() {
    let files = SimFiles::new();
    let first = state(&files);
    let mut written = outbox(&first, 1 << 20, 200, 0);
    for epoch in 1..=20 {
        assert_eq!(push(&mut written, epoch - 1, epoch, false), Pushed::Queued);
    }
    sync(&mut written);
    drop((written, first));
    let paths = spilled(&files);
    assert!(paths.len() > 3);
    for (place, path) in paths.iter().enumerate() {
        let whole = files.contents(path).unwrap();
        let mut before = None;
        for at in 0..whole.len() {
            let copy = files.fork();
            let mut bytes = whole.clone();
            bytes[at] ^= 4;
            copy.set_contents(path, &bytes);
            let state = state(&copy);
            let (mut found, cut) = state
                .open_outbox(
                    "slow",
                    OutboxOptions { max_bytes: 1 << 20, file_bytes: 200, piece_bytes: 40 },
                    0,
                )
                .unwrap();
            assert!(cut.is_some(), "{place} at {at}");
            let through = found.span().through;
            assert!(through < 20 && Some(through) >= before, "{place} at {at}");
            before = Some(through);
            assert_eq!(drain(&mut found, 0), (1..=through).collect::<Vec<_>>());
            // It goes on from there.
            assert_eq!(push(&mut found, through, 30, false), Pushed::Queued);
            drop((found, state));
            let state = super::state(&copy);
            let mut again = outbox(&state, 1 << 20, 200, 0);
            assert_eq!(drain(&mut again, 0).last(), Some(&30));
        }
    }
}

#[test]
fn what_the_disk_changed_meanwhile_is_an_error() {
    let files = SimFiles::new();
    let state = state(&files);
    let mut outbox = outbox(&state, 10_000, 1000, 0);
    assert_eq!(push(&mut outbox, 0, 5, false), Pushed::Queued);
    let path = spilled(&files).remove(0);
    let mut bytes = files.contents(&path).unwrap();
    let len = bytes.len();
    bytes[len - 2] ^= 4;
    files.set_contents(&path, &bytes);
    assert!(matches!(outbox.pop(0), Err(StorageError::Damaged { .. })));
}

#[test]
fn what_was_never_here_shows_as_a_gap() {
    let files = SimFiles::new();
    let first = state(&files);
    let mut written = outbox(&first, 10_000, 1000, 3);
    assert_eq!(push(&mut written, 3, 4, false), Pushed::Queued);
    assert_eq!(push(&mut written, 7, 8, false), Pushed::Queued);
    assert_eq!(sync(&mut written), Span { after: 7, through: 8 });
    drop((written, first));
    for (acknowledged, expected) in [(3, vec![4]), (6, vec![]), (7, vec![8]), (8, vec![])] {
        let copy = files.fork();
        let state = state(&copy);
        let mut found = outbox(&state, 10_000, 1000, acknowledged);
        assert_eq!(drain(&mut found, acknowledged), expected, "{acknowledged}");
    }
}

#[test]
fn a_new_outbox_survives_a_power_cut_once_it_is_synced() {
    for seed in 0..8 {
        let files = SimFiles::new();
        let opened = state(&files);
        let mut outbox = outbox(&opened, 1 << 20, 1 << 20, 0);
        assert_eq!(push(&mut outbox, 0, 1, false), Pushed::Queued);
        assert_eq!(sync(&mut outbox), Span { after: 0, through: 1 });
        drop((outbox, opened));
        files.crash(seed);
        assert_eq!(reader(&files).outbox_through("slow", 0).unwrap(), 1, "seed {seed}");
    }
}
