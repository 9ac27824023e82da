//! The state of a directory as of an epoch, through every change of its pipeline.
//!
//! An *era* is the time between two changes. Each begins with an epoch without events, in which memberships change from what
//! the old definitions say to what the new ones say; who stays a member is one since when it was. So state at any epoch, and
//! since when who is a member, follow from the log and the changes alone, whatever checkpoints there are.
//!
//! Where a change leaves identifiers and clock as they are, an era's first state is put together from the last one of the era
//! before: traits that are computed as before keep their values, new ones are filled from the log, and what the dedup window
//! knows goes on to be known. Else all of the log is computed anew.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use tidewater_model::{Dedup, HashKey, PipelineSpec, ProfileId, Timestamp};
use tidewater_operators::{
    Plan,
    ingest::{PaddedEvent, Refile},
    snapshot::{Conversion, Damaged, Filled, split_rest},
};
use tidewater_storage::{Checkpoints, EpochEntry, Manifest, StateReader, StorageError};

use crate::{
    checkpoint::{
        choose::fits,
        pieces::{kind, read_messages, write_members, write_messages},
        restore::{check, unreadable},
    },
    error::Error,
    lockstep::Lockstep,
    pipeline::{Definitions, Pipeline},
    rebuild::Stored,
    retention::RetiredLog,
};

mod foretold;

/// A state directory and the definitions it was run with, one after the other.
pub(crate) struct History<'a> {
    pub(crate) state: &'a StateReader,
    pub(crate) stored: &'a Stored,
    pub(crate) key: HashKey,
    /// How many workers compute it.
    pub(crate) workers: usize,
}

/// State at the end of an epoch, and what a checkpoint of it needs besides.
pub(crate) struct Point {
    pub(crate) lockstep: Lockstep,
    positions: BTreeMap<String, Vec<u8>>,
    /// Messages of the dedup window that stood in a checkpoint, as its pieces.
    messages: Vec<Vec<u8>>,
}

/// All there is of a state, in pieces.
struct Pieces {
    /// Where it goes on; without definitions and files.
    manifest: Manifest,
    nodes: Vec<Vec<u8>>,
    rest: Vec<Vec<u8>>,
    aliases: Vec<Vec<u8>>,
    messages: Vec<Vec<u8>>,
}

impl History<'_> {
    /// State at the end of an epoch, computed with the definitions that held then.
    pub(crate) fn at(&self, epoch: u64) -> Result<Point, Error> {
        let mut point = self.before(self.era_of(epoch), Some(epoch))?;
        point.replay(self.state, epoch, &mut |_| {})?;
        Ok(point)
    }

    /// The newest state of the present era that can be had without computing epochs of it.
    pub(crate) fn newest(&self) -> Result<Point, Error> {
        self.before(self.stored.rebuilds.len(), None)
    }

    /// The present era's first state, before its first epoch, if it is put together from the one before.
    pub(crate) fn converted(&self) -> Result<Option<Point>, Error> {
        let era = self.stored.rebuilds.len();
        if era == 0 {
            return Ok(None);
        }
        let plan = self.plan(era)?;
        self.conversion(era, &plan)?.map(|conversion| self.convert(era, &conversion, plan)).transpose()
    }

    fn before(&self, era: usize, epoch: Option<u64>) -> Result<Point, Error> {
        let plan = self.plan(era)?;
        if let Some(point) = self.checkpoint(era, epoch, &plan)? {
            return Ok(point);
        }
        if era > 0
            && let Some(conversion) = self.conversion(era, &plan)?
        {
            return self.convert(era, &conversion, plan);
        }
        Point::new(plan, self.workers)
    }

    /// The era that an epoch is in; that in which an era begins is its first.
    fn era_of(&self, epoch: u64) -> usize {
        self.stored.rebuilds.iter().take_while(|rebuild| rebuild.epoch <= epoch).count()
    }

    fn first_epoch(&self, era: usize) -> u64 {
        era.checked_sub(1).map_or(1, |before| self.stored.rebuilds[before].epoch)
    }

    fn definitions(&self, era: usize) -> &Definitions {
        self.stored.rebuilds.get(era).map_or(&self.stored.definitions, |rebuild| &rebuild.before)
    }

    fn plan(&self, era: usize) -> Result<Arc<Plan>, Error> {
        let pipeline = Pipeline::from_definitions(self.definitions(era))
            .map_err(|errors| Error::config(errors.to_string()))?;
        Ok(Plan::compile(pipeline.spec().clone(), self.key)?)
    }

    fn conversion(&self, era: usize, plan: &Plan) -> Result<Option<Conversion>, Error> {
        let old = self.plan(era - 1)?;
        Ok(Conversion::between(&old, plan))
    }

    /// The newest checkpoint of an era that is whole and not of a later epoch; without one, not behind the log.
    fn checkpoint(&self, era: usize, epoch: Option<u64>, plan: &Arc<Plan>) -> Result<Option<Point>, Error> {
        let is_of_era = |manifest: &Manifest| {
            manifest.epoch >= self.first_epoch(era)
                && fits(manifest, self.definitions(era))
                && epoch.map_or_else(|| self.is_logged(manifest.epoch), |epoch| manifest.epoch <= epoch)
        };
        for manifest in self.state.checkpoints()?.into_iter().flatten().filter(is_of_era) {
            let point = check(self.state, &manifest)
                .map_err(Error::from)
                .and_then(|()| Point::restore(self, Arc::clone(plan), &manifest));
            match point {
                Ok(point) => return Ok(Some(point)),
                // Damaged, or removed since by an engine that runs on the directory.
                Err(error) => tracing::warn!(%error, "a checkpoint is passed over"),
            }
        }
        Ok(None)
    }

    /// What is not in the log did not happen.
    fn is_logged(&self, epoch: u64) -> bool {
        let read = self.state.log(epoch).and_then(|mut log| log.read(&mut EpochEntry::default()));
        self.state.log_starts().is_ok_and(|starts| epoch + 1 == starts) || read.unwrap_or(false)
    }

    /// The first state of an era, before its first epoch, from the last one of the era before.
    fn convert(&self, era: usize, conversion: &Conversion, plan: Arc<Plan>) -> Result<Point, Error> {
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

impl Point {
    /// Before the first epoch.
    fn new(plan: Arc<Plan>, workers: usize) -> Result<Self, Error> {
        let mut lockstep = Lockstep::new(plan, workers)?;
        lockstep.assembler.note_changes();
        Ok(Self { lockstep, positions: BTreeMap::new(), messages: Vec::new() })
    }

    fn restore(history: &History<'_>, plan: Arc<Plan>, manifest: &Manifest) -> Result<Self, Error> {
        let mut point = Self::new(plan, history.workers)?;
        point.positions = manifest.positions.iter().cloned().collect();
        let messages = &mut point.messages;
        point.lockstep.restore(history.state, manifest, &mut |kind, piece| {
            if kind == kind::MESSAGES {
                messages.push(piece.to_vec());
            }
        })?;
        Ok(point)
    }

    /// Goes on to the end of an epoch, or of the log if that comes first.
    pub(crate) fn replay(
        &mut self,
        state: &StateReader,
        until: u64,
        each: &mut dyn FnMut(&EpochEntry),
    ) -> Result<(), Error> {
        self.replay_from(state, self.lockstep.assembler.epoch() + 1, until, each)
    }

    fn replay_from(
        &mut self,
        state: &StateReader,
        from: u64,
        until: u64,
        each: &mut dyn FnMut(&EpochEntry),
    ) -> Result<(), Error> {
        if from > until {
            return Ok(());
        }
        if let Some(retired) = RetiredLog::of(state)?.filter(|retired| from < retired.starts) {
            return Err(retired.lacks("what is to be computed"));
        }
        let mut log = state.log(from)?;
        let mut entry = EpochEntry::default();
        while self.lockstep.assembler.epoch() < until && log.read(&mut entry)? {
            let events = (0..entry.events.len()).filter_map(|index| {
                let (buffer, len) = entry.events.padded(index)?;
                PaddedEvent::new(buffer, len)
            });
            let inputs = self.lockstep.assembler.replay(&entry.header, events);
            self.lockstep.compute(inputs)?;
            self.positions.extend(entry.header.positions.iter().cloned());
            each(&entry);
        }
        Ok(())
    }

    /// Takes it apart.
    fn into_pieces(mut self) -> Result<Pieces, Error> {
        let (mut nodes, mut rest) = (Vec::new(), Vec::new());
        self.lockstep.pieces(&mut |kind, piece| {
            if kind == kind::NODES {
                nodes.push(piece)
            } else {
                rest.push(piece)
            }
            Ok(())
        })?;
        Ok(Pieces { nodes, rest, ..self.acceptance()? })
    }

    /// All of it but nodes, and what stands beside them.
    fn acceptance(&mut self) -> Result<Pieces, Error> {
        let snapshot = self.lockstep.assembler.snapshot(true);
        let mut messages = std::mem::take(&mut self.messages);
        write_messages(&snapshot.messages, |piece| {
            messages.push(piece.to_vec());
            Ok::<(), Error>(())
        })?;
        let manifest = Manifest {
            epoch: snapshot.epoch,
            now: snapshot.now,
            latest: snapshot.latest,
            dedup_half: snapshot.dedup_half,
            next_place: snapshot.next_place,
            positions: std::mem::take(&mut self.positions).into_iter().collect(),
            definitions: Vec::new(),
            delivered: Vec::new(),
            files: Vec::new(),
            is_base: false,
        };
        let (nodes, rest) = (Vec::new(), Vec::new());
        Ok(Pieces { manifest, nodes, rest, aliases: snapshot.aliases, messages })
    }

    /// Makes a checkpoint of it.
    pub(crate) fn write(mut self, store: &Checkpoints, definitions: Vec<u8>) -> Result<Manifest, Error> {
        let Pieces { mut manifest, aliases, messages, .. } = self.acceptance()?;
        let members = self.lockstep.memberships()?;
        let members =
            members.iter().map(|member| ((member.segment as u32, member.profile), Some(member.since)));
        let mut failed = None;
        let file = store.write_state(manifest.epoch, |writer| {
            aliases.iter().try_for_each(|piece| writer.append(kind::ALIASES, piece))?;
            let written = self.lockstep.pieces(&mut |kind, piece| Ok(writer.append(kind, &piece)?));
            written.map_err(|error| {
                let detail = error.to_string();
                failed = Some(error);
                StorageError::Refused { detail }
            })?;
            // Ends the nodes, as in every other state file.
            writer.append(kind::REST, &[])?;
            messages.iter().try_for_each(|piece| writer.append(kind::MESSAGES, piece))?;
            write_members(members, |piece| writer.append(kind::MEMBERS, piece))
        });
        let file = file.map_err(|error| failed.unwrap_or_else(|| error.into()))?;
        (manifest.definitions, manifest.files) = (definitions, vec![file]);
        store.commit(&manifest)?;
        Ok(manifest)
    }
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
