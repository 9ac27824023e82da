//! Threads, channels and waiting: all of it goes through here, so that a test can decide which thread goes on, and what
//! time it is while it waits.
//!
//! Outside of tests these are the threads of the operating system and the channels of crossbeam. An engine that is started on a
//! thread that takes turns (feature `testing`, see [`Turns`]) has threads of which one runs at a time, and the order in
//! which they run is the test's.

use std::{
    io,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crossbeam::channel;
pub(crate) use crossbeam::channel::{RecvError, RecvTimeoutError, SendError, TryRecvError};
use timely::worker::Worker;

/// Decides which of the threads of an engine goes on.
///
/// A thread that has entered runs until it passes, waits or leaves; meanwhile no other one does.
#[cfg_attr(not(feature = "testing"), allow(unreachable_pub, reason = "tests of other crates take turns"))]
pub trait Turns: Send + Sync + 'static {
    /// A thread will enter: its number. Nobody is given a turn before it has.
    fn announce(&self) -> usize;
    /// The calling thread is this one; returns when it is its turn.
    fn enter(&self, thread: usize);
    /// The calling thread has ended.
    fn leave(&self);
    /// Whether a thread has ended.
    fn has_left(&self, thread: usize) -> bool;
    /// Anyone may go on here; returns when the calling thread may. Does nothing on a thread that takes no turns.
    fn pass(&self);
    /// A number for something that can be waited for.
    fn something(&self) -> u64;
    /// The calling thread goes on once this is woken, or at that time.
    fn wait(&self, something: Option<u64>, until: Option<Instant>);
    /// Those that wait for this may go on.
    fn wake(&self, something: u64);
    /// The time that threads see when they wait.
    fn now(&self) -> Instant;
}

#[cfg(feature = "testing")]
mod current {
    use std::{
        cell::{Cell, RefCell},
        sync::Arc,
    };

    use super::Turns;

    thread_local! {
        static TURNS: RefCell<Option<Arc<dyn Turns>>> = const { RefCell::new(None) };
        /// The number of a thread that has yet to enter.
        static LATE: Cell<Option<usize>> = const { Cell::new(None) };
    }

    /// Who decides about the turns of the calling thread.
    pub(crate) fn turns() -> Option<Arc<dyn Turns>> {
        TURNS.with_borrow(Clone::clone)
    }

    /// From now on engines started by the calling thread take turns; `None`: they do not.
    pub fn take_turns(turns: Option<Arc<dyn Turns>>) {
        TURNS.set(turns);
    }

    pub(super) fn set_late(thread: Option<usize>) {
        LATE.set(thread);
    }

    pub(super) fn late() -> Option<usize> {
        LATE.take()
    }
}

#[cfg(not(feature = "testing"))]
mod current {
    use std::sync::Arc;

    use super::Turns;

    pub(crate) fn turns() -> Option<Arc<dyn Turns>> {
        None
    }

    pub(super) fn set_late(_: Option<usize>) {}

    pub(super) fn late() -> Option<usize> {
        None
    }
}

#[cfg(feature = "testing")]
pub use current::take_turns;
use current::turns;

/// A thread of an engine.
pub(crate) struct Thread {
    handle: JoinHandle<()>,
    turns: Option<(Arc<dyn Turns>, usize)>,
}

/// When a thread takes its first turn.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    AtOnce,
    /// When it calls [`enter`]: what it does before must be of no interest to others.
    Later,
}

/// Starts a thread.
pub(crate) fn spawn(name: String, entry: Entry, run: impl FnOnce() + Send + 'static) -> io::Result<Thread> {
    let turns = turns().map(|turns| {
        let thread = turns.announce();
        (turns, thread)
    });
    let own = turns.clone();
    let handle = std::thread::Builder::new().name(name).spawn(move || {
        let _leave = own.as_ref().map(|(turns, thread)| begin(turns, *thread, entry));
        run();
    });
    handle.map(|handle| Thread { handle, turns })
}

fn begin(turns: &Arc<dyn Turns>, thread: usize, entry: Entry) -> Leave {
    #[cfg(feature = "testing")]
    take_turns(Some(Arc::clone(turns)));
    match entry {
        Entry::AtOnce => turns.enter(thread),
        Entry::Later => current::set_late(Some(thread)),
    }
    Leave(Arc::clone(turns))
}

/// A thread that ends leaves, whatever ends it.
struct Leave(Arc<dyn Turns>);

impl Drop for Leave {
    fn drop(&mut self) {
        enter();
        self.0.leave();
    }
}

/// A thread that enters later does so now.
pub(crate) fn enter() {
    if let (Some(thread), Some(turns)) = (current::late(), turns()) {
        turns.enter(thread);
    }
}

/// Waits for the end of threads.
pub(crate) async fn join(threads: Vec<Thread>) {
    for (turns, thread) in threads.iter().filter_map(|thread| thread.turns.as_ref()) {
        while !turns.has_left(*thread) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    let joined = tokio::task::spawn_blocking(move || {
        for thread in threads {
            // Their panics have been caught and reported inside.
            let _ = thread.handle.join();
        }
    });
    let _ = joined.await;
}

/// Work that blocks panicked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Panicked;

/// Does something that blocks where that holds up no task.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Panicked> {
    if turns().is_some() {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(|_| Panicked)
}

/// Waits on a thread.
pub(crate) fn sleep(time: Duration) {
    let Some(turns) = turns() else { return std::thread::sleep(time) };
    let until = turns.now() + time;
    while turns.now() < until {
        turns.wait(None, Some(until));
    }
}

/// The time for waits.
pub(crate) fn now() -> Instant {
    turns().map_or_else(Instant::now, |turns| turns.now())
}

/// How much the calling thread's share of a processor shrinks for which others wait, too: to a ninth of theirs (Linux's
/// weights are 110 and 1024). So a stream that needs all processors leaves enough for a checkpoint, which compresses some 500 MB
/// in a second of one.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// Linux has no lower priority.
#[cfg(target_os = "linux")]
const LEAST: i32 = 19;

/// From now on the calling thread lets others go first: nobody waits for what it does, and epochs wait for all others.
pub(crate) fn stand_back() {
    // Elsewhere it is the whole process that has a priority. A system that refuses has its reasons.
    #[cfg(target_os = "linux")]
    if turns().is_none() {
        let own = rustix::process::getpriority_process(None).unwrap_or(0);
        let _ = rustix::process::setpriority_process(None, own.saturating_add(NICE).min(LEAST));
    }
}

/// Lets a timely worker go on, or waits until it can.
pub(crate) fn step(worker: &mut Worker) {
    match turns() {
        None => _ = worker.step_or_park(None),
        Some(turns) => {
            worker.step();
            turns.pass();
        }
    }
}

/// Tells of changes of a channel, also when this end of it is gone.
struct Hook {
    turns: Arc<dyn Turns>,
    channel: u64,
}

impl Clone for Hook {
    fn clone(&self) -> Self {
        Self { turns: Arc::clone(&self.turns), channel: self.channel }
    }
}

impl Hook {
    fn changed(&self) {
        self.turns.wake(self.channel);
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.changed();
    }
}

/// The sending end of a channel.
pub(crate) struct Sender<T> {
    inner: channel::Sender<T>,
    /// Behind the other, since it tells that that is gone.
    hook: Option<Hook>,
}

/// The receiving end of a channel.
pub(crate) struct Receiver<T> {
    inner: channel::Receiver<T>,
    /// Behind the other, since it tells that that is gone.
    hook: Option<Hook>,
}

/// A channel that takes so many messages before senders wait.
pub(crate) fn bounded<T>(room: usize) -> (Sender<T>, Receiver<T>) {
    hooked(channel::bounded(room))
}

/// A channel that takes any number of messages.
pub(crate) fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    hooked(channel::unbounded())
}

fn hooked<T>((sender, receiver): (channel::Sender<T>, channel::Receiver<T>)) -> (Sender<T>, Receiver<T>) {
    let hook = turns().map(|turns| Hook { channel: turns.something(), turns });
    (Sender { inner: sender, hook: hook.clone() }, Receiver { inner: receiver, hook })
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), hook: self.hook.clone() }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), hook: self.hook.clone() }
    }
}

impl<T> Sender<T> {
    /// Sends, waiting for room.
    pub(crate) fn send(&self, mut message: T) -> Result<(), SendError<T>> {
        let Some(hook) = &self.hook else { return self.inner.send(message) };
        loop {
            match self.inner.try_send(message) {
                Ok(()) => {
                    hook.changed();
                    return Ok(());
                }
                Err(channel::TrySendError::Disconnected(message)) => return Err(SendError(message)),
                Err(channel::TrySendError::Full(back)) => message = back,
            }
            hook.turns.wait(Some(hook.channel), None);
        }
    }

    /// Sends if there is room and somebody to receive it.
    pub(crate) fn offer(&self, message: T) {
        if self.inner.try_send(message).is_ok()
            && let Some(hook) = &self.hook
        {
            hook.changed();
        }
    }
}

impl<T> Receiver<T> {
    /// The next message; waits for it.
    pub(crate) fn recv(&self) -> Result<T, RecvError> {
        let Some(hook) = &self.hook else { return self.inner.recv() };
        self.wait(hook, None).map_err(|_| RecvError)
    }

    /// The next message, if one is there.
    pub(crate) fn try_recv(&self) -> Result<T, TryRecvError> {
        if let Some(hook) = &self.hook {
            hook.turns.pass();
        }
        self.take()
    }

    /// The next message, if it comes in time.
    pub(crate) fn recv_timeout(&self, time: Duration) -> Result<T, RecvTimeoutError> {
        let Some(hook) = &self.hook else { return self.inner.recv_timeout(time) };
        self.wait(hook, Some(hook.turns.now() + time))
    }

    /// The messages that are there.
    pub(crate) fn try_iter(&self) -> impl Iterator<Item = T> {
        std::iter::from_fn(|| self.take().ok())
    }

    fn take(&self) -> Result<T, TryRecvError> {
        let message = self.inner.try_recv()?;
        if let Some(hook) = &self.hook {
            hook.changed();
        }
        Ok(message)
    }

    fn wait(&self, hook: &Hook, until: Option<Instant>) -> Result<T, RecvTimeoutError> {
        hook.turns.pass();
        loop {
            match self.take() {
                Ok(message) => return Ok(message),
                Err(TryRecvError::Disconnected) => return Err(RecvTimeoutError::Disconnected),
                Err(TryRecvError::Empty) => {}
            }
            if until.is_some_and(|until| hook.turns.now() >= until) {
                return Err(RecvTimeoutError::Timeout);
            }
            hook.turns.wait(Some(hook.channel), until);
        }
    }
}
