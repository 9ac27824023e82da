//! The first state of an era out of the last one of the era before.

use std::{collections::HashMap, sync::Arc};

use tidewater_model::{Dedup, PipelineSpec, ProfileId, Timestamp};
use tidewater_operators::{
    Plan,
    ingest::Refile,
    snapshot::{Conversion, Damaged, Filled, split_rest},
};

use super::{History, Point, point::Pieces};
use crate::{
    checkpoint::{
        pieces::{kind, read_messages, write_messages},
        restore::unreadable,
    },
    error::Error,
    lockstep::Lockstep,
    retention::RetiredLog,
};

impl History<'_> {
    /// The first state of an era, before its first epoch, from the last one of the era before.
    pub(super) fn convert(
        &self,
        era: usize,
        conversion: &Conversion,
        plan: Arc<Plan>,
    ) -> Result<Point, Error> {
        let epoch = self.first_epoch(era) - 1;
        let mut old = self.before(era - 1, Some(epoch))?;
        old.replay(self.state, epoch, &mut |_| {})?;
        let before = members(&mut old.lockstep)?;
        let old_plan = Arc::clone(&old.lockstep.plan);
        let mut pieces = old.into_pieces()?;
        refile(&mut pieces, old_plan.spec().dedup, plan.spec().dedup)?;
        let (links, mut waiting) = split_waiting(&old_plan, &mut pieces)?;
        let mut filled = Filled::default();
        let is_waiting = waiting.iter().any(|piece| !piece.is_empty());
        if !conversion.is_complete() || is_waiting && !conversion.keeps_events() {
            let kept = count(&waiting, |piece| conversion.kept_events(&old_plan, piece))?;
            waiting = self.fill(conversion, &plan, epoch, &mut filled)?;
            self.check_waiting(kept, count(&waiting, |piece| conversion.filled_events(&plan, piece))?)?;
        }
        let mut new = Point::new(plan, self.workers)?;
        let manifest = &pieces.manifest;
        new.lockstep.begin_restore(manifest);
        let converted = |piece: Vec<u8>| conversion.nodes(&piece, &filled).map_err(unreadable);
        for piece in pieces.nodes {
            new.lockstep.read(kind::NODES, converted(piece)?)?;
        }
        for piece in &pieces.messages {
            new.lockstep.read(kind::MESSAGES, piece.clone())?;
        }
        for piece in pieces.aliases {
            new.lockstep.read(kind::ALIASES, piece)?;
        }
        for piece in links.into_iter().chain(waiting).filter(|piece| !piece.is_empty()) {
            new.lockstep.read(kind::REST, piece)?;
        }
        new.lockstep.end_restore()?;
        // The first epoch of the era has the same `now` as the last one before: it is the one that lets them in.
        new.lockstep.set_since(|segment, profile| {
            before.get(&(segment.to_owned(), profile)).copied().unwrap_or(manifest.now)
        })?;
        (new.messages, new.positions) = (pieces.messages, manifest.positions.iter().cloned().collect());
        Ok(new)
    }

    /// Those that wait for their time must all be found in the log, since what new traits take from them was not kept. How long
    /// they may wait says nothing: `max_future` may have been any when they were accepted.
    fn check_waiting(&self, kept: usize, found: usize) -> Result<(), Error> {
        match RetiredLog::of(self.state)? {
            Some(retired) if found < kept => Err(retired
                .lacks("a changed trait, while retired events dated in the future wait for their time,")),
            _ => Ok(()),
        }
    }

    /// Computes the traits that are new from what there is of the log; returns the events that wait for their time.
    fn fill(
        &self,
        conversion: &Conversion,
        plan: &Plan,
        epoch: u64,
        filled: &mut Filled,
    ) -> Result<Vec<Vec<u8>>, Error> {
        let names: Vec<&str> =
            conversion.missing().map(|index| plan.spec().traits[index].name.as_str()).collect();
        tracing::info!(traits = names.join(", "), "filling new traits from the log");
        let spec = PipelineSpec { segments: Vec::new(), ..plan.spec().clone() };
        let mut point = Point::new(Plan::compile(spec, self.key)?, self.workers)?;
        point.replay_from(self.state, self.state.log_starts()?, epoch, &mut |_| {})?;
        let mut waiting = Vec::new();
        point.lockstep.pieces(&mut |kind, piece| {
            if kind == kind::NODES {
                conversion.fill(&piece, filled).map_err(unreadable)?;
            } else {
                waiting.push(split_rest(plan, &piece).map_err(unreadable)?.1);
            }
            Ok(())
        })?;
        Ok(waiting)
    }
}

/// Pieces of what is not stored with a node.
type Rest = Vec<Vec<u8>>;

/// The links that were taken back, and the events that wait for their time, of all pieces that hold such; these are given up.
fn split_waiting(plan: &Plan, pieces: &mut Pieces) -> Result<(Rest, Rest), Error> {
    let rest = std::mem::take(&mut pieces.rest);
    let split: Result<Vec<_>, _> = rest.iter().map(|piece| split_rest(plan, piece)).collect();
    Ok(split.map_err(unreadable)?.into_iter().unzip())
}

/// Files messages that are remembered by the halves of another dedup window.
fn refile(pieces: &mut Pieces, old: Dedup, new: Dedup) -> Result<(), Error> {
    if old == new {
        return Ok(());
    }
    let refile = Refile::new((old, pieces.manifest.dedup_half), new, pieces.manifest.now);
    for piece in std::mem::take(&mut pieces.messages) {
        let (half, entries) = read_messages(&piece).map_err(unreadable)?;
        let Some(half) = refile.half(half) else { continue };
        let refiled = vec![(half, entries.map(|entry| Refile::entry(half, entry)).collect())];
        write_messages(&refiled, |piece| {
            pieces.messages.push(piece.to_vec());
            Ok::<(), Error>(())
        })?;
    }
    pieces.manifest.dedup_half = refile.current_half();
    Ok(())
}

/// Adds up what there is of something in pieces.
fn count(pieces: &[Vec<u8>], each: impl Fn(&[u8]) -> Result<usize, Damaged>) -> Result<usize, Error> {
    pieces.iter().try_fold(0, |sum, piece| Ok(sum + each(piece).map_err(unreadable)?))
}

/// Since when who is a member, by the segment's name.
fn members(lockstep: &mut Lockstep) -> Result<HashMap<(String, ProfileId), Timestamp>, Error> {
    let names = Arc::clone(lockstep.names());
    let name = |segment: usize| names.segments()[segment].clone();
    let members = lockstep.memberships()?;
    Ok(members.into_iter().map(|member| ((name(member.segment), member.profile), member.since)).collect())
}
