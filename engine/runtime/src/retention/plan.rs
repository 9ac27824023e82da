//! Which log files may go, and which checkpoint is the base of the rest. Plain data in, plain data out.

use std::collections::BTreeSet;

use tidewater_model::Timestamp;
use tidewater_storage::{Manifest, SealedFile};

/// How much of the log is kept; `None`: all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Limits {
    /// A file goes once its newest epoch was accepted longer ago.
    pub(super) keep_ms: Option<u64>,
    /// The oldest go while all files together have more bytes.
    pub(super) keep_bytes: Option<u64>,
}

impl Limits {
    pub(super) fn is_any(&self) -> bool {
        self.keep_ms.is_some() || self.keep_bytes.is_some()
    }
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Retirement {
    /// Where the log begins then.
    pub(super) log_starts: u64,
    /// Which of the checkpoints is the base.
    pub(super) base: usize,
}

/// Plans, given the sealed files, oldest first, with the bytes of the whole log, and the checkpoints, newest first.
pub(super) fn plan(
    limits: &Limits,
    (sealed, mut bytes): (&[SealedFile], u64),
    checkpoints: &[Manifest],
    is_delivered: impl Fn(&Manifest) -> bool,
    wall: Timestamp,
) -> Option<Retirement> {
    let is_over = |file: &&SealedFile| {
        let is_old = limits
            .keep_ms
            .is_some_and(|keep| i128::from(file.accepted_until.0) + i128::from(keep) < i128::from(wall.0));
        let is_over = is_old || limits.keep_bytes.is_some_and(|keep| bytes > keep);
        bytes = bytes.saturating_sub(file.bytes);
        is_over
    };
    let over = sealed.iter().take_while(is_over).count();
    // From the newest checkpoint on that a restart could begin with, the log is needed.
    let usable: Vec<usize> = (0..checkpoints.len()).filter(|at| is_delivered(&checkpoints[*at])).collect();
    let newest = &checkpoints[*usable.first()?];
    let last = sealed[..over].iter().rfind(|file| file.next_epoch <= newest.epoch + 1)?;
    // The oldest one that will do, so that more of the log stands behind it.
    let base = usable.into_iter().rfind(|at| checkpoints[*at].epoch + 1 >= last.next_epoch)?;
    Some(Retirement { log_starts: last.next_epoch, base })
}

/// The epochs of checkpoints, given newest first, that are kept for the log's sake: the base and, if the log is to be
/// retired further, some between it and the newest one. Of these each is followed by another within half of the events
/// there are, so that the next base has a good part of the log behind it; they are four at most.
pub(super) fn pinned(all: &[Manifest], is_limited: bool) -> BTreeSet<u64> {
    let base = all.iter().find(|manifest| manifest.is_base);
    let mut pinned: BTreeSet<u64> = base.iter().map(|base| base.epoch).collect();
    let from = base.map_or(0, |base| base.epoch);
    let oldest_first: Vec<&Manifest> = all.iter().rev().filter(|manifest| manifest.epoch >= from).collect();
    let (Some(oldest), Some(newest), true) = (oldest_first.first(), oldest_first.last(), is_limited) else {
        return pinned;
    };
    pinned.insert(oldest.epoch);
    let most = (newest.next_place - oldest.next_place) / 2;
    let mut before = oldest.next_place;
    for pair in oldest_first.windows(2) {
        if pair[1].next_place - before > most && pair[0].next_place > before {
            pinned.insert(pair[0].epoch);
            before = pair[0].next_place;
        }
    }
    pinned
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(epoch: u64, next_place: u64, is_base: bool) -> Manifest {
        Manifest {
            epoch,
            now: Timestamp(0),
            latest: Timestamp(0),
            dedup_half: 0,
            next_place,
            positions: Vec::new(),
            definitions: Vec::new(),
            delivered: Vec::new(),
            files: Vec::new(),
            is_base,
        }
    }

    /// Files of ten epochs and a hundred bytes, each accepted at its last epoch's number in seconds.
    fn files(count: u64) -> Vec<SealedFile> {
        let file = |n: u64| SealedFile {
            first_epoch: n * 10 + 1,
            next_epoch: n * 10 + 11,
            bytes: 100,
            raw_bytes: 1000,
            accepted_until: Timestamp(n as i64 * 10_000 + 10_000),
        };
        (0..count).map(file).collect()
    }

    fn planned(limits: Limits, checkpoints: &[u64], undelivered: &[u64]) -> Option<(u64, u64)> {
        let all: Vec<Manifest> = checkpoints.iter().map(|epoch| manifest(*epoch, *epoch, false)).collect();
        let is_delivered = |manifest: &Manifest| !undelivered.contains(&manifest.epoch);
        let planned = plan(&limits, (&files(5), 550), &all, is_delivered, Timestamp(100_000));
        planned.map(|planned| (planned.log_starts, all[planned.base].epoch))
    }

    #[test]
    fn files_go_by_age_and_size_and_never_past_a_checkpoint() {
        let none = Limits::default();
        let age = |keep_ms| Limits { keep_ms: Some(keep_ms), ..none };
        let size = |keep_bytes| Limits { keep_bytes: Some(keep_bytes), ..none };
        assert_eq!(planned(none, &[60, 50], &[]), None);
        assert_eq!(planned(age(100_000), &[60, 50], &[]), None);
        assert_eq!(planned(age(75_000), &[60, 50], &[]), Some((21, 50)));
        assert_eq!(planned(age(70_000), &[60, 50], &[]), Some((21, 50)), "one that is just so old stays");
        assert_eq!(planned(size(550), &[60, 50], &[]), None);
        assert_eq!(planned(size(549), &[60, 50], &[]), Some((11, 50)));
        assert_eq!(planned(size(0), &[60, 50], &[]), Some((51, 50)));
        assert_eq!(planned(size(0), &[60, 33, 25], &[]), Some((51, 60)));
        assert_eq!(planned(size(400), &[60, 33, 25], &[]), Some((21, 25)), "the oldest that will do");
        assert_eq!(planned(size(0), &[33, 25], &[]), Some((31, 33)), "no checkpoint holds the rest");
        assert_eq!(planned(size(0), &[60, 33, 25], &[60]), Some((31, 33)), "a sink lags");
        assert_eq!(planned(size(0), &[60, 33], &[60, 33]), None, "a sink needs all of the log");
        assert_eq!(planned(size(0), &[8], &[]), None, "the first file is needed");
        assert_eq!(planned(size(0), &[], &[]), None);
    }

    #[test]
    fn the_base_is_kept_and_some_between_it_and_the_newest() {
        let pin = |all: &[Manifest], is_limited| pinned(all, is_limited).into_iter().collect::<Vec<_>>();
        let mut all: Vec<Manifest> = (1..=100).rev().map(|n| manifest(n, n * 10, false)).collect();
        assert_eq!(pin(&all, false), [0; 0]);
        assert_eq!(pin(&all, true), [1, 50, 99]);
        all[40].is_base = true;
        all[80].is_base = true;
        assert_eq!(pin(&all, false), [60], "the later base");
        assert_eq!(pin(&all, true), [60, 80]);
        // One after the other, as they come: never many, and never a gap of more than about half.
        let mut kept: Vec<Manifest> = Vec::new();
        for n in 1..=500u64 {
            kept.insert(0, manifest(n, n * 10, false));
            let pinned = pinned(&kept, true);
            let newest = kept[0].epoch;
            kept.retain(|manifest| pinned.contains(&manifest.epoch) || manifest.epoch + 2 > newest);
            assert!(kept.len() <= 7, "{}", kept.len());
            let gap = kept.windows(2).map(|pair| pair[0].epoch - pair[1].epoch).max().unwrap_or(0);
            assert!(gap <= n / 2 + 1, "{gap} of {n}");
        }
        assert_eq!(pin(&[], true), [0; 0]);
    }
}
