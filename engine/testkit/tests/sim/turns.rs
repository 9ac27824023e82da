//! Threads in turns: one runs at a time, and a seed decides which one goes on.

use std::{
    cell::Cell,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tidewater::testing::Turns;
use tokio::sync::Notify;

use tidewater_testkit::random::Random;

/// Hands the turn from thread to thread. The thread that made it is the first and never waits for anything but its turn.
pub(super) struct Baton {
    inside: Mutex<Inside>,
    /// All announced threads have entered.
    entered: Condvar,
    /// Something was woken.
    woken: Notify,
    began: Instant,
}

struct Inside {
    random: Random,
    /// How likely a thread that passes goes on itself.
    stay: f64,
    slots: Vec<Slot>,
    somethings: u64,
    now: Duration,
    /// Which threads went on, folded into a number: the same for the same seed.
    trace: u64,
}

struct Slot {
    state: State,
    turn: Arc<Condvar>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Announced,
    Ready,
    Runs,
    Waits { something: Option<u64>, until: Option<Duration> },
    Left,
}

thread_local! {
    static ME: Cell<Option<usize>> = const { Cell::new(None) };
}

impl Baton {
    /// The turn is the calling thread's.
    pub(super) fn new(seed: u64) -> Arc<Self> {
        let mut random = Random::new(seed);
        let stay = random.unit() * 0.9;
        ME.set(Some(0));
        let first = Slot { state: State::Runs, turn: Arc::default() };
        Arc::new(Self {
            inside: Mutex::new(Inside {
                random,
                stay,
                slots: vec![first],
                somethings: 0,
                now: Duration::ZERO,
                trace: 0,
            }),
            entered: Condvar::new(),
            woken: Notify::new(),
            began: Instant::now(),
        })
    }

    /// Resolves when something has been woken since it last did.
    pub(super) async fn woken(&self) {
        self.woken.notified().await;
    }

    /// Sets the time; it never goes back.
    pub(super) fn set_now(&self, now: Duration) {
        let mut inside = self.lock();
        inside.now = inside.now.max(now);
        let now = inside.now;
        for slot in &mut inside.slots {
            if matches!(slot.state, State::Waits { until: Some(until), .. } if until <= now) {
                slot.state = State::Ready;
            }
        }
    }

    /// How long it runs.
    pub(super) fn elapsed(&self) -> Duration {
        self.lock().now
    }

    /// Whether a thread besides the first could go on.
    pub(super) fn is_busy(&self) -> bool {
        self.lock().slots.iter().skip(1).any(|slot| matches!(slot.state, State::Ready | State::Announced))
    }

    /// When the first of the waiting threads goes on by itself.
    pub(super) fn next_wait(&self) -> Option<Duration> {
        let until = |slot: &Slot| match slot.state {
            State::Waits { until, .. } => until,
            _ => None,
        };
        self.lock().slots.iter().filter_map(until).min()
    }

    /// Whether all threads but the first have ended.
    pub(super) fn is_alone(&self) -> bool {
        self.lock().slots.iter().skip(1).all(|slot| slot.state == State::Left)
    }

    /// Which threads went on so far, as a number.
    pub(super) fn trace(&self) -> u64 {
        self.lock().trace
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the turn to a thread that can go on.
    fn hand_over<'a>(&'a self, mut inside: MutexGuard<'a, Inside>) -> MutexGuard<'a, Inside> {
        while inside.slots.iter().any(|slot| slot.state == State::Announced) {
            inside = self.entered.wait(inside).unwrap_or_else(PoisonError::into_inner);
        }
        let is_ready = |number: &usize| inside.slots[*number].state == State::Ready;
        let ready: Vec<usize> = (0..inside.slots.len()).filter(is_ready).collect();
        // The first thread is ready whenever it does not run.
        let next = ready[inside.random.below(ready.len() as u64) as usize];
        inside.trace = inside.trace.rotate_left(5).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ next as u64;
        inside.slots[next].state = State::Runs;
        inside.slots[next].turn.notify_one();
        inside
    }

    /// Takes the turn away from the calling thread until it is its turn again.
    fn give_up(&self, mut inside: MutexGuard<'_, Inside>, me: usize, state: State) {
        inside.slots[me].state = state;
        let inside = self.hand_over(inside);
        self.until_turn(inside, me);
    }

    fn until_turn(&self, mut inside: MutexGuard<'_, Inside>, me: usize) {
        let turn = Arc::clone(&inside.slots[me].turn);
        while inside.slots[me].state != State::Runs {
            inside = turn.wait(inside).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Turns for Baton {
    fn announce(&self) -> usize {
        let mut inside = self.lock();
        inside.slots.push(Slot { state: State::Announced, turn: Arc::default() });
        inside.slots.len() - 1
    }

    fn enter(&self, thread: usize) {
        ME.set(Some(thread));
        let mut inside = self.lock();
        inside.slots[thread].state = State::Ready;
        self.entered.notify_all();
        self.until_turn(inside, thread);
    }

    fn leave(&self) {
        let Some(me) = ME.take() else { return };
        let mut inside = self.lock();
        inside.slots[me].state = State::Left;
        drop(self.hand_over(inside));
    }

    fn has_left(&self, thread: usize) -> bool {
        self.lock().slots[thread].state == State::Left
    }

    fn pass(&self) {
        let Some(me) = ME.get() else { return };
        let mut inside = self.lock();
        let stay = inside.stay;
        if !inside.random.chance(stay) {
            self.give_up(inside, me, State::Ready);
        }
    }

    fn something(&self) -> u64 {
        let mut inside = self.lock();
        inside.somethings += 1;
        inside.somethings
    }

    fn wait(&self, something: Option<u64>, until: Option<Instant>) {
        let until = until.map(|until| until.saturating_duration_since(self.began));
        // The first thread drives time, so it only lets the others go on.
        let state = match ME.get() {
            Some(0) | None => State::Ready,
            Some(_) => State::Waits { something, until },
        };
        if let Some(me) = ME.get() {
            self.give_up(self.lock(), me, state);
        }
    }

    fn wake(&self, something: u64) {
        let mut inside = self.lock();
        let mut is_woken = false;
        for slot in &mut inside.slots {
            if matches!(slot.state, State::Waits { something: Some(this), .. } if this == something) {
                slot.state = State::Ready;
                is_woken = true;
            }
        }
        drop(inside);
        if is_woken {
            self.woken.notify_one();
        }
    }

    fn now(&self) -> Instant {
        self.began + self.elapsed()
    }
}
