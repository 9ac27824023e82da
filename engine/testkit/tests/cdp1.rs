//! The workload CDP-1 after every epoch: the deltas so far, added up, are the members that a plain calculation finds
//! in the events so far; at the end profiles, identities and traits are too.
//!
//! `TIDEWATER_CDP1_EVENTS` sets how many events there are (20,000 without it). With `TIDEWATER_CDP1_ALL` set, to
//! whatever value, every size of epoch runs with 1, 2 and 4 workers and in every order, on all the events, and each of
//! these 27 combinations says on standard error that it passed, and in what time; without it a few stand for them.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeSet, time::Instant};

use tidewater::testing::{Acceptance, TestEngine};
use tidewater_model::{Change, HashKey, Timestamp};
use tidewater_oracle::{Event, evaluate};
use tidewater_testkit::{
    generate::{Cdp1, cdp1_pipeline},
    plain::PlainCdp1,
    random::Random,
};

fn events() -> u64 {
    std::env::var("TIDEWATER_CDP1_EVENTS").ok().and_then(|count| count.parse().ok()).unwrap_or(20_000)
}

/// The order in which events arrive.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Order {
    /// As they happened.
    AsHappened,
    Shuffled,
    /// One in a hundred comes about a day late.
    Late,
}

fn stream(count: u64, order: Order) -> Vec<String> {
    let mut lines: Vec<String> = Cdp1::new(count, count / 5, 7).collect();
    let mut random = Random::new(11);
    match order {
        Order::AsHappened => {}
        Order::Shuffled => random.shuffle(&mut lines),
        Order::Late => {
            let day = count as usize / 30;
            let delay = |at: usize| at + if random.chance(0.01) { day } else { 0 };
            let arrivals: Vec<usize> = (0..lines.len()).map(delay).collect();
            // Stable, so that whoever comes at the same time keeps the order.
            let mut order: Vec<usize> = (0..lines.len()).collect();
            order.sort_by_key(|at| arrivals[*at]);
            lines = order.into_iter().map(|at| std::mem::take(&mut lines[at])).collect();
        }
    }
    lines
}

/// Every epoch's deltas must be the change of the members that the plain calculation finds.
fn check(lines: &[String], epoch: usize, workers: usize) {
    let mut engine = TestEngine::from_spec(cdp1_pipeline(), workers).unwrap();
    let mut plain = PlainCdp1::new(&cdp1_pipeline(), HashKey::FIXED);
    let mut members = BTreeSet::new();
    for chunk in lines.chunks(epoch) {
        for line in chunk {
            assert_eq!(engine.accept(line.as_bytes()), Ok(Acceptance::Accepted), "{line}");
            plain.add(line);
        }
        let batch = engine.seal().unwrap();
        for delta in batch.iter() {
            let member = (delta.segment_index(), delta.profile());
            let fits = match delta.change() {
                Change::Entered => members.insert(member),
                Change::Exited => members.remove(&member),
            };
            assert!(fits, "epoch {}: {member:?} {:?} twice", batch.epoch(), delta.change());
        }
        let (entered, exited) = plain.seal();
        assert_eq!(batch.len(), entered.len() + exited.len(), "epoch {}", batch.epoch());
        let is_in = |member: &&_| members.contains(*member);
        let missing: Vec<_> = entered.iter().filter(|member| !is_in(member)).collect();
        let left_over: Vec<_> = exited.iter().filter(is_in).collect();
        assert!(
            missing.is_empty() && left_over.is_empty(),
            "epoch {}: {missing:?} {left_over:?}",
            batch.epoch()
        );
        assert_eq!(batch.now(), plain.now());
    }
    assert_eq!(&members, plain.members());
    assert!((0..5).all(|segment| members.iter().any(|(own, _)| *own == segment)), "a segment stays empty");
    assert_eq!(engine.profiles().unwrap(), plain.profiles());
    let identities = engine.identities().unwrap().into_iter();
    let identities = identities.map(|found| (found.identifier, found.value, found.profile));
    assert_eq!(identities.collect::<Vec<_>>(), plain.identities());
}

/// The calculation by hand knows only this workload; here it is held to the evaluator that knows the contract.
#[test]
fn the_plain_calculation_is_the_contract() {
    for order in [Order::AsHappened, Order::Shuffled, Order::Late] {
        let lines = stream(4_000, order);
        let spec = cdp1_pipeline();
        let mut plain = PlainCdp1::new(&spec, HashKey::FIXED);
        for (number, chunk) in lines.chunks(500).enumerate() {
            chunk.iter().for_each(|line| plain.add(line));
            plain.seal();
            let log: Vec<Event<'_>> = (0..)
                .zip(&lines[..number * 500 + chunk.len()])
                .map(|(place, line)| Event { place, accepted_at: Timestamp(0), bytes: line.as_bytes() })
                .collect();
            let outcome = evaluate(&spec, HashKey::FIXED, &log, plain.now());
            assert_eq!(outcome.memberships.iter().copied().collect::<BTreeSet<_>>(), *plain.members());
            assert_eq!(outcome.profiles, plain.profiles());
            assert_eq!(outcome.identities, plain.identities());
        }
    }
}

/// Checks the given orders and numbers of workers, or all there are if that is asked for.
fn check_each(epoch: usize, chosen: &[(Order, usize, u64)]) {
    let all = [Order::AsHappened, Order::Shuffled, Order::Late]
        .into_iter()
        .flat_map(|order| [1, 2, 4].map(|workers| (order, workers, events())));
    let asked_for_all = std::env::var_os("TIDEWATER_CDP1_ALL").is_some();
    let runs = if asked_for_all { all.collect() } else { chosen.to_vec() };
    for (order, workers, count) in runs {
        let start = Instant::now();
        check(&stream(count, order), epoch, workers);
        if asked_for_all {
            let seconds = start.elapsed().as_secs_f64();
            eprintln!(
                "passed: {count} events, epochs of {epoch}, {workers} workers, {order:?}: {seconds:.1} s"
            );
        }
    }
}

#[test]
fn epochs_of_ten() {
    check_each(10, &[(Order::AsHappened, 1, events()), (Order::Late, 2, events() / 4)]);
}

#[test]
fn epochs_of_a_thousand() {
    let chosen = [(Order::AsHappened, 1), (Order::Shuffled, 2), (Order::Late, 4)];
    check_each(1_000, &chosen.map(|(order, workers)| (order, workers, events())));
}

#[test]
fn epochs_of_ten_thousand() {
    let chosen = [(Order::Shuffled, 1), (Order::Late, 1), (Order::AsHappened, 2), (Order::Shuffled, 4)];
    check_each(10_000, &chosen.map(|(order, workers)| (order, workers, events())));
}
