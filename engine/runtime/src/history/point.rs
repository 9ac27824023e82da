//! State at the end of an epoch, which goes on with the log, and is taken apart or made a checkpoint of.

use std::{collections::BTreeMap, sync::Arc};

use tidewater_operators::{Plan, ingest::PaddedEvent};
use tidewater_storage::{Checkpoints, EpochEntry, Manifest, StateReader, StorageError};

use super::History;
use crate::{
    checkpoint::pieces::{kind, write_members, write_messages},
    error::Error,
    lockstep::Lockstep,
    retention::RetiredLog,
};

/// State at the end of an epoch, and what a checkpoint of it needs besides.
pub(crate) struct Point {
    pub(crate) lockstep: Lockstep,
    pub(super) positions: BTreeMap<String, Vec<u8>>,
    /// Messages of the dedup window that stood in a checkpoint, as its pieces.
    pub(super) messages: Vec<Vec<u8>>,
}

/// All there is of a state, in pieces.
pub(super) struct Pieces {
    /// Where it goes on; without definitions and files.
    pub(super) manifest: Manifest,
    pub(super) nodes: Vec<Vec<u8>>,
    pub(super) rest: Vec<Vec<u8>>,
    pub(super) aliases: Vec<Vec<u8>>,
    pub(super) messages: Vec<Vec<u8>>,
}

impl Point {
    /// Before the first epoch.
    pub(super) fn new(plan: Arc<Plan>, workers: usize) -> Result<Self, Error> {
        let mut lockstep = Lockstep::new(plan, workers)?;
        lockstep.assembler.note_changes();
        Ok(Self { lockstep, positions: BTreeMap::new(), messages: Vec::new() })
    }

    pub(super) fn restore(
        history: &History<'_>,
        plan: Arc<Plan>,
        manifest: &Manifest,
    ) -> Result<Self, Error> {
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

    pub(super) fn replay_from(
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
    pub(super) fn into_pieces(mut self) -> Result<Pieces, Error> {
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
