#![allow(clippy::unwrap_used)]

use tidewater_oracle::Oracle;

use super::*;
use crate::generate::{Scenario, scenario};

/// The reference against the oracle after every epoch.
fn check(case: &Scenario) -> Result<(), String> {
    let mut oracle = Oracle::new(case.spec.clone(), HashKey::FIXED);
    let mut reference = Reference::new(&case.spec, HashKey::FIXED);
    let mut wall = crate::generate::START + 5_000;
    let mut logged = 0;
    for (number, epoch) in case.epochs.iter().enumerate() {
        wall += epoch.wait.0;
        for event in &epoch.events {
            oracle.push(event.as_bytes(), Timestamp(wall));
        }
        for ((a, x), (b, y)) in &epoch.unlinks {
            oracle.unlink((*a, x), (*b, y));
        }
        let now = oracle.seal(Timestamp(wall));
        let log: Vec<_> = oracle.events().skip(logged).collect();
        logged += log.len();
        reference.epoch(&log, &epoch.unlinks, now);
        let (expected, found) = (oracle.outcome(), reference.outcome());
        if expected != found {
            return Err(format!("epoch {number}\nexpected {expected:#?}\nfound {found:#?}"));
        }
    }
    Ok(())
}

#[test]
fn agrees_with_the_oracle() {
    for seed in 0..60 {
        let case = scenario(8, 8, seed);
        if let Err(difference) = check(&case) {
            panic!("seed {seed}\n{}\n{:#?}\n{difference}", crate::generate::yaml(&case.spec), case.epochs);
        }
    }
}

/// What `resolve_clusters` gives for links a-b and c-d at time 0, b-c at time 1, and without b-c at time 2.
#[test]
fn clusters_move_at_once_and_leave_no_trace_of_the_way() {
    let allocator = Allocator::Thread(timely::communication::allocator::Thread::default());
    let mut worker = Worker::new(WorkerConfig::default(), allocator, None);
    let seen = Rc::new(RefCell::new(Vec::new()));
    let probe = ProbeHandle::new();
    let (mut known, mut links) = worker.dataflow::<Time, _, _>(|scope| {
        let (known_input, known) = scope.new_collection::<Identifier, isize>();
        let (links_input, links) = scope.new_collection::<Link, isize>();
        let seen = Rc::clone(&seen);
        links
            .resolve_clusters(known)
            .inspect(move |delta| seen.borrow_mut().push(delta.clone()))
            .probe_with(&probe);
        (known_input, links_input)
    });
    let id = |value: &str| Identifier { rank: 0, value: value.to_owned() };
    ["a", "b", "c", "d"].into_iter().for_each(|value| known.insert(id(value)));
    links.insert((id("a"), id("b")));
    links.insert((id("c"), id("d")));
    let mut sizes = Vec::new();
    for epoch in 1..=3 {
        known.advance_to(epoch);
        known.flush();
        links.advance_to(epoch);
        links.flush();
        worker.step_while(|| probe.less_than(&epoch));
        match epoch {
            1 => links.insert((id("b"), id("c"))),
            _ => links.remove((id("b"), id("c"))),
        }
        sizes.push(seen.borrow().len());
    }
    assert_eq!(sizes, [4, 8, 12]);
    let moved = |value: &str, from: &str, to: &str, time| {
        [((id(value), id(from)), time, -1), ((id(value), id(to)), time, 1)]
    };
    let sorted = |range: std::ops::Range<usize>| {
        let mut deltas = seen.borrow()[range].to_vec();
        deltas.sort();
        deltas
    };
    let mut joined = [moved("c", "c", "a", 1), moved("d", "c", "a", 1)].concat();
    let mut cut = [moved("c", "a", "c", 2), moved("d", "a", "c", 2)].concat();
    joined.sort();
    cut.sort();
    assert_eq!(sorted(4..8), joined);
    assert_eq!(sorted(8..12), cut);
}
