//! Dead letters are kept until they have gone, with what became of them; full is said, and nothing synced is lost.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::sim::Operation;
use crate::{Appended, DeadLetterOptions, DeadLetters, NewDeadLetter, StoredDeadLetter};

fn open(state: &StateDir, max_bytes: u64) -> DeadLetters {
    state.open_dead_letters("Ads", DeadLetterOptions { max_bytes }).unwrap().0
}

fn append(letters: &mut DeadLetters, epoch: u64) -> Appended {
    let letter = NewDeadLetter {
        epoch,
        cause: "refused",
        reason: "no such audience",
        attempts: 3,
        first_failed_at: Timestamp(epoch as i64),
        last_failed_at: Timestamp(epoch as i64 + 5),
        context: b"names",
        bytes: &vec![epoch as u8; epoch as usize % 40],
    };
    letters.append(&letter).unwrap()
}

fn expected(id: u64, epoch: u64) -> StoredDeadLetter {
    StoredDeadLetter {
        id,
        epoch,
        cause: "refused".into(),
        reason: "no such audience".into(),
        attempts: 3,
        first_failed_at: Timestamp(epoch as i64),
        last_failed_at: Timestamp(epoch as i64 + 5),
        superseded_by: None,
        is_marked: false,
        context: b"names".to_vec(),
        bytes: vec![epoch as u8; epoch as usize % 40],
    }
}

fn read(letters: &DeadLetters) -> Vec<StoredDeadLetter> {
    letters.read(None).unwrap().map(Result::unwrap).collect()
}

proptest! {
    #[test]
    fn it_holds_what_has_not_gone(steps in prop::collection::vec((0..9u8, 0..40u64), 1..120)) {
        let files = SimFiles::new();
        let mut directory = Some(state(&files));
        let mut letters = open(directory.as_ref().unwrap(), 1 << 20);
        let mut model: BTreeMap<u64, StoredDeadLetter> = BTreeMap::new();
        let mut next_id = 1;
        for (step, number) in steps {
            let ids: BTreeSet<u64> = model.keys().copied().filter(|id| id % 4 == number % 4).collect();
            match step {
                0..=2 => {
                    prop_assert_eq!(append(&mut letters, number), Appended::Stored(next_id));
                    letters.sync().unwrap();
                    model.insert(next_id, expected(next_id, number));
                    next_id += 1;
                }
                3 => {
                    letters.mark(&ids).unwrap();
                    ids.iter().for_each(|id| model.get_mut(id).unwrap().is_marked = true);
                }
                4 => if let Some((&id, letter)) = model.iter_mut().nth(number as usize) {
                    letters.failed(id, "again", 4, Timestamp(99)).unwrap();
                    (letter.is_marked, letter.reason) = (false, "again".into());
                    (letter.attempts, letter.last_failed_at) = (4, Timestamp(99));
                },
                5 => {
                    letters.superseded(&ids, number).unwrap();
                    ids.iter().for_each(|id| model.get_mut(id).unwrap().superseded_by = Some(number));
                }
                6 => {
                    letters.restore(&ids).unwrap();
                    ids.iter().for_each(|id| model.get_mut(id).unwrap().superseded_by = None);
                }
                7 => {
                    letters.remove(&ids).unwrap();
                    model.retain(|id, _| !ids.contains(id));
                }
                _ => {
                    drop((letters, directory.take()));
                    files.crash(number);
                    directory = Some(state(&files));
                    letters = open(directory.as_ref().unwrap(), 1 << 20);
                }
            }
            let all: Vec<StoredDeadLetter> = model.values().cloned().collect();
            prop_assert_eq!(read(&letters), all.clone());
            prop_assert_eq!(letters.len(), all.len() as u64);
            let outside: Vec<_> = reader(&files).dead_letters("Ads").unwrap().map(Result::unwrap).collect();
            prop_assert_eq!(outside, all);
            let some: Vec<u64> =
                letters.read(Some(ids.clone())).unwrap().map(|letter| letter.unwrap().id).collect();
            prop_assert_eq!(some, ids.into_iter().filter(|id| model.contains_key(id)).collect::<Vec<_>>());
        }
    }
}

#[test]
fn it_says_when_it_is_full_and_takes_more_once_some_have_gone() {
    let files = SimFiles::new();
    let state = state(&files);
    let mut letters = open(&state, 600);
    let mut count = 0;
    while append(&mut letters, 7) != Appended::Full {
        count += 1;
    }
    assert!(count > 3 && letters.bytes() <= 600);
    assert_eq!(append(&mut letters, 7), Appended::Full);
    letters.remove(&BTreeSet::from([1, 2])).unwrap();
    assert_eq!(append(&mut letters, 7), Appended::Stored(count + 1));
    assert_eq!(read(&letters).len() as u64, count - 1);
    assert!(reader(&files).dead_letters("nobody").unwrap().next().is_none());
}

#[test]
fn a_copy_is_made_only_where_it_makes_the_room_that_is_needed() {
    let files = SimFiles::new();
    let state = state(&files);
    let mut letters = open(&state, 600);
    while append(&mut letters, 0) != Appended::Full {}
    // A note that the next one replaces: too little for a letter.
    (0..2).for_each(|round| letters.failed(1, "no", round, Timestamp(1)).unwrap());
    let before = files.count(Operation::Rename);
    (0..5).for_each(|_| assert_eq!(append(&mut letters, 0), Appended::Full));
    assert_eq!(files.count(Operation::Rename), before);
}

#[test]
fn what_is_of_no_use_is_left_until_it_is_more_than_the_rest() {
    let files = SimFiles::new();
    let state = state(&files);
    let mut letters = open(&state, 1 << 20);
    let large = NewDeadLetter {
        epoch: 1,
        cause: "refused",
        reason: "no",
        attempts: 1,
        first_failed_at: Timestamp(0),
        last_failed_at: Timestamp(0),
        context: b"names",
        bytes: &[7; 200 << 10],
    };
    assert_eq!(letters.append(&large).unwrap(), Appended::Stored(1));
    letters.sync().unwrap();
    let (before, needed) = (files.count(Operation::Rename), letters.bytes());
    let reason = "no".repeat(2_000);
    let mut most = 0;
    for round in 0.. {
        letters.failed(1, &reason, round, Timestamp(1)).unwrap();
        if files.count(Operation::Rename) > before {
            break;
        }
        most = letters.bytes();
    }
    assert!((2 * needed..2 * needed + 20_000).contains(&most), "{most} bytes, of which {needed} are needed");
}

#[test]
fn letters_that_fail_again_and_again_take_a_bounded_room() {
    let files = SimFiles::new();
    let first = state(&files);
    let mut letters = open(&first, 100_000);
    let all: BTreeSet<u64> = (1..=20).collect();
    all.iter().for_each(|epoch| assert_eq!(append(&mut letters, *epoch), Appended::Stored(*epoch)));
    letters.sync().unwrap();
    let before = files.count(Operation::Rename);
    let mut written = 0;
    for round in 0..500 {
        let len = letters.bytes();
        letters.mark(&all).unwrap();
        all.iter().for_each(|id| letters.failed(*id, "no, not now", round, Timestamp(1)).unwrap());
        written += letters.bytes().saturating_sub(len);
        assert!(letters.bytes() < 100_000, "{} bytes in round {round}", letters.bytes());
    }
    let replaced = files.count(Operation::Rename) - before;
    assert!(written > 200_000 && replaced <= 1 + (written >> 16), "{replaced} times for {written} bytes");
    assert_eq!(append(&mut letters, 21), Appended::Stored(21), "there is room");
    letters.sync().unwrap();
    let found = read(&letters);
    assert!(found[..20].iter().all(|letter| letter.attempts == 499 && !letter.is_marked));
    // Opened, it is as small as can be, and is left alone then.
    drop((letters, first));
    let opened = |files: &SimFiles| {
        let state = state(files);
        let letters = open(&state, 100_000);
        assert_eq!(read(&letters), found);
        (letters.bytes(), files.count(Operation::Rename))
    };
    let (bytes, renames) = opened(&files);
    assert!(bytes < 5_000, "{bytes}");
    assert_eq!(opened(&files), (bytes, renames));
}

#[test]
fn a_torn_tail_is_cut_and_damage_before_it_is_an_error() {
    let files = SimFiles::new();
    let first = state(&files);
    let mut letters = open(&first, 1 << 20);
    for epoch in 1..=3 {
        let _ = append(&mut letters, epoch);
        letters.sync().unwrap();
    }
    drop((letters, first));
    let path = PathBuf::from("state/dead_letters/%41ds");
    let whole = files.contents(&path).unwrap();
    for len in 40..whole.len() {
        let copy = files.fork();
        copy.set_contents(&path, &whole[..len]);
        let state = state(&copy);
        let found = read(&open(&state, 1 << 20));
        assert!(found.len() < 3);
        assert_eq!(found, (1..=found.len() as u64).map(|id| expected(id, id)).collect::<Vec<_>>());
    }
    let mut bytes = whole.clone();
    bytes[70] ^= 1;
    files.set_contents(&path, &bytes);
    let damaged = state(&files).open_dead_letters("Ads", DeadLetterOptions::default());
    assert!(matches!(damaged, Err(StorageError::Damaged { .. })));
}
