//! Snapshots taken while epochs go on, read by any number of workers: from then on everything is as in the life
//! that was not interrupted, to the letter of each delta.

use super::*;

/// A snapshot as it would be stored.
#[derive(Clone, Debug, Default)]
struct Stored {
    epoch: u64,
    now: i64,
    all: bool,
    chunks: Vec<Vec<u8>>,
    rest: Vec<Vec<u8>>,
}

/// What is asked of the workers behind a step.
#[derive(Clone, Copy, Debug)]
struct Request {
    /// Begin a snapshot, of everything or of what has changed.
    begin: Option<bool>,
    /// How much is written before the next epoch.
    bytes: usize,
}

fn request() -> impl Strategy<Value = Request> {
    (prop_oneof![3 => Just(None), 2 => any::<bool>().prop_map(Some)], 1usize..400)
        .prop_map(|(begin, bytes)| Request { begin, bytes })
}

/// One worker's part of the snapshots it takes.
#[derive(Default)]
struct Taken {
    done: Vec<Stored>,
    open: Option<Stored>,
}

impl Taken {
    fn write(&mut self, dataflow: &mut WorkerDataflow, bytes: usize) {
        let Some(open) = &mut self.open else { return };
        let mut chunk = Vec::new();
        let done = dataflow.write_snapshot(&mut chunk, bytes);
        open.chunks.push(chunk);
        if done {
            self.done.extend(self.open.take());
        }
    }

    fn ask(&mut self, dataflow: &mut WorkerDataflow, request: Request, at: (u64, i64)) {
        if let Some(all) = request.begin {
            self.write(dataflow, usize::MAX);
            // There is nothing yet that the first one could be read on top of.
            let all = all || self.done.is_empty();
            let rest = dataflow.begin_snapshot(all);
            self.open = Some(Stored { epoch: at.0, now: at.1, all, chunks: Vec::new(), rest });
        }
        self.write(dataflow, request.bytes);
    }
}

type Rows = Vec<(usize, ProfileId, tidewater_model::Change, String, Vec<(usize, String)>)>;

/// What can be told apart from outside at the end of an epoch.
fn outside(plan: &Plan, epoch: Vec<Seen>, texts: &Texts) -> (Outcome, Vec<(u128, ProfileId)>, Rows) {
    fn sorted<T: Ord>(rows: impl Iterator<Item = T>) -> Vec<T> {
        let mut rows: Vec<T> = rows.collect();
        rows.sort();
        rows
    }
    let mut profiles: Vec<Profile> = epoch.iter().flat_map(|seen| seen.profiles.clone()).collect();
    profiles.sort_by_key(|profile| profile.id);
    let outcome = Outcome {
        profiles,
        identities: sorted(epoch.iter().flat_map(|seen| seen.identities.clone())),
        memberships: sorted(epoch.iter().flat_map(|seen| seen.members.clone())),
        ..Outcome::default()
    };
    let assignments = sorted(epoch.iter().flat_map(|seen| seen.assignments.clone()));
    let changes: Vec<Changes> = epoch.into_iter().map(|seen| seen.changes).collect();
    let batch = merge((1, Timestamp(0)), &names(plan.spec()), texts, &changes);
    let row = |delta: tidewater_model::Delta<'_>| {
        let identifiers = delta.identifiers().map(|(rank, value)| (rank, value.to_owned())).collect();
        let reason = delta.reason().to_owned();
        (delta.segment_index(), delta.profile(), delta.change(), reason, identifiers)
    };
    (outcome, assignments, batch.iter().map(row).collect())
}

/// A life with snapshots.
fn first_life(
    plan: &Arc<Plan>,
    steps: &[Step],
    requests: &[Request],
    workers: usize,
) -> (Vec<Vec<Seen>>, Arc<Texts>, Vec<Stored>) {
    let texts = Texts::new(workers);
    let inputs = inputs(plan, steps, workers);
    let (shared, for_plan, requests) = (Arc::clone(&texts), Arc::clone(plan), requests.to_vec());
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        let segments = for_plan.spec().segments.len();
        let mut dataflow = WorkerDataflow::build(worker, Arc::clone(&for_plan), Arc::clone(&shared));
        dataflow.track_changes();
        let (mut all, mut taken, index) = (Vec::new(), Taken::default(), worker.index());
        for (input, request) in inputs.iter().zip(&requests) {
            let input = input[index].clone();
            let at = (input.epoch, input.now.0);
            all.push(compute(worker, &mut dataflow, input, segments));
            taken.ask(&mut dataflow, *request, at);
        }
        taken.write(&mut dataflow, usize::MAX);
        (all, taken.done)
    });
    let (mut seen, mut stored) = (Vec::new(), Vec::<Stored>::new());
    for result in guards.unwrap().join() {
        let (all, done) = result.unwrap();
        seen.push(all);
        stored.resize_with(done.len(), Stored::default);
        for (whole, part) in stored.iter_mut().zip(done) {
            (whole.epoch, whole.now, whole.all) = (part.epoch, part.now, part.all);
            whole.chunks.extend(part.chunks);
            whole.rest.extend(part.rest);
        }
    }
    (by_epoch(seen), texts, stored)
}

/// A life that begins with a snapshot and those it is read on top of, newest first.
fn later_life(
    plan: &Arc<Plan>,
    steps: &[Step],
    chain: Vec<Stored>,
    workers: usize,
) -> (Vec<Vec<Seen>>, Arc<Texts>) {
    let texts = Texts::new(workers);
    let inputs = inputs(plan, steps, workers);
    let (shared, for_plan) = (Arc::clone(&texts), Arc::clone(plan));
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        let segments = for_plan.spec().segments.len();
        let mut dataflow = WorkerDataflow::build(worker, Arc::clone(&for_plan), Arc::clone(&shared));
        let newest = &chain[0];
        for chunk in chain.iter().flat_map(|stored| &stored.chunks) {
            dataflow.read_nodes(Timestamp(newest.now), chunk).unwrap();
        }
        newest.rest.iter().for_each(|rest| dataflow.read_rest(rest).unwrap());
        let (epoch, now) = (newest.epoch, Timestamp(newest.now));
        let restored = EpochInput { epoch, now, is_restored: true, ..EpochInput::default() };
        let mut all = vec![compute(worker, &mut dataflow, restored, segments)];
        let index = worker.index();
        let rest = inputs.iter().skip(epoch as usize).map(|input| input[index].clone());
        all.extend(rest.map(|input| compute(worker, &mut dataflow, input, segments)));
        all
    });
    (by_epoch(guards.unwrap().join().into_iter().map(Result::unwrap).collect()), texts)
}

/// Every life that begins with a snapshot of the first one must be the same from there on.
fn same_lives(steps: Vec<(Step, Request)>, (before, after): (usize, usize)) -> Result<(), TestCaseError> {
    let (steps, requests): (Vec<Step>, Vec<Request>) = steps.into_iter().unzip();
    let plan = Plan::compile(spec(), HashKey::FIXED).unwrap();
    let (seen, texts, stored) = first_life(&plan, &steps, &requests, before);
    let whole: Vec<_> = seen.into_iter().map(|epoch| outside(&plan, epoch, &texts)).collect();
    for newest in 0..stored.len() {
        let base = (0..=newest).rev().find(|at| stored[*at].all).unwrap();
        let chain: Vec<Stored> = stored[base..=newest].iter().rev().cloned().collect();
        let epoch = chain[0].epoch as usize;
        let (seen, texts) = later_life(&plan, &steps, chain, after);
        let later: Vec<_> = seen.into_iter().map(|epoch| outside(&plan, epoch, &texts)).collect();
        for (number, (later, whole)) in later.iter().zip(&whole[epoch - 1..]).enumerate() {
            prop_assert_eq!(&later.0, &whole.0, "{} epochs after epoch {}", number, epoch);
            prop_assert_eq!(&later.1, &whole.1);
            if number > 0 {
                prop_assert_eq!(&later.2, &whole.2, "deltas {} epochs after epoch {}", number, epoch);
            }
        }
    }
    Ok(())
}

fn lives() -> impl Strategy<Value = (Vec<(Step, Request)>, (usize, usize))> {
    (prop::collection::vec((step(), request()), 2..12), (1usize..=3, 1usize..=3))
}

proptest! {
    #[test]
    fn a_life_that_begins_with_a_snapshot_is_the_same((steps, workers) in lives()) {
        same_lives(steps, workers)?;
    }
}

/// Workers are threads, so the bug is planted for the whole process: tests run in processes of their own.
#[cfg(feature = "planted-bugs")]
#[test]
fn nodes_as_they_are_when_they_are_written_are_noticed() {
    use proptest::{
        strategy::ValueTree,
        test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
    };

    let _planted = crate::planted::plant_everywhere(crate::planted::Bug::SnapshotTooNew);
    let found = (0..200u8).find(|seed| {
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[*seed; 32]);
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        let (steps, workers) = lives().new_tree(&mut runner).unwrap().current();
        same_lives(steps, workers).is_err()
    });
    println!("SnapshotTooNew: seed {found:?}");
    assert!(found.is_some());
}

/// Clients send the same alias on every start: of an id that only aliases name, and of one that is a user's.
#[test]
fn nodes_do_not_grow_with_aliases_that_are_sent_again() {
    let alias =
        |previous: &str| json!({"type": "alias", "userId": "u1", "previousId": previous, "timestamp": START});
    let known = json!({"type": "track", "event": "a", "userId": "u2", "timestamp": START});
    let step = |events| Step { events, advance: 0, unlink: None };
    let mut steps = vec![step(vec![known, alias("a1"), alias("u2")])];
    steps.extend((0..50).map(|_| step([alias("a1"), alias("u2")].into_iter().cycle().take(40).collect())));
    let mut requests = vec![Request { begin: None, bytes: 0 }; steps.len()];
    requests[0].begin = Some(true);
    requests[50].begin = Some(true);
    let plan = Plan::compile(spec(), HashKey::FIXED).unwrap();
    for workers in 1..=3 {
        let (_, _, stored) = first_life(&plan, &steps, &requests, workers);
        let size = |stored: &Stored| stored.chunks.iter().map(Vec::len).sum::<usize>();
        assert_eq!(size(&stored[0]), size(&stored[1]), "{workers} workers");
    }
    // The rest is as ever, also once the first turns out to be a user's too.
    steps.truncate(3);
    steps.push(step(vec![json!({"type": "track", "event": "b", "userId": "a1", "timestamp": START})]));
    steps.push(step(vec![alias("a1")]));
    for workers in 1..=3 {
        check(&steps, workers).unwrap();
    }
}

#[test]
fn damage_is_an_error() {
    let steps: Vec<Step> = vec![Step {
        events: vec![
            json!({"type": "track", "event": "a", "userId": "u1", "email": "e1", "timestamp": START, "s": "x"}),
        ],
        advance: 1,
        unlink: None,
    }];
    let plan = Plan::compile(spec(), HashKey::FIXED).unwrap();
    let requests = [Request { begin: Some(true), bytes: usize::MAX }];
    let (_, _, stored) = first_life(&plan, &steps, &requests, 1);
    let chunk = stored[0].chunks.concat();
    assert!(chunk.len() > 60, "two nodes");
    let read = |chunk: Vec<u8>| {
        let plan = Arc::clone(&plan);
        timely::execute_directly(move |worker| {
            let mut dataflow = WorkerDataflow::build(worker, plan, Texts::new(1));
            dataflow.read_nodes(Timestamp(START), &chunk)
        })
    };
    assert_eq!(read(chunk.clone()), Ok(()));
    for len in 1..chunk.len() {
        let whole_nodes = u32::from_le_bytes(chunk[..4].try_into().unwrap()) as usize + 4;
        assert_eq!(read(chunk[..len].to_vec()).is_err(), len != whole_nodes, "cut at {len}");
    }
    for at in 0..chunk.len() {
        let mut flipped = chunk.clone();
        flipped[at] ^= 0x80;
        // Whether it is noticed or not (the checksums are where it is stored), it does not panic.
        let _ = read(flipped);
    }
}
