//! Operators of one's own: they see exactly the engine's memberships, and their relations change also while it idles.

use std::time::Duration;

use tidewater::{
    Change, Engine, Error, Update,
    dataflow::{Context, Extension, Output, Relation},
};

use crate::common::{order, pipeline, soon, stop};

/// Members of all segments that are on a list.
#[derive(Clone)]
struct Listed {
    list: Relation<(u32, String)>,
    members: Output<(u128, String)>,
}

impl Listed {
    fn new() -> Self {
        Self { list: Relation::new(10), members: Output::new() }
    }

    /// Changes up to `epoch` as (text, +1 or -1), sorted.
    fn taken(&self, epoch: u64) -> Vec<(String, isize)> {
        let taken = self.members.take_through(epoch).into_iter();
        let mut taken: Vec<_> = taken.map(|((_, text), _, diff)| (text, diff)).collect();
        taken.sort();
        taken
    }
}

impl Extension for Listed {
    fn build<'scope>(&self, context: &mut Context<'_, 'scope>) {
        let list = context.relation(&self.list).arrange_by_key_named("List");
        let members =
            context.memberships().join_core(list, |_, profile, text: &String| Some((*profile, text.clone())));
        context.output(members, &self.members);
    }
}

async fn start(listed: &Listed, workers: usize) -> Engine {
    let builder = Engine::builder(&pipeline()).in_memory().workers(workers);
    builder.extension(listed.clone()).start().await.unwrap()
}

#[tokio::test]
async fn relations_change_on_an_idle_engine() {
    for workers in 1..=3 {
        let listed = Listed::new();
        let engine = start(&listed, workers).await;
        for number in 0..20 {
            engine.ingest(order(&format!("u{number}"), &format!("m{number}"))).await.unwrap();
        }
        let quiet = soon(engine.seal()).await.unwrap();
        assert!(listed.members.take().is_empty());

        // Segment 0 is `buyer`.
        listed.list.insert((0, "a".into())).unwrap();
        let epoch = soon(engine.seal()).await.unwrap();
        assert_eq!(epoch, quiet + 1);
        assert_eq!(listed.taken(epoch), vec![("a".to_owned(), 1); 20]);
        listed.list.remove((0, "a".into())).unwrap();
        listed.list.insert((1, "b".into())).unwrap();
        let epoch = soon(engine.seal()).await.unwrap();
        assert_eq!(listed.taken(epoch), vec![("a".to_owned(), -1); 20]);
        stop(&engine).await;
    }
}

#[tokio::test]
async fn outputs_follow_the_deltas() {
    let listed = Listed::new();
    let engine = start(&listed, 2).await;
    for segment in 0..3 {
        listed.list.insert((segment, "any".into())).unwrap();
    }
    let mut loyal = engine.subscribe("loyal").unwrap();
    for number in 0..3 {
        engine.ingest(order("u1", &format!("m{number}"))).await.unwrap();
    }
    let epoch = loop {
        if let Update::Delta(delta) = soon(loyal.next()).await.unwrap().unwrap() {
            assert_eq!(delta.get().change(), Change::Entered);
            break delta.epoch();
        }
    };
    let taken = listed.members.take_through(epoch);
    // Into `buyer` with the first order, into `loyal` with the third.
    assert_eq!(taken.iter().map(|(_, _, diff)| diff).sum::<isize>(), 2);
    assert_eq!(taken.last().unwrap().1, epoch);
    assert!(taken.windows(2).all(|pair| pair[0].1 <= pair[1].1));
    stop(&engine).await;
}

#[tokio::test]
async fn a_full_relation_gives_the_row_back() {
    let relation = Relation::new(1);
    relation.insert(1u64).unwrap();
    assert_eq!(relation.insert(2).unwrap_err().0, 2);
}

#[tokio::test]
async fn sealed_epochs_are_logged_and_replayed() {
    let directory = tempfile::tempdir().unwrap();
    let engine = Engine::builder(&pipeline()).state(directory.path()).start().await.unwrap();
    engine.ingest(order("u1", "m1")).await.unwrap();
    let before = soon(engine.flush()).await.unwrap().epoch;
    assert_eq!(soon(engine.flush()).await.unwrap().epoch, before, "a flush needs no epoch of its own");
    assert_eq!(soon(engine.seal()).await.unwrap(), before + 1);
    assert_eq!(engine.status().epochs.durable, before + 1);
    stop(&engine).await;
    assert!(matches!(soon(engine.seal()).await, Err(Error::Closed)));
    drop(engine);

    let listed = Listed::new();
    listed.list.insert((0, "a".into())).unwrap();
    let builder = Engine::builder(&pipeline()).state(directory.path());
    let engine = builder.extension(listed.clone()).start().await.unwrap();
    // A seal waits for the replay like everything else.
    let epoch = soon(engine.seal()).await.unwrap();
    assert_eq!(epoch, before + 2);
    // The checkpoint of the shutdown is of the sealed epoch, and extensions see all its members then.
    assert_eq!(listed.taken(before + 1), [("a".to_owned(), 1)], "a start feeds extensions too");
    assert!(listed.taken(epoch).is_empty());
    stop(&engine).await;
}

#[tokio::test]
async fn a_panic_in_an_extension_fails_its_engine() {
    struct Broken;
    impl Extension for Broken {
        fn build<'scope>(&self, _: &mut Context<'_, 'scope>) {
            panic!("as planned");
        }
    }
    let engine = Engine::builder(&pipeline()).in_memory().workers(2).extension(Broken).start().await.unwrap();
    match soon(engine.seal()).await {
        Err(Error::Failed { reason }) => assert!(reason.contains("as planned"), "{reason}"),
        other => panic!("{other:?}"),
    }
    let _ = engine.shutdown(Duration::from_secs(5)).await;
}
