//! Sinks that are new: they begin with who is a member, not with all that ever happened.
//!
//! What such a sink is given first stands in its outbox, durably, before the sink is opened: whatever crashes then, it gets
//! the very same again.

use std::{collections::HashMap, sync::Arc};

use tidewater_model::{Change, DeltaBatch, DeltaBatchBuilder, delta::MAX_LISTED_VALUES};
use tidewater_operators::Plan;
use tidewater_storage::{Manifest, NewBatch, Pushed, StateReader, StorageError};

use crate::{delivery::codec, error::Error, lockstep::Lockstep, opening::OpenSink};

/// Gives the sinks that are new the members as of a checkpoint, which the engine is to begin with.
pub(crate) fn give_members(
    state: &StateReader,
    plan: &Arc<Plan>,
    manifest: &Manifest,
    sinks: &mut HashMap<String, OpenSink>,
) -> Result<(), Error> {
    let mut new: Vec<_> = sinks.iter_mut().filter(|(_, sink)| sink.is_new()).collect();
    if new.is_empty() {
        return Ok(());
    }
    let batch = members_at(state, plan, manifest)?;
    for (name, sink) in &mut new {
        tracing::info!(
            sink = name,
            epoch = batch.epoch(),
            members = batch.len(),
            "a new sink begins with the members"
        );
        give(sink, &batch)?;
    }
    Ok(())
}

fn give(sink: &mut OpenSink, batch: &DeltaBatch) -> Result<(), StorageError> {
    let (after, epoch) = (sink.has, batch.epoch());
    if batch.is_empty() {
        sink.outbox.quiet(after, epoch)?;
    } else {
        let (context, mut bytes) = (codec::encode_names(batch.names()), Vec::new());
        codec::encode(batch, &mut bytes);
        let pushed = sink.outbox.push(NewBatch { after, epoch, context: &context, bytes: &bytes }, false)?;
        // The first batch always fits.
        debug_assert_eq!(pushed, Pushed::Queued);
    }
    let synced = sink.outbox.unsynced().sync()?;
    sink.has = sink.outbox.synced(synced).through;
    Ok(())
}

/// One `entered` for every member at the end of the checkpoint's epoch; the reason says since when.
fn members_at(state: &StateReader, plan: &Arc<Plan>, manifest: &Manifest) -> Result<DeltaBatch, Error> {
    let mut lockstep = Lockstep::new(Arc::clone(plan), 1)?;
    lockstep.restore(state, manifest, &mut |_, _| {})?;
    let members = lockstep.memberships()?;
    let names = Arc::clone(lockstep.names());
    let mut builder = DeltaBatchBuilder::new(manifest.epoch, manifest.now, names);
    for profile in lockstep.profiles()? {
        for (place, segment) in profile.segments.iter().enumerate() {
            builder.delta(*segment, profile.id, Change::Entered);
            let found = members.binary_search_by_key(&(*segment, profile.id), |m| (m.segment, m.profile));
            let since = found.map_or(manifest.now, |at| members[at].since);
            builder.reason(&format!("already a member, since {since}"));
            if place > 0 {
                builder.same_identifiers();
                continue;
            }
            for (identifier, values) in profile.identifiers.iter().enumerate() {
                let listed = values.len().min(MAX_LISTED_VALUES);
                values[..listed].iter().for_each(|value| builder.identifier(identifier, value));
                if values.len() > listed {
                    builder.more(identifier, (values.len() - listed) as u32);
                }
            }
        }
    }
    Ok(builder.finish())
}
