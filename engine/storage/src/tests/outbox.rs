//! First in, first out, bounded, and empty at the next start.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::{Outbox, OutboxOptions, Pushed};

fn outbox(state: &StateDir, max_bytes: u64, file_bytes: u64) -> Outbox {
    state.open_outbox("slow", OutboxOptions { max_bytes, file_bytes }).unwrap()
}

fn spilled(files: &SimFiles) -> Vec<PathBuf> {
    files.paths().into_iter().filter(|path| path.starts_with("state/outbox")).collect()
}

proptest! {
    #[test]
    fn batches_come_out_as_they_went_in(
        steps in prop::collection::vec(prop::option::weighted(0.6, 0usize..200), 1..200),
        max_bytes in 100u64..3000,
        file_bytes in 1u64..1000,
    ) {
        let files = SimFiles::new();
        let state = state(&files);
        let mut outbox = outbox(&state, max_bytes, file_bytes);
        let mut model: VecDeque<Vec<u8>> = VecDeque::new();
        for (index, step) in steps.into_iter().enumerate() {
            match step {
                Some(len) => {
                    let batch = vec![index as u8; len];
                    let room = model.is_empty() || outbox.bytes() + 20 + len as u64 <= max_bytes;
                    let pushed = outbox.push(&batch).unwrap();
                    prop_assert_eq!(pushed, if room { Pushed::Queued } else { Pushed::Full });
                    if room { model.push_back(batch) }
                }
                None => prop_assert_eq!(outbox.pop().unwrap(), model.pop_front()),
            }
            prop_assert_eq!(outbox.len(), model.len() as u64);
            prop_assert_eq!(outbox.is_empty(), spilled(&files).is_empty());
            let used: usize = spilled(&files).iter().map(|path| files.contents(path).unwrap().len()).sum();
            prop_assert!(used as u64 <= max_bytes.max(220) + 2 * (file_bytes + 260) + 40 * (model.len() as u64 + 1));
        }
    }
}

#[test]
fn nothing_is_left_at_the_next_start() {
    let files = SimFiles::new();
    let state = state(&files);
    let mut old = outbox(&state, 10_000, 100);
    for _ in 0..20 {
        assert_eq!(old.push(&[1; 50]).unwrap(), Pushed::Queued);
    }
    drop(old);
    assert!(!spilled(&files).is_empty());
    let mut new = outbox(&state, 10_000, 100);
    assert_eq!((new.pop().unwrap(), spilled(&files).len()), (None, 0));
}

#[test]
fn what_the_disk_changed_is_an_error() {
    let files = SimFiles::new();
    let state = state(&files);
    let mut outbox = outbox(&state, 10_000, 1000);
    assert_eq!(outbox.push(&[1; 50]).unwrap(), Pushed::Queued);
    let path = spilled(&files).remove(0);
    let mut bytes = files.contents(&path).unwrap();
    bytes[80] ^= 4;
    files.set_contents(&path, &bytes);
    assert!(matches!(outbox.pop(), Err(StorageError::Damaged { .. })));
}
