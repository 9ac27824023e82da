//! A receipt resolves exactly once: when the epoch that holds the events is durable, or can't be.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use tokio::sync::oneshot;

use crate::SendError;

/// What became of the events of one batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// The epoch that holds them. The last one, should they have been spread over several.
    pub epoch: u64,
    /// How many were accepted.
    pub events: u64,
    /// How many were dropped as duplicates of accepted ones.
    pub duplicates: u64,
    /// How many went to quarantine.
    pub quarantined: u64,
}

/// Resolves once the events of one batch are in the log (without a log: in a sealed epoch).
///
/// Dropping it changes nothing about the events.
#[derive(Debug)]
#[must_use = "a source that answers its client must wait for the receipt; others drop it with `let _ =`"]
pub struct Receipt(State);

#[derive(Debug)]
enum State {
    Ready(Result<Accepted, SendError>),
    Waiting(oneshot::Receiver<Result<Accepted, SendError>>),
}

/// The engine's end of a [`Receipt`]. Dropped unresolved, it fails the receipt.
#[derive(Debug)]
pub struct ReceiptSender(oneshot::Sender<Result<Accepted, SendError>>);

impl Receipt {
    /// A receipt and the end that resolves it.
    pub fn channel() -> (ReceiptSender, Self) {
        let (sender, receiver) = oneshot::channel();
        (ReceiptSender(sender), Self(State::Waiting(receiver)))
    }

    /// A receipt that is resolved already.
    pub fn ready(result: Result<Accepted, SendError>) -> Self {
        Self(State::Ready(result))
    }
}

impl ReceiptSender {
    /// Resolves the receipt; without effect when nobody waits for it.
    pub fn resolve(self, result: Result<Accepted, SendError>) {
        // The source may have dropped the receipt, which is its right.
        let _ = self.0.send(result);
    }

    /// Whether the receipt was dropped, so that nobody would see the result.
    pub fn is_unwanted(&self) -> bool {
        self.0.is_closed()
    }
}

impl Future for Receipt {
    type Output = Result<Accepted, SendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Ready(result) => Poll::Ready(result.clone()),
            State::Waiting(receiver) => Pin::new(receiver).poll(context).map(|result| {
                result.unwrap_or_else(|_| {
                    Err(SendError::Failed { reason: "the engine stopped before they were durable".into() })
                })
            }),
        }
    }
}
