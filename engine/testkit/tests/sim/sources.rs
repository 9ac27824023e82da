//! Those who send: a tape that is read from a position, and clients that send again what was not answered.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tidewater::{Engine, RawEvents, Source, SourceContext};
use tidewater_connector_api::{Position, ReadError, SourceCapabilities};
use tidewater_storage::sim::SimFiles;

use super::world::World;
use tidewater_testkit::random::Random;

/// Reads a list of events, from where it is told to resume.
pub(super) struct Tape {
    pub(super) events: Arc<Vec<String>>,
    pub(super) world: Arc<Mutex<World>>,
    pub(super) files: SimFiles,
    pub(super) random: Random,
    /// A batch that is larger than an epoch would be spread over two, and might be read again in part.
    pub(super) most: u64,
}

impl Source for Tape {
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities { finite: true, replayable: true }
    }

    async fn run(&mut self, context: SourceContext) -> Result<(), ReadError> {
        let resume = context.resume_from().and_then(|position| position.as_bytes().first_chunk());
        let mut next = resume.map_or(0, |bytes| u64::from_le_bytes(*bytes)) as usize;
        while next < self.events.len() && !context.is_closing() {
            let end = (next + 1 + self.random.below(self.most) as usize).min(self.events.len());
            let batch: RawEvents = self.events[next..end].iter().collect();
            let position = Position((end as u64).to_le_bytes().to_vec());
            let Ok(receipt) = context.send(batch, Some(position)).await else { return Ok(()) };
            let (world, files, range) = (Arc::clone(&self.world), self.files.clone(), next..end);
            tokio::spawn(async move {
                if let Ok(accepted) = receipt.await
                    && !files.is_over()
                {
                    let mut world = world.lock().unwrap_or_else(PoisonError::into_inner);
                    range.for_each(|event| _ = world.taped.insert(event, accepted.epoch));
                }
            });
            next = end;
            tokio::time::sleep(Duration::from_millis(self.random.below(400))).await;
            if self.random.chance(0.02) {
                return Err(ReadError::Unavailable { reason: "the tape jams".to_owned() });
            }
        }
        Ok(())
    }
}

/// Sends events one by one until all of them are answered or the engine is gone.
pub(super) async fn client(engine: Engine, world: Arc<Mutex<World>>, files: SimFiles, mut random: Random) {
    let lock = || -> MutexGuard<'_, World> { world.lock().unwrap_or_else(PoisonError::into_inner) };
    loop {
        let sent = next(&mut lock(), &mut random);
        let Some((number, event)) = sent else { return };
        match engine.ingest(event).await {
            Ok(accepted) if !files.is_over() => lock().answered(number, accepted),
            // Nobody hears the answer of a machine that is off.
            _ => return,
        }
        tokio::time::sleep(Duration::from_millis(random.below(300))).await;
    }
}

/// What a client sends next; `None` once everything is answered.
fn next(world: &mut World, random: &mut Random) -> Option<(usize, String)> {
    if world.is_answered() {
        return None;
    }
    let clients = &mut world.clients;
    let is_new = clients.sent < clients.events.len() && (clients.sent == 0 || random.chance(0.7));
    let number = if is_new {
        clients.sent += 1;
        clients.sent - 1
    } else {
        // Again, whether it was answered or not; at the end rather what was not.
        let open =
            |number: &usize| !clients.answered.contains_key(number) && !clients.refused.contains(number);
        let first_open = (0..clients.sent).find(open).filter(|_| random.chance(0.7));
        first_open.unwrap_or_else(|| random.below(clients.sent as u64) as usize)
    };
    Some((number, clients.events[number].clone()))
}
