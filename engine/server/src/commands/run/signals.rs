//! SIGTERM and SIGINT ask for an orderly stop; a second one is an order.

use crate::exit::Failure;

/// Signals that ask the process to stop, from the moment this exists.
pub(super) struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    count: u32,
}

impl Signals {
    #[cfg(unix)]
    pub(super) fn listen() -> Result<Self, Failure> {
        use tokio::signal::unix::{SignalKind, signal};

        use crate::exit::Exit;

        let listen = |kind| {
            signal(kind)
                .map_err(|error| Failure::new(Exit::Internal, format!("cannot listen to signals: {error}")))
        };
        let (terminate, interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
        Ok(Self { terminate, interrupt, count: 0 })
    }

    #[cfg(not(unix))]
    pub(super) fn listen() -> Result<Self, Failure> {
        Ok(Self { count: 0 })
    }

    /// Waits for the next signal; its name.
    #[cfg(unix)]
    pub(super) async fn next(&mut self) -> &'static str {
        let name = tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        };
        self.count += 1;
        name
    }

    /// Waits for the next signal; its name.
    #[cfg(not(unix))]
    pub(super) async fn next(&mut self) -> &'static str {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        self.count += 1;
        "SIGINT"
    }

    /// How many there were.
    pub(super) fn count(&self) -> u32 {
        self.count
    }
}

/// What a process ended by this signal says to the shell, by its custom.
pub(super) fn exit_code(signal: &str) -> i32 {
    if signal == "SIGINT" { 130 } else { 143 }
}
