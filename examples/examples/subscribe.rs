//! Follow a segment: a snapshot of its members, then every change, with a mark at the end of each epoch.
//!
//! Whoever folds the updates holds, at every mark, exactly the members as of that epoch: never half of a merge.

use std::{collections::BTreeSet, error::Error, time::Duration};

use tidewater::{
    Change, Delta, Engine, Pipeline, ProfileId, RawEvents, Subscription, Update, pipeline::FixedEnvironment,
};

const PIPELINE: &str = "
identifiers:
  user_id: { from: userId }
  email:   { from: traits.email, normalize: email }
traits:   { orders: { count: Order Completed } }
segments: { buyer: orders >= 1 }
";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let pipeline = Pipeline::from_yaml(PIPELINE, &FixedEnvironment::new())?;
    let engine = Engine::builder(&pipeline).in_memory().start().await?;
    let epoch = ingest(&engine, &[order("u1")]).await?;

    let mut buyers = engine.subscribe("buyer")?;
    let mut members = Members::default();
    members.follow(&mut buyers, epoch).await?;
    assert_eq!(members.now.len(), 1, "u1 stands in the snapshot");

    let epoch = ingest(&engine, &[order("u2"), order("u3")]).await?;
    members.follow(&mut buyers, epoch).await?;
    assert_eq!(members.now.len(), 3);

    // u2 and u3 turn out to be one person: one member goes, and nothing is said about the one that stays.
    let before = members.changes;
    let epoch = ingest(&engine, &[signed_in("u2"), signed_in("u3")]).await?;
    members.follow(&mut buyers, epoch).await?;
    assert_eq!((members.now.len(), members.changes - before), (2, 1));

    // A query at the same epoch says the same.
    let asked = engine.memberships("buyer").at_least(epoch).await?;
    assert!(asked.members.iter().eq(&members.now));
    println!("{} buyers as of epoch {}", members.now.len(), asked.epoch);
    engine.shutdown(Duration::from_secs(5)).await?;
    Ok(())
}

/// The members as the updates tell them.
#[derive(Default)]
struct Members {
    now: BTreeSet<ProfileId>,
    changes: u32,
}

impl Members {
    /// Takes updates in until they are complete up to `epoch`.
    async fn follow(&mut self, updates: &mut Subscription, epoch: u64) -> Result<(), Box<dyn Error>> {
        while let Some(update) = updates.next().await? {
            let complete = match update {
                // The first update; also what follows `Lagged`. It replaces everything before it.
                Update::Snapshot { epoch, members, .. } => {
                    self.now = members.into_iter().collect();
                    epoch
                }
                Update::Delta(delta) => {
                    self.change(delta.get());
                    continue;
                }
                Update::EpochComplete { epoch, .. } => epoch,
                // `Lagged`: this subscriber did not keep up and missed some epochs; a snapshot comes next.
                _ => continue,
            };
            if complete >= epoch {
                return Ok(());
            }
        }
        Err("the engine stopped".into())
    }

    fn change(&mut self, delta: Delta<'_>) {
        println!("{} {}: {}", delta.profile(), delta.change().name(), delta.reason());
        self.changes += 1;
        let fits = match delta.change() {
            Change::Entered => self.now.insert(delta.profile()),
            Change::Exited => self.now.remove(&delta.profile()),
        };
        assert!(fits, "a member enters once and exits once");
    }
}

/// Hands events in together; the epoch that holds them.
async fn ingest(engine: &Engine, events: &[String]) -> Result<u64, Box<dyn Error>> {
    let accepted = engine.ingest_batch(events.iter().collect::<RawEvents>()).await?;
    assert_eq!(accepted.events, events.len() as u64);
    Ok(accepted.epoch)
}

fn order(user: &str) -> String {
    format!(r#"{{"type":"track","event":"Order Completed","messageId":"order-{user}","userId":"{user}"}}"#)
}

fn signed_in(user: &str) -> String {
    format!(
        r#"{{"type":"identify","messageId":"in-{user}","userId":"{user}","traits":{{"email":"b@example.com"}}}}"#
    )
}
