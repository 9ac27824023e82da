//! What of a queue is on disk: what found no room in memory and is read back, and what a checkpoint counts on.

use std::sync::Arc;

use tidewater_model::delta::DeltaNames;
use tidewater_storage::{NewBatch, Outbox, Pushed, StorageError};

use super::{Inside, Item, SinkQueue, give_up};
use crate::delivery::codec;

/// So many bytes are read back from disk at a time.
const REFILL_BYTES: usize = 1 << 20;

impl SinkQueue {
    pub(super) async fn refill_apart(self: &Arc<Self>) {
        let queue = Arc::clone(self);
        // Reading the disk has no place on the threads that drive all sinks.
        let refilled = crate::threads::blocking(move || queue.refill()).await;
        if refilled.is_err() {
            self.give_up();
        }
    }

    fn refill(&self) {
        let mut inside = self.lock();
        while inside.memory_bytes < REFILL_BYTES.min(self.memory_limit) {
            let (read, after) = (inside.read, inside.read);
            let popped = inside.outbox.as_mut().and_then(|outbox| outbox.pop(read).transpose());
            let batch = match popped {
                None => return,
                Some(Ok(stored)) => names_of(&mut inside, &stored.context)
                    .and_then(|names| codec::decode(&stored.bytes, &names)),
                Some(Err(error)) => {
                    tracing::error!(%error, "spilled deltas can't be read");
                    None
                }
            };
            let Some(batch) = batch else {
                // A start finds nothing behind what could be read.
                let read_back = inside.read_back;
                inside.kept.iter_mut().for_each(|kept| kept.through = kept.through.min(read_back));
                give_up(&mut inside);
                return;
            };
            (inside.read, inside.read_back) = (batch.epoch(), batch.epoch());
            inside.memory_bytes += batch.bytes();
            inside.memory.push_back(Item { batch: Arc::new(batch), after, is_on_disk: true });
        }
    }

    /// Makes all that waits durable in the outbox, for a checkpoint: not again what is there already. Waits for the disk,
    /// which whoever publishes meanwhile does not.
    pub(crate) fn keep(&self) -> Result<(), StorageError> {
        let unsynced = {
            let mut inside = self.lock();
            if inside.given_up || inside.correction.is_some() || inside.outbox.is_none() {
                return Ok(());
            }
            write_down(&mut inside)?;
            let (last, published) = (inside.last, inside.published);
            #[cfg(feature = "planted-bugs")]
            let published = {
                use tidewater_operators::planted::{Bug, active};
                published + u64::from(active(Bug::OutboxAheadOfEpoch))
            };
            let Some(outbox) = &mut inside.outbox else { return Ok(()) };
            if outbox.span().through < published {
                outbox.quiet(last, published)?;
            }
            outbox.unsynced()
        };
        let synced = unsynced.sync();
        let mut inside = self.lock();
        match (synced, &mut inside.outbox) {
            (Ok(synced), Some(outbox)) => inside.kept = Some(outbox.synced(synced)),
            (Ok(_), None) => {}
            (Err(error), _) => {
                // What is in its files is unknown; what is still in memory is not.
                match inside.is_spilled() {
                    true => give_up(&mut inside),
                    false => inside.outbox = None,
                }
                drop(inside);
                self.changed.notify_one();
                return Err(error);
            }
        }
        Ok(())
    }

    /// The epoch up to which a start finds everything in the outbox, once `recorded` is durably acknowledged.
    pub(crate) fn kept(&self, recorded: u64) -> Option<u64> {
        self.lock().kept.filter(|kept| kept.after <= recorded).map(|kept| kept.through)
    }

    /// Gives back the space of what is durably acknowledged.
    pub(crate) fn forget(&self, recorded: u64) {
        if let Some(outbox) = &mut self.lock().outbox
            && let Err(error) = outbox.forget(recorded)
        {
            tracing::warn!(%error, "what a sink has acknowledged can't be removed; it is tried again");
        }
    }
}

/// Puts what is only in memory into the outbox, so that what follows there follows on it.
fn write_down(inside: &mut Inside) -> Result<(), StorageError> {
    let Inside { out, memory, outbox: Some(outbox), names, .. } = inside else { return Ok(()) };
    for item in out.iter_mut().chain(memory).filter(|item| !item.is_on_disk) {
        // What is in memory anyway has no bound on disk.
        let _ = write(outbox, names, item, true)?;
        item.is_on_disk = true;
    }
    Ok(())
}

pub(super) fn spill(inside: &mut Inside, item: &Item) -> Result<(), String> {
    if inside.outbox.is_none() {
        return Err("it lags and there is no state directory to keep its deltas in".to_owned());
    }
    let failed = |error: StorageError| format!("it lags and its deltas can't be kept on disk: {error}");
    write_down(inside).map_err(failed)?;
    let Inside { outbox: Some(outbox), names, .. } = inside else { return Ok(()) };
    match write(outbox, names, item, false).map_err(failed)? {
        Pushed::Queued => Ok(()),
        Pushed::Full => Err("it lags by more than may be kept for it on disk".to_owned()),
    }
}

type Names = Option<(Arc<DeltaNames>, Arc<[u8]>)>;

fn write(outbox: &mut Outbox, names: &mut Names, item: &Item, is_held: bool) -> Result<Pushed, StorageError> {
    let Item { batch, after, .. } = item;
    let context = match names {
        Some((known, context)) if Arc::ptr_eq(known, batch.names()) => Arc::clone(context),
        _ => {
            let context: Arc<[u8]> = codec::encode_names(batch.names()).into();
            *names = Some((Arc::clone(batch.names()), Arc::clone(&context)));
            context
        }
    };
    let mut bytes = Vec::new();
    codec::encode(batch, &mut bytes);
    outbox.push(NewBatch { after: *after, epoch: batch.epoch(), context: &context, bytes: &bytes }, is_held)
}

/// The names that are stored so.
fn names_of(inside: &mut Inside, stored: &Arc<[u8]>) -> Option<Arc<DeltaNames>> {
    if let Some((names, context)) = &inside.names
        && context == stored
    {
        return Some(Arc::clone(names));
    }
    let names = Arc::new(codec::decode_names(stored)?);
    inside.names = Some((Arc::clone(&names), Arc::clone(stored)));
    Some(names)
}
