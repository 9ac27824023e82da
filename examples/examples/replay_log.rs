//! Read a state directory without running on it: what the engine knew at its last epoch, and what another definition
//! would have made of the same events.
//!
//! Nothing is locked or changed, so it may be the directory of a running engine. What it knew is computed from its
//! newest checkpoint and the log behind that; the what-if reads all of the log.

use std::{error::Error, path::Path, time::Duration};

use tidewater::{Engine, Pipeline, ProfileId, offline, pipeline::FixedEnvironment, testing::TestEngine};

const PIPELINE: &str = "
identifiers:
  user_id:      { from: userId }
  anonymous_id: { from: anonymousId }
traits:   { orders: { count: Order Completed } }
segments: { loyal: orders >= 3 }
";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let state = tempfile::tempdir()?;
    let (epoch, members) = run(state.path()).await?;

    // This takes as long as the log behind the newest checkpoint; in a service it has a place of its own, such as
    // `spawn_blocking`.
    let mut offline = offline::open_state(state.path())?;
    assert_eq!(offline.epoch(), epoch);
    let recomputed: Vec<ProfileId> = offline.memberships()?.iter().map(|member| member.profile).collect();
    assert_eq!(recomputed, members);
    for profile in offline.profiles()? {
        println!("{} {:?} orders {:?}", profile.id, profile.identifiers, profile.traits[0]);
    }

    // What if two orders were enough? The same events, epoch by epoch, under another definition.
    let changed = PIPELINE.replace("orders >= 3", "orders >= 2");
    let mut what_if = TestEngine::new(&Pipeline::from_yaml(&changed, &FixedEnvironment::new())?, 1)?;
    let mut events = offline.events()?;
    let (mut read, mut last) = (0, None);
    while let Some(event) = events.next()? {
        if let Some((epoch, now)) = last
            && epoch != event.epoch
        {
            what_if.seal_at(now)?;
        }
        what_if.set_wall(event.accepted_at);
        what_if.accept(event.bytes).map_err(|reason| format!("refused: {}", reason.name()))?;
        last = Some((event.epoch, event.now));
        read += 1;
    }
    what_if.seal_at(offline.now())?;
    assert_eq!(read, 7);
    assert_eq!((offline.memberships()?.len(), what_if.memberships()?.len()), (1, 2));
    println!("{read} events: 1 loyal as defined, 2 if two orders were enough");
    Ok(())
}

/// An engine that leaves something behind: its last epoch, and the loyal profiles as of then.
async fn run(state: &Path) -> Result<(u64, Vec<ProfileId>), Box<dyn Error>> {
    let pipeline = Pipeline::from_yaml(PIPELINE, &FixedEnvironment::new())?;
    let engine = Engine::builder(&pipeline).state(state).start().await?;
    for (number, who) in ["u1", "u1", "u1", "u2", "u3"].into_iter().enumerate() {
        let event = format!(
            r#"{{"type":"track","event":"Order Completed","messageId":"m{number}","userId":"{who}"}}"#
        );
        engine.ingest(event).await?;
    }
    // u3's first order was made before signing in.
    engine
        .ingest(r#"{"type":"track","event":"Order Completed","messageId":"m5","anonymousId":"d1"}"#)
        .await?;
    engine.ingest(r#"{"type":"identify","messageId":"m6","userId":"u3","anonymousId":"d1"}"#).await?;
    let epoch = engine.flush().await?.epoch;
    let members = engine.memberships("loyal").at_least(epoch).await?.members;
    engine.shutdown(Duration::from_secs(5)).await?;
    Ok((epoch, members))
}
