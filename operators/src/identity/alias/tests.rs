#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

const OWNER: u128 = 1;

/// The anonymous id that a claim stands for until it is settled. Two spellings come to the same.
fn anonymous(claim: usize) -> u128 {
    10 + claim as u128 % 3
}

/// What is kept, beside all that was ever said.
#[derive(Default)]
struct Life {
    kept: AliasMentions,
    /// Identifier, place, and the claim that can give it up.
    said: Vec<(u128, u64, Option<usize>)>,
    /// Per claim: where it was made first, if it is open; and whether it is settled.
    open: [Option<u64>; 6],
    settled: [bool; 6],
}

/// What one event, or a restart, does.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A claim; before or behind it one that is settled, of the same identifier.
    Open {
        claim: usize,
        before: bool,
        behind: bool,
    },
    /// A link for good.
    Settled(u128),
    /// A claim turns out to be of this user id.
    GivenUp {
        claim: usize,
        user: u128,
    },
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let id = || 10..16u128;
    let some = || prop::bool::weighted(0.2);
    prop_oneof![
        6 => (0..6usize, some(), some()).prop_map(|(claim, before, behind)| Step::Open { claim, before, behind }),
        4 => id().prop_map(Step::Settled),
        2 => (0..6usize, id()).prop_map(|(claim, user)| Step::GivenUp { claim, user }),
        1 => Just(Step::Restart),
    ]
}

impl Life {
    fn assert(&mut self, other: u128, place: u64, claim: Option<usize>) {
        self.said.push((other, place, claim));
        let at = (place, claim.is_none());
        if self.kept.assert((OWNER, other), at, false) {
            self.kept.mention(other, at, None);
        }
    }

    fn step(&mut self, step: Step, place: u64) {
        match step {
            Step::Open { claim, before, behind } => {
                let other = anonymous(claim);
                if before {
                    self.assert(other, place, None);
                }
                if self.open[claim].is_none() && !self.settled[claim] {
                    self.open[claim] = Some(place);
                    self.assert(other, place, Some(claim));
                }
                if behind {
                    self.assert(other, place, None);
                }
            }
            Step::Settled(other) => self.assert(other, place, None),
            Step::GivenUp { claim, user } => {
                let Some(first) = self.open[claim].take() else { return };
                self.settled[claim] = true;
                let other = anonymous(claim);
                self.said.retain(|(_, _, by)| *by != Some(claim));
                let is_gone = self.kept.give_up(OWNER, other, first);
                assert_eq!(is_gone, !self.said.iter().any(|said| said.0 == other));
                self.kept.forget(other, first);
                self.assert(user, first, None);
            }
            Step::Restart => self.kept = self.read(),
        }
    }

    /// What is kept, written and read again.
    fn read(&self) -> AliasMentions {
        let mut read = AliasMentions::default();
        for identifier in std::iter::once(OWNER).chain(10..16) {
            let mut out = Vec::new();
            self.kept.write(identifier, &mut out);
            let mut input = Input(&out);
            read.read(identifier, &mut input).unwrap();
            assert!(input.is_empty());
        }
        read
    }

    fn first(&self, other: u128, counts: impl Fn(Option<usize>) -> bool) -> Option<u64> {
        let places = self.said.iter().filter(|said| said.0 == other && counts(said.2));
        places.map(|said| said.1).min()
    }

    fn check(&self) {
        let mut facts = self.read();
        for (claim, place) in self.open.iter().enumerate() {
            place.iter().for_each(|place| facts.take_back(OWNER, anonymous(claim), *place));
        }
        for other in 10..16 {
            let first = self.first(other, |_| true);
            assert_eq!(self.kept.first(other), first, "first place of {other}");
            // Without what can be given up.
            let settled = self.first(other, |claim| claim.is_none());
            assert_eq!(facts.first(other), settled, "first place of {other} as a fact");
            if first.is_some() {
                assert!(self.kept.is_asserted(OWNER, other));
                assert_eq!(facts.is_asserted(OWNER, other), settled.is_some(), "{other} as a fact");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_is_kept_is_enough(steps in prop::collection::vec(step(), 1..30)) {
        let mut life = Life::default();
        for (step, place) in steps.into_iter().zip(100..) {
            life.step(step, place);
            life.check();
        }
    }
}

#[test]
fn nothing_more_is_kept_however_often_a_link_is_asserted() {
    // A hundred thousand places of the same length.
    let places = (1 << 20)..(1 << 20) + 100_000;
    let mut life = Life::default();
    let mut lengths = Vec::new();
    for place in places {
        let at = (place, true);
        if life.kept.assert((OWNER, 10), at, false) {
            life.kept.mention(10, at, None);
        }
        if place % 1_000 == 0 {
            life.kept = life.read();
            let mut out = Vec::new();
            [OWNER, 10].iter().for_each(|identifier| life.kept.write(*identifier, &mut out));
            lengths.push(out.len());
        }
    }
    assert_eq!(lengths.len(), 100);
    lengths.dedup();
    assert_eq!(lengths.len(), 1, "{lengths:?}");
}
