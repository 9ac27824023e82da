#![allow(clippy::unwrap_used)]

use tidewater_model::{Change, DeltaBatchBuilder, HashKey, ProfileId, delta::DeltaNames};
use tidewater_storage::{DeadLetterOptions, NewState, StateDir};

use super::*;

/// A delta of a profile and one of two segments.
fn delta(epoch: u64, segment: usize, profile: u128) -> DeltaBatch {
    let names = Arc::new(DeltaNames::new(vec!["loyal".into(), "new".into()], vec!["user_id".into()]));
    let mut builder = DeltaBatchBuilder::new(epoch, Timestamp(0), names);
    builder.delta(segment, ProfileId(profile), Change::Entered);
    builder.reason("because");
    builder.finish()
}

fn refusal(epoch: u64, segment: usize, profile: u128) -> Refusal {
    Refusal {
        delta: delta(epoch, segment, profile),
        cause: "refused",
        reason: "no".into(),
        attempts: 1,
        first_failed_at: Timestamp(1),
        last_failed_at: Timestamp(2),
        is_doubtful: false,
    }
}

fn open(directory: &std::path::Path, max_bytes: u64) -> Letters {
    open_of(directory, max_bytes, u64::MAX)
}

/// Of a sink that has acknowledged so much.
fn open_of(directory: &std::path::Path, max_bytes: u64, acknowledged: u64) -> Letters {
    let new = NewState { key: HashKey::FIXED, deployment: 1, definitions: Vec::new() };
    let state = StateDir::open(directory, &new).unwrap();
    let (letters, _) = state.open_dead_letters("sink", DeadLetterOptions { max_bytes }).unwrap();
    Letters::on_disk(letters, acknowledged).unwrap()
}

fn superseded(letters: &Letters) -> Vec<(u64, Option<u64>)> {
    letters.read(None).unwrap().iter().map(|letter| (letter.id, letter.superseded_by)).collect()
}

#[test]
fn newer_deltas_of_the_same_supersede_older_ones_also_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    for is_on_disk in [false, true] {
        let mut letters = match is_on_disk {
            true => open(directory.path(), 1 << 20),
            false => Letters::in_memory(1 << 20),
        };
        assert!(letters.is_current());
        let all = [refusal(5, 0, 1), refusal(5, 0, 2), refusal(5, 1, 1), refusal(6, 0, 3)];
        assert_eq!(letters.add(&all).unwrap(), Added::All);
        assert_eq!(letters.add(&all[..2]).unwrap(), Added::All, "they are there already");
        // Of another segment, of another profile, not newer, and just refused.
        letters
            .taken(&[Arc::new(delta(6, 1, 2)), Arc::new(delta(4, 0, 1)), Arc::new(delta(5, 0, 2))])
            .unwrap();
        assert_eq!(superseded(&letters), [(1, None), (2, None), (3, None), (4, None)]);
        letters.taken(&[Arc::new(delta(7, 0, 1))]).unwrap();
        if is_on_disk {
            drop(letters);
            letters = open(directory.path(), 1 << 20);
        }
        // One that becomes a letter itself does the same.
        assert_eq!(letters.add(&[refusal(9, 0, 2)]).unwrap(), Added::All);
        assert_eq!(superseded(&letters), [(1, Some(7)), (2, Some(9)), (3, None), (4, None), (5, None)]);
        assert_eq!(letters.mark(Some(&BTreeSet::from([1, 4, 77]))).unwrap(), 2);
        // The first is superseded; what is of an epoch that is not acknowledged is not due.
        let due = |epoch| letters.due(epoch, 9).unwrap().iter().map(|letter| letter.id).collect::<Vec<_>>();
        assert_eq!((due(5), due(6)), (vec![1], vec![1, 4]));
        letters.failed(4, "again", 2, Timestamp(3)).unwrap();
        assert_eq!(letters.remove(Some(&BTreeSet::from([1]))).unwrap(), 1);
        assert!(!letters.is_due(u64::MAX));
        assert_eq!(letters.mark(None).unwrap(), 4);
        assert_eq!(letters.remove(None).unwrap(), 4);
        assert_eq!(
            (letters.counts().letters, letters.is_due(u64::MAX), letters.is_current()),
            (0, false, true)
        );
    }
}

#[test]
fn a_letter_that_is_taken_when_its_epoch_comes_again_after_a_crash_is_superseded() {
    let directory = tempfile::tempdir().unwrap();
    let letters = open(directory.path(), 1 << 20);
    let all = [refusal(5, 0, 1), refusal(5, 0, 2), refusal(6, 0, 3)];
    assert_eq!(letters.add(&all).unwrap(), Added::All);
    assert_eq!(letters.mark(None).unwrap(), 3);
    drop(letters);
    let letters = open(directory.path(), 1 << 20);
    assert!(!letters.is_due(4), "they are delivered once more with their epochs");
    // One is refused again.
    assert_eq!(letters.add(&all[1..2]).unwrap(), Added::All);
    letters.taken(&[Arc::new(delta(5, 0, 1)), Arc::new(delta(5, 0, 2))]).unwrap();
    assert_eq!(superseded(&letters), [(1, Some(5)), (2, None), (3, None)]);
    assert_eq!(letters.due(5, 9).unwrap().len(), 2);
}

/// The letters that are due once this epoch is delivered, and what each is superseded by.
fn due(letters: &Letters, delivered: u64) -> Vec<(u64, Option<u64>)> {
    letters.due(delivered, 9).unwrap().iter().map(|letter| (letter.id, letter.superseded_by)).collect()
}

#[test]
fn what_supersedes_counts_once_its_epoch_is_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let letters = open_of(directory.path(), 1 << 20, 4);
    assert_eq!(letters.add(&[refusal(5, 0, 1), refusal(5, 0, 2)]).unwrap(), Added::All);
    assert_eq!(letters.mark(None).unwrap(), 2);
    letters.supersede(&[Arc::new(delta(9, 0, 1))]).unwrap();
    assert_eq!(due(&letters, 5), [(1, Some(9)), (2, None)], "in this life nothing can take it back");
    drop(letters);
    // A crash before it was acknowledged: epoch 9 comes again, or never if the pipeline has changed.
    let letters = open_of(directory.path(), 1 << 20, 5);
    assert_eq!((due(&letters, 8), due(&letters, 9)), (vec![(2, None)], vec![(1, None), (2, None)]));
    letters.supersede(&[Arc::new(delta(9, 0, 1))]).unwrap();
    assert_eq!(due(&letters, 9), [(1, Some(9)), (2, None)]);
    drop(letters);
    let letters = open_of(directory.path(), 1 << 20, 9);
    assert_eq!(due(&letters, 9), [(1, Some(9)), (2, None)]);
}

#[test]
fn a_correction_supersedes_the_letters_it_makes_up_for_and_restores_those_that_were_to_be_superseded() {
    let directory = tempfile::tempdir().unwrap();
    let letters = open_of(directory.path(), 1 << 20, 9);
    let all = [refusal(5, 0, 1), refusal(5, 0, 2), refusal(12, 0, 3), refusal(21, 1, 4)];
    assert_eq!(letters.add(&all).unwrap(), Added::All);
    assert_eq!(letters.mark(None).unwrap(), 4);
    letters.supersede(&[Arc::new(delta(10, 0, 1))]).unwrap();
    drop(letters);
    // Epochs 10 to 20 do not come; 21 does. A start that fails behind it says the same once more.
    for _ in 0..2 {
        let letters = open_of(directory.path(), 1 << 20, 9);
        letters.corrected(9, 21).unwrap();
        assert_eq!(due(&letters, 9), [(1, None), (2, None)]);
        assert_eq!(due(&letters, 21), [(1, None), (2, None), (3, Some(21)), (4, None)]);
    }
    let letters = open_of(directory.path(), 1 << 20, 21);
    assert_eq!(due(&letters, 21), [(1, None), (2, None), (3, Some(21)), (4, None)]);
}

#[test]
fn when_there_is_no_room_it_says_how_many_are_letters() {
    let directory = tempfile::tempdir().unwrap();
    let letters = open(directory.path(), 900);
    let all: Vec<Refusal> = (1..20).map(|epoch| refusal(epoch, 0, epoch.into())).collect();
    let Added::Full(count) = letters.add(&all).unwrap() else { panic!("there is room for all") };
    assert!(count > 1 && letters.counts().letters == count as u64);
    letters.remove(None).unwrap();
    assert!(matches!(letters.add(&all[count..]).unwrap(), Added::Full(_)));
}

#[test]
fn in_memory_the_oldest_make_room() {
    let letters = Letters::in_memory(1_000);
    for epoch in 1..=50 {
        assert_eq!(letters.add(&[refusal(epoch, 0, epoch.into())]).unwrap(), Added::All);
        assert!(letters.counts().bytes <= 1_000);
    }
    let counts = letters.counts();
    assert_eq!(counts.letters + counts.dropped, 50);
    assert_eq!(letters.read(None).unwrap().last().unwrap().epoch, 50);
}
