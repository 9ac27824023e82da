//! The net change of an epoch: what all workers found, put together, cancelled out, sorted, with its texts.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use tidewater_model::{
    Change, DeltaBatch, DeltaBatchBuilder, ProfileId, Timestamp,
    delta::{DeltaNames, MAX_LISTED_VALUES},
};

use crate::{
    activation::changes::{Cause, ChangeRow, Changes},
    store::Texts,
};

/// Puts the shares of all workers together: a profile that left on one worker and came back under the same id on
/// another one did not change.
pub fn merge(
    (epoch, now): (u64, Timestamp),
    names: &Arc<DeltaNames>,
    texts: &Texts,
    parts: &[Changes],
) -> DeltaBatch {
    let mut builder = DeltaBatchBuilder::new(epoch, now, Arc::clone(names));
    builder.reserve(parts.iter().map(|changes| changes.rows.len()).sum());
    let alive: FxHashMap<u128, (usize, u32)> = parts
        .iter()
        .enumerate()
        .flat_map(|(part, changes)| changes.alive.iter().map(move |(id, detail)| (*id, (part, *detail))))
        .collect();
    // A profile changes in many segments at once, so whole runs of rows are sorted, not rows.
    let mut runs: Vec<Run<'_>> = Vec::new();
    for (part, changes) in parts.iter().enumerate() {
        let of_profiles = changes.rows.chunk_by(|a, b| a.profile == b.profile);
        runs.extend(of_profiles.map(|rows| Run { key: (rows[0].profile, part, rows[0].detail), rows }));
    }
    runs.sort_unstable_by_key(|run| run.key);
    let mut last = Last::default();
    for runs in runs.chunk_by(|a, b| a.key.0 == b.key.0) {
        // Nearly always: one run that tells of each segment once, in order. Nothing is cancelled out.
        if let [Run { key: (_, part, _), rows }] = runs
            && rows.is_sorted_by(|a, b| a.segment < b.segment)
        {
            for row in *rows {
                add(&mut builder, texts, parts, &alive, (*part, row), &mut last);
            }
            continue;
        }
        let mut rows: Vec<(usize, &ChangeRow)> =
            runs.iter().flat_map(|run| run.rows.iter().map(|row| (run.key.1, row))).collect();
        // Exits before entries, so that the last row of a segment is the entry if there is one.
        let key = |(part, row): &(usize, &ChangeRow)| (row.segment, row.entered, *part, row.detail);
        if !rows.is_sorted_by_key(key) {
            rows.sort_unstable_by_key(key);
        }
        for run in rows.chunk_by(|a, b| a.1.segment == b.1.segment) {
            let net: i32 = run.iter().map(|(_, row)| if row.entered { 1 } else { -1 }).sum();
            let (part, row) = match net {
                0 => continue,
                1.. => run[run.len() - 1],
                _ => run[0],
            };
            add(&mut builder, texts, parts, &alive, (part, row), &mut last);
        }
    }
    builder.finish()
}

/// Rows of one profile, one after the other.
struct Run<'a> {
    /// Profile, worker and detail of the first: looked up once, and not with every comparison.
    key: (u128, usize, u32),
    rows: &'a [ChangeRow],
}

/// What the delta added last has: the next one often has the same.
#[derive(Default)]
struct Last {
    /// Worker and detail.
    reason: Option<(usize, u32)>,
    /// Worker and part of its `members`.
    members: Option<(usize, (u32, u32))>,
}

/// Adds the delta of one row.
fn add(
    builder: &mut DeltaBatchBuilder,
    texts: &Texts,
    parts: &[Changes],
    alive: &FxHashMap<u128, (usize, u32)>,
    (part, row): (usize, &ChangeRow),
    last: &mut Last,
) {
    let detail = &parts[part].details[row.detail as usize];
    let change = if row.entered { Change::Entered } else { Change::Exited };
    builder.delta(row.segment as usize, ProfileId(row.profile), change);
    if last.reason == Some((part, row.detail)) {
        builder.same_reason();
    } else {
        let reason = &parts[part].text[detail.reason.0 as usize..][..detail.reason.1 as usize];
        write_reason(builder, reason, detail.cause, row.profile);
        last.reason = Some((part, row.detail));
    }
    // A profile that left and came back without this membership still has identifiers of its own.
    let (part, members) = match alive.get(&row.profile).filter(|_| !row.entered) {
        Some((part, detail)) => (*part, parts[*part].details[*detail as usize].members),
        None => (part, detail.members),
    };
    if last.members == Some((part, members)) {
        builder.same_identifiers();
    } else {
        list_identifiers(builder, texts, &parts[part], members);
        last.members = Some((part, members));
    }
}

fn write_reason(builder: &mut DeltaBatchBuilder, reason: &str, cause: Cause, own: u128) {
    let id = |id: u128| ProfileId(id).to_string();
    match cause {
        Cause::Values => builder.reason(reason),
        Cause::Merged(into) if into == own => builder.reason("merged"),
        Cause::Merged(into) => builder.reason(&format!("merged into {}", id(into))),
        Cause::Solved => builder.reason("split"),
        Cause::Split(from) if from == own => builder.reason("split"),
        Cause::Split(from) => builder.reason(&format!("split from {}", id(from))),
    }
}

fn list_identifiers(builder: &mut DeltaBatchBuilder, texts: &Texts, part: &Changes, members: (u32, u32)) {
    let members = &part.members[members.0 as usize..members.1 as usize];
    if let [only] = members {
        texts.read(only.text, |text| builder.identifier(usize::from(only.rank), text));
        return;
    }
    let mut values: Vec<(u8, String)> =
        members.iter().map(|member| (member.rank, texts.read(member.text, str::to_owned))).collect();
    values.sort_unstable();
    for same in values.chunk_by(|a, b| a.0 == b.0) {
        let rank = usize::from(same[0].0);
        same.iter().take(MAX_LISTED_VALUES).for_each(|(_, value)| builder.identifier(rank, value));
        if let Some(rest) = same.len().checked_sub(MAX_LISTED_VALUES).filter(|rest| *rest > 0) {
            builder.more(rank, rest as u32);
        }
    }
}
