//! Windowed traits: panes come in with events and leave with time, and the value follows exactly.
//!
//! Panes hold events whose time has come (`t <= now`); events dated in the future wait outside (see
//! `identity::fold`). A pane at rounded time `u` is inside while `u + length > now`.

use crate::{
    profile::{
        aggregate,
        layout::{Layout, TraitLayout, WindowLayout},
    },
    store::{PanePool, Panes, TraitTexts},
};

/// An event's time rounded up to the window's resolution.
#[inline]
pub(crate) fn round_up(time: i64, resolution: i64) -> i64 {
    if resolution == 1 {
        time
    } else {
        time.div_euclid(resolution)
            .saturating_add((time.rem_euclid(resolution) != 0) as i64)
            .saturating_mul(resolution)
    }
}

/// Whether a pane at rounded time `up` is outside at `now`.
#[inline]
fn is_outside(up: i64, window: &WindowLayout, now: i64) -> bool {
    up.saturating_add(window.length) <= now
}

/// Takes an event at `time <= now` into a windowed trait of `record`.
pub(crate) fn take_in(
    (place, window): (&TraitLayout, &WindowLayout),
    record: &mut [u64],
    values: usize,
    (time, value): (i64, &[u64]),
    now: i64,
    (pool, texts): (&mut PanePool, &TraitTexts),
) {
    let up = round_up(time, window.resolution);
    if is_outside(up, window, now) {
        return;
    }
    let own = values + usize::from(place.word);
    let words = place.kind.words();
    let handle = usize::from(window.panes);
    let mut panes = Panes::from_words(&record[handle..]);
    // A quiet record keeps its expired panes until it is read or written; here is the time to drop them.
    trim_run(place, window, &mut panes, &mut record[own..own + words], now, (&mut *pool, texts));
    if aggregate::take_in(place.kind, &mut record[own..own + words], time, value, texts) {
        let (pane, made) = pool.at(&mut panes, words + 1, up);
        if made {
            place.kind.clear(pane);
        }
        aggregate::take_in(place.kind, pane, time, value, texts);
    }
    panes.store(&mut record[handle..]);
}

/// Drops the panes of a record that are outside at `now` and corrects its values.
pub(crate) fn trim(
    layout: &Layout,
    record: &mut [u64],
    now: i64,
    (pool, texts): (&mut PanePool, &TraitTexts),
) {
    for place in &layout.traits {
        let Some(window) = &place.window else { continue };
        let handle = usize::from(window.panes);
        let mut panes = Panes::from_words(&record[handle..]);
        if panes.len() == 0 {
            continue;
        }
        let own = layout.values + usize::from(place.word);
        let words = &mut record[own..own + place.kind.words()];
        trim_run(place, window, &mut panes, words, now, (&mut *pool, texts));
        panes.store(&mut record[handle..]);
    }
}

fn trim_run(
    place: &TraitLayout,
    window: &WindowLayout,
    panes: &mut Panes,
    words: &mut [u64],
    now: i64,
    (pool, texts): (&mut PanePool, &TraitTexts),
) {
    let width = place.kind.words() + 1;
    let run = pool.get(*panes, width);
    let mut expired = 0;
    let mut anew = false;
    for pane in run.chunks_exact(width) {
        if !is_outside(pane[0] as i64, window, now) {
            break;
        }
        anew |= !aggregate::take_out(place.kind, words, &pane[1..]);
        expired += 1;
    }
    if anew {
        place.kind.clear(words);
        for pane in run.chunks_exact(width).skip(expired) {
            aggregate::combine(place.kind, words, &pane[1..], texts);
        }
    }
    if expired > 0 {
        pool.drop_first(panes, width, expired);
    }
}

/// Puts panes, as words of (rounded time, aggregate), into a windowed trait of `record`.
pub(crate) fn combine(
    (place, window): (&TraitLayout, &WindowLayout),
    record: &mut [u64],
    values: usize,
    other: &[u64],
    now: i64,
    (pool, texts): (&mut PanePool, &TraitTexts),
) {
    #[cfg(feature = "planted-bugs")]
    if crate::planted::active(crate::planted::Bug::WindowMergeDropsPanes) {
        return;
    }
    let width = place.kind.words() + 1;
    let own = values + usize::from(place.word);
    let handle = usize::from(window.panes);
    let mut panes = Panes::from_words(&record[handle..]);
    for source in other.chunks_exact(width) {
        let up = source[0] as i64;
        if is_outside(up, window, now) {
            continue;
        }
        let (pane, made) = pool.at(&mut panes, width, up);
        if made {
            pane.copy_from_slice(&source[1..]);
        } else {
            aggregate::combine(place.kind, pane, &source[1..], texts);
        }
        aggregate::combine(place.kind, &mut record[own..own + width - 1], &source[1..], texts);
    }
    panes.store(&mut record[handle..]);
}

/// When the oldest pane leaves the window.
pub(crate) fn next_expiry(
    place: &TraitLayout,
    window: &WindowLayout,
    record: &[u64],
    pool: &PanePool,
) -> Option<i64> {
    let panes = Panes::from_words(&record[usize::from(window.panes)..]);
    let run = pool.get(panes, place.kind.words() + 1);
    run.first().map(|up| (*up as i64).saturating_add(window.length))
}

/// For a windowed count of at least `k`: when the k-th newest event leaves the window.
pub(crate) fn falls_below(window: &WindowLayout, record: &[u64], pool: &PanePool, k: u64) -> Option<i64> {
    let panes = Panes::from_words(&record[usize::from(window.panes)..]);
    let mut seen = 0;
    for pane in pool.get(panes, 2).chunks_exact(2).rev() {
        seen += pane[1];
        if seen >= k {
            return Some((pane[0] as i64).saturating_add(window.length));
        }
    }
    None
}
