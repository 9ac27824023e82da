//! Runs the engine, the batch oracle and the reference operators side by side, and compares them after every epoch.
//!
//! [`drive`] is the one function that property tests call; [`Tandem`] is the same one step at a time. Whatever
//! differs comes back as a [`Difference`] that says in which epoch and in what: nothing here panics on it, so that
//! proptest can shrink and planted bugs can be looked for.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use tidewater::testing::TestEngine;
use tidewater_model::{ClockKind, DeltaBatch, HashKey, PipelineSpec, ProfileId, Timestamp};
use tidewater_oracle::{Oracle, Outcome, Unlinked};

use crate::{
    generate::{START, Scenario, Unlink, yaml},
    reference::Reference,
};

mod acceptance;
mod batch;
mod order;
mod timer;

pub use order::{FinalState, final_state, same_in_any_order, same_on_any_workers};

/// What takes part in a run.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// How many timely workers the engine has.
    pub workers: usize,
    /// Whether the reference operators run along.
    pub reference: bool,
    /// How many instants are looked at, per epoch, for changes that the engine's timer would miss.
    pub probes: usize,
}

impl Default for Setup {
    fn default() -> Self {
        Self { workers: 1, reference: true, probes: 6 }
    }
}

/// What a run has seen, so that a test can tell that it saw something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Events accepted.
    pub accepted: usize,
    /// Duplicates dropped.
    pub duplicates: usize,
    /// Events refused.
    pub refused: usize,
    /// Deltas of all epochs.
    pub deltas: usize,
    /// Deltas of epochs that no event was accepted in.
    pub deltas_by_time: usize,
    /// Members of the largest cluster seen.
    pub largest_cluster: usize,
}

impl std::ops::AddAssign for Summary {
    fn add_assign(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.duplicates += other.duplicates;
        self.refused += other.refused;
        self.deltas += other.deltas;
        self.deltas_by_time += other.deltas_by_time;
        self.largest_cluster = self.largest_cluster.max(other.largest_cluster);
    }
}

/// Where two implementations disagree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The epoch, counted from 1.
    pub epoch: u64,
    /// In what, and what each says.
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "epoch {}: {}", self.epoch, self.what)
    }
}

impl std::error::Error for Difference {}

/// Runs a scenario and compares after every epoch.
///
/// # Errors
/// The first difference.
pub fn drive(scenario: &Scenario, setup: &Setup) -> Result<Summary, Difference> {
    let mut tandem = Tandem::new(&scenario.spec, setup)?;
    for epoch in &scenario.epochs {
        tandem.wait(epoch.wait.0);
        for event in &epoch.events {
            // Refused alike by all is as good as accepted by all.
            let _ = tandem.accept(event)?;
        }
        for unlink in &epoch.unlinks {
            tandem.unlink(unlink)?;
        }
        tandem.seal()?;
    }
    Ok(tandem.summary)
}

/// How a failing scenario is printed: everything needed to run it again by hand.
pub fn describe(scenario: &Scenario) -> String {
    let mut text = yaml(&scenario.spec);
    for (number, epoch) in (1..).zip(&scenario.epochs) {
        text.push_str(&format!("\nepoch {number}: wait {}\n", epoch.wait));
        epoch.events.iter().for_each(|event| text.push_str(&format!("  {event}\n")));
        epoch.unlinks.iter().for_each(|unlink| text.push_str(&format!("  unlink {unlink:?}\n")));
    }
    text
}

/// The three implementations in step.
pub struct Tandem {
    spec: PipelineSpec,
    engine: TestEngine,
    oracle: Oracle,
    reference: Option<Reference>,
    probes: usize,
    wall: Timestamp,
    epoch: u64,
    /// Events of sealed epochs.
    sealed: usize,
    /// The times of all accepted events.
    times: Vec<i64>,
    unlinks: Vec<Unlink>,
    unlinked: Unlinked,
    /// The deltas so far, added up: every member and the `now` at which it last entered.
    folded: BTreeMap<(usize, ProfileId), Timestamp>,
    /// What the oracle said at the end of the last epoch.
    outcome: Outcome,
    /// What was seen so far.
    pub summary: Summary,
}

impl Tandem {
    /// Three empty engines; the wall clock stands five seconds behind [`START`].
    ///
    /// # Errors
    /// If the engine does not take the pipeline.
    pub fn new(spec: &PipelineSpec, setup: &Setup) -> Result<Self, Difference> {
        let engine = TestEngine::from_spec(spec.clone(), setup.workers)
            .map_err(|error| Difference { epoch: 0, what: format!("the engine does not start: {error}") })?;
        Ok(Self {
            spec: spec.clone(),
            engine,
            oracle: Oracle::new(spec.clone(), HashKey::FIXED),
            reference: setup.reference.then(|| Reference::new(spec, HashKey::FIXED)),
            probes: setup.probes,
            wall: Timestamp(START + 5_000),
            epoch: 0,
            sealed: 0,
            times: Vec::new(),
            unlinks: Vec::new(),
            unlinked: Unlinked::default(),
            folded: BTreeMap::new(),
            outcome: Outcome::default(),
            summary: Summary::default(),
        })
    }

    /// Lets the wall clock go on by `ms` milliseconds.
    pub fn wait(&mut self, ms: i64) {
        self.set_wall(Timestamp(self.wall.0.saturating_add(ms)));
    }

    /// Sets the wall clock.
    pub fn set_wall(&mut self, wall: Timestamp) {
        self.wall = wall;
        self.engine.set_wall(wall);
    }

    /// The wall clock.
    pub fn wall(&self) -> Timestamp {
        self.wall
    }

    /// What the oracle said at the end of the last epoch; the others said the same.
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// When the engine says that time alone next changes a membership.
    pub fn next_timer(&self) -> Option<Timestamp> {
        self.engine.next_timer()
    }

    /// Takes a link back, for good.
    ///
    /// # Errors
    /// If the engine does not know one of the identifiers.
    pub fn unlink(&mut self, unlink: &Unlink) -> Result<(), Difference> {
        let ((a, x), (b, y)) = unlink;
        let name = |index: usize| self.spec.identifiers[index].name.clone();
        let (a_name, b_name) = (name(*a), name(*b));
        self.engine
            .unlink((&a_name, x), (&b_name, y))
            .map_err(|error| self.difference(format!("unlink: {error}")))?;
        self.oracle.unlink((*a, x), (*b, y));
        self.unlinked.insert((*a, x), (*b, y));
        self.unlinks.push(unlink.clone());
        Ok(())
    }

    /// Cuts an epoch and compares everything that can be seen.
    ///
    /// # Errors
    /// The first difference.
    pub fn seal(&mut self) -> Result<DeltaBatch, Difference> {
        self.epoch += 1;
        let batch =
            self.engine.seal_at(self.wall).map_err(|error| self.difference(format!("seal: {error}")))?;
        let now = self.oracle.seal(self.wall);
        let expected = self.oracle.outcome();
        if let Some(reference) = &mut self.reference {
            let log: Vec<_> = self.oracle.events().skip(self.sealed).collect();
            reference.epoch(&log, &self.unlinks, now);
        }
        let logged = self.oracle.events().count() - self.sealed;
        self.sealed += logged;
        self.unlinks.clear();

        self.compare("the batch's epoch", &self.epoch, &batch.epoch())?;
        // Under `clock: event` there is no time before the first event, and nothing that could tell one.
        if self.spec.clock == ClockKind::Wall || !self.times.is_empty() {
            self.compare("the batch's now", &now, &batch.now())?;
        }
        self.fold(&batch, &expected)?;
        self.compare_state(&expected)?;
        if let Some(reference) = &self.reference {
            let found = reference.outcome();
            self.compare_outcomes("the reference's ", &expected, &found)?;
        }
        self.outcome = expected;
        self.check_timer(now)?;
        self.summary.deltas += batch.len();
        self.summary.deltas_by_time += if logged == 0 { batch.len() } else { 0 };
        let largest =
            self.outcome.profiles.iter().map(|profile| profile.identifiers.iter().flatten().count());
        self.summary.largest_cluster = largest.max().unwrap_or(0).max(self.summary.largest_cluster);
        Ok(batch)
    }

    /// What the engine answers when it is asked.
    fn compare_state(&mut self, expected: &Outcome) -> Result<(), Difference> {
        let failed = |error: tidewater::Error| Difference { epoch: self.epoch, what: error.to_string() };
        let memberships = self.engine.memberships().map_err(failed)?;
        let found = Outcome {
            profiles: self.engine.profiles().map_err(failed)?,
            identities: self
                .engine
                .identities()
                .map_err(failed)?
                .into_iter()
                .map(|identity| (identity.identifier, identity.value, identity.profile))
                .collect(),
            memberships: expected.memberships.clone(),
            unusable: Vec::new(),
        };
        let stats = self.engine.stats().map_err(failed)?;
        self.compare_outcomes("", expected, &found)?;
        let members: BTreeMap<_, _> =
            memberships.iter().map(|member| ((member.segment, member.profile), member.since)).collect();
        self.compare("the engine's members and since", &self.folded, &members)?;
        let counts = (found.identities.len() as u64, found.profiles.len() as u64);
        self.compare("counts of identifiers and profiles", &counts, &(stats.identifiers, stats.profiles))?;
        self.look_up(expected)
    }

    /// A few profiles by identifier, also of clusters that are no profile.
    fn look_up(&mut self, expected: &Outcome) -> Result<(), Difference> {
        let step = (expected.identities.len() / 5).max(1);
        for (identifier, value, id) in expected.identities.iter().step_by(step) {
            let name = self.spec.identifiers[*identifier].name.clone();
            let found =
                self.engine.profile(&name, value).map_err(|error| self.difference(error.to_string()))?;
            let expected = expected.profiles.iter().find(|profile| profile.id == *id);
            self.compare(&format!("profile of {name} {value}"), &expected, &found.as_ref())?;
        }
        Ok(())
    }

    fn compare_outcomes(&self, whose: &str, expected: &Outcome, found: &Outcome) -> Result<(), Difference> {
        self.compare(&format!("{whose}identities"), &expected.identities, &found.identities)?;
        let ids =
            |outcome: &Outcome| outcome.profiles.iter().map(|profile| profile.id).collect::<BTreeSet<_>>();
        self.compare(&format!("{whose}profiles' ids"), &ids(expected), &ids(found))?;
        for (expected, found) in expected.profiles.iter().zip(&found.profiles) {
            self.compare(&format!("{whose}profile"), expected, found)?;
        }
        self.compare(&format!("{whose}memberships"), &expected.memberships, &found.memberships)
    }

    fn compare<T: PartialEq + fmt::Debug>(
        &self,
        what: &str,
        expected: &T,
        found: &T,
    ) -> Result<(), Difference> {
        if expected == found {
            return Ok(());
        }
        Err(self.difference(format!("{what}\nexpected {expected:#?}\nfound    {found:#?}")))
    }

    fn difference(&self, what: String) -> Difference {
        Difference { epoch: self.epoch, what }
    }
}

impl fmt::Debug for Tandem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tandem").field("epoch", &self.epoch).field("wall", &self.wall).finish()
    }
}
