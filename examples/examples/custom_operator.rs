//! Join memberships with a relation of your own, by ordinary differential operators inside the engine's dataflow.
//!
//! Account managers look after users. Whom should each of them call: the loyal ones among their users? The list
//! follows everything that happens: a new order, a merge of two users, a manager who takes over or leaves.

use std::{error::Error, time::Duration};

use tidewater::{
    Engine, Pipeline, ProfileId,
    dataflow::{Context, Extension, Output, Relation},
    pipeline::FixedEnvironment,
};

/// Who looks after whom, and the lists that follow from it.
#[derive(Clone)]
struct Accounts {
    /// (user id, manager)
    managers: Relation<(String, String)>,
    /// (manager, profile)
    calls: Output<(String, u128)>,
}

impl Extension for Accounts {
    fn build<'scope>(&self, context: &mut Context<'_, 'scope>) {
        let (Some(loyal), Some(user_id)) = (context.segment("loyal"), context.identifier_seed("user_id"))
        else {
            return;
        };
        // Whom a user belongs to changes when users merge; managers are given by user, so they move along.
        let managers = context
            .relation(&self.managers)
            .map(move |(user, manager)| (user_id.hash(user.as_bytes()), manager))
            .arrange_by_key_named("ManagersByUser");
        let managed = context
            .assignments()
            .join_core(managers, |_user, profile, manager| Some((*profile, manager.clone())))
            .arrange_by_key_named("ManagersByProfile");

        let calls = context
            .memberships()
            .as_collection(|segment, profile| (*segment, *profile))
            .filter(move |(segment, _)| *segment == loyal)
            .map(|(_, profile)| (profile, ()))
            .arrange_by_key_named("Loyal")
            .join_core(managed, |profile, (), manager| Some((manager.clone(), *profile)))
            // Two users of one manager may be one profile: she calls once.
            .threshold_named("Once", |_, _| 1);
        context.output(calls, &self.calls);
    }
}

const PIPELINE: &str = "
identifiers:
  user_id: { from: userId }
  email:   { from: traits.email, normalize: email }
traits:   { orders: { count: Order Completed } }
segments: { buyer: orders >= 1, loyal: orders >= 3 }
";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let pipeline = Pipeline::from_yaml(PIPELINE, &FixedEnvironment::new())?;
    let accounts = Accounts { managers: Relation::new(1_000), calls: Output::new() };
    let engine =
        Engine::builder(&pipeline).in_memory().workers(2).extension(accounts.clone()).start().await?;
    accounts.managers.insert(("u1".into(), "Ada".into()))?;
    accounts.managers.insert(("u2".into(), "Grace".into()))?;

    for (user, order) in [("u1", 1), ("u1", 2), ("u1", 3), ("u2", 1), ("u2", 2), ("u2", 3), ("u3", 1)] {
        engine.ingest(track(user, order)).await?;
    }
    let (u1, u2) = (id(&engine, "u1").await?, id(&engine, "u2").await?);
    assert_eq!(changes(&engine, &accounts).await?, [("Ada", u1, 1), ("Grace", u2, 1)].map(own));

    // u1 and u2 share an email: they were one person all along. The profile that came first stays, so Ada's list is
    // as it was, and Grace's entry goes over to it, in one epoch.
    engine.ingest(identify("u1")).await?;
    engine.ingest(identify("u2")).await?;
    assert_eq!(id(&engine, "u2").await?, u1);
    assert_eq!(changes(&engine, &accounts).await?, [("Grace", u1, 1), ("Grace", u2, -1)].map(own));

    // Ada leaves. No event comes, so an epoch has to be asked for.
    accounts.managers.remove(("u1".into(), "Ada".into()))?;
    assert_eq!(changes(&engine, &accounts).await?, [("Ada", u1, -1)].map(own));

    engine.shutdown(Duration::from_secs(5)).await?;
    Ok(())
}

/// A manager, a profile, and whether the profile entered (1) or left (-1) the manager's list.
type Call = (String, ProfileId, isize);

/// The changes up to now, sorted.
async fn changes(engine: &Engine, accounts: &Accounts) -> Result<Vec<Call>, Box<dyn Error>> {
    let epoch = engine.seal().await?;
    let taken = accounts.calls.take_through(epoch).into_iter();
    let mut calls: Vec<Call> =
        taken.map(|((manager, profile), _epoch, change)| (manager, ProfileId(profile), change)).collect();
    calls.sort_by(|(a, _, one), (b, _, other)| (a, other).cmp(&(b, one)));
    for (manager, profile, change) in &calls {
        println!("{manager}: {} {profile}", if *change > 0 { "call" } else { "no longer call" });
    }
    Ok(calls)
}

fn own((manager, profile, change): (&str, ProfileId, isize)) -> Call {
    (manager.to_owned(), profile, change)
}

async fn id(engine: &Engine, user: &str) -> Result<ProfileId, Box<dyn Error>> {
    Ok(engine.profile("user_id", user).await?.ok_or("an event of the user was accepted")?.id)
}

fn track(user: &str, order: u32) -> String {
    format!(r#"{{"type":"track","event":"Order Completed","messageId":"{user}-{order}","userId":"{user}"}}"#)
}

fn identify(user: &str) -> String {
    format!(
        r#"{{"type":"identify","messageId":"in-{user}","userId":"{user}","traits":{{"email":"one@example.com"}}}}"#
    )
}
