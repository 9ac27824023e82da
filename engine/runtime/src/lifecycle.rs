//! The engine's state: who may still send, and that a failure anywhere reaches every handle.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::Thread,
};

use tokio::sync::watch;

use crate::error::Error;

/// What the engine is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EngineState {
    /// It reads its log; events that come in wait.
    Replaying,
    /// Events in, deltas out.
    Running,
    /// It takes no new events and works off what it has.
    Draining,
    /// It has stopped as asked.
    Stopped,
    /// A part of it failed. Nothing is lost that was acknowledged; start a new engine.
    Failed(Arc<str>),
}

/// Shared by all threads and tasks of one engine.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    state: watch::Sender<EngineState>,
    /// Read by threads where a lock would be in the way.
    failed: AtomicBool,
    stopping: AtomicBool,
    /// No handle is left to shut the engine down: it stops by itself.
    abandoned: AtomicBool,
    /// Everything has been published that ever will be.
    published: AtomicBool,
    /// The last checkpoint is not waited for.
    given_up: AtomicBool,
    /// Resolves `SourceContext::closing`.
    sources_closing: watch::Sender<bool>,
    /// Threads that may be parked in the dataflow and would not see a failure by themselves.
    parked: Mutex<Vec<Thread>>,
}

impl Lifecycle {
    pub(crate) fn new() -> Self {
        Self {
            state: watch::Sender::new(EngineState::Replaying),
            failed: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
            published: AtomicBool::new(false),
            given_up: AtomicBool::new(false),
            sources_closing: watch::Sender::new(false),
            parked: Mutex::default(),
        }
    }

    pub(crate) fn watch(&self) -> watch::Receiver<EngineState> {
        self.state.subscribe()
    }

    pub(crate) fn state(&self) -> EngineState {
        self.state.borrow().clone()
    }

    /// From replaying to running; a stop or failure in between stands.
    pub(crate) fn running(&self) {
        self.state.send_if_modified(|state| {
            let replayed = *state == EngineState::Replaying;
            if replayed {
                *state = EngineState::Running;
            }
            replayed
        });
    }

    /// Begins to drain. False if it has begun before or the engine is past it.
    pub(crate) fn drain(&self) -> bool {
        self.stopping.store(true, Ordering::SeqCst);
        self.sources_closing.send_replace(true);
        self.state.send_if_modified(|state| {
            let alive = matches!(state, EngineState::Replaying | EngineState::Running);
            if alive {
                *state = EngineState::Draining;
            }
            alive
        })
    }

    pub(crate) fn stopped(&self) {
        self.state.send_if_modified(|state| {
            let failed = matches!(state, EngineState::Failed(_));
            if !failed {
                *state = EngineState::Stopped;
            }
            !failed
        });
    }

    /// Says that nobody waits for it to stop in good order.
    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Ordering::SeqCst);
        self.stop_by_itself();
    }

    /// Says that the last checkpoint is not waited for any longer.
    pub(crate) fn give_up_checkpoint(&self) {
        self.given_up.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::SeqCst)
    }

    /// Whether nobody waits for it to stop in good order.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::SeqCst)
    }

    /// Says that everything has been published that ever will be.
    pub(crate) fn published_all(&self) {
        self.published.store(true, Ordering::SeqCst);
        self.stop_by_itself();
    }

    /// Whichever of both comes last, or a shutdown that follows one that was given up would wait for ever.
    fn stop_by_itself(&self) {
        if self.is_abandoned() && self.published.load(Ordering::SeqCst) {
            self.stopped();
        }
    }

    /// Fails the engine: the first reason stands, and every handle sees it.
    pub(crate) fn fail(&self, reason: impl Into<Arc<str>>) {
        let reason = reason.into();
        self.failed.store(true, Ordering::SeqCst);
        self.stopping.store(true, Ordering::SeqCst);
        let first = self.state.send_if_modified(|state| {
            let over = matches!(state, EngineState::Failed(_) | EngineState::Stopped);
            if !over {
                *state = EngineState::Failed(Arc::clone(&reason));
            }
            !over
        });
        if first {
            tracing::error!(%reason, "engine failed");
        }
        self.sources_closing.send_replace(true);
        self.parked.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(Thread::unpark);
    }

    pub(crate) fn is_failed(&self) -> bool {
        self.failed.load(Ordering::SeqCst)
    }

    /// Whether long work that can be done again, as a replay, should be left.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Whether new events are taken from handles.
    pub(crate) fn takes_events(&self) -> bool {
        !self.is_stopping()
    }

    pub(crate) fn is_closing_sources(&self) -> bool {
        *self.sources_closing.borrow()
    }

    pub(crate) async fn sources_closing(&self) {
        // The sender lives as long as `self`.
        let _ = self.sources_closing.subscribe().wait_for(|closing| *closing).await;
    }

    /// Wakes this thread when the engine fails.
    pub(crate) fn unpark_on_failure(&self, thread: Thread) {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
    }

    /// The error that handles answer with once the engine is past answering.
    pub(crate) fn ended(&self) -> Option<Error> {
        match &*self.state.borrow() {
            EngineState::Failed(reason) => Some(Error::Failed { reason: Arc::clone(reason) }),
            EngineState::Stopped => Some(Error::Closed),
            _ => None,
        }
    }

    /// Why a question that was taken was never answered. While the engine runs that is only so because it is
    /// about to fail.
    pub(crate) async fn why_lost(&self) -> Error {
        let mut state = self.state.subscribe();
        let lost = |state: &EngineState| !matches!(state, EngineState::Replaying | EngineState::Running);
        // The sender lives as long as `self`.
        let _ = state.wait_for(lost).await;
        self.ended().unwrap_or(Error::Closed)
    }

    /// `answer`, unless the engine ends before it comes.
    pub(crate) async fn or_ended<T>(&self, answer: impl Future<Output = T>) -> Result<T, Error> {
        let mut state = self.state.subscribe();
        tokio::select! {
            biased;
            answer = answer => Ok(answer),
            _ = state.wait_for(|state| matches!(state, EngineState::Failed(_) | EngineState::Stopped)) => {
                Err(self.ended().unwrap_or(Error::Closed))
            }
        }
    }
}

/// Fails the engine when the thread that holds it panics, and says which one it was.
pub(crate) fn guarded(lifecycle: &Lifecycle, part: &str, run: impl FnOnce() -> Result<(), Error>) {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)) {
        Ok(Ok(())) => {}
        Ok(Err(error)) => lifecycle.fail(format!("{part}: {error}")),
        Err(panic) => lifecycle.fail(format!("{part} panicked: {}", panic_text(&*panic))),
    }
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
