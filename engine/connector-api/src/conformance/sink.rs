//! The rules of a sink, each checked against what stands at the destination in the end.

use std::{collections::HashMap, sync::Arc, task::Poll};

use tidewater_model::{Change, DeltaBatch, DeltaBatchBuilder, ProfileId, Timestamp, delta::DeltaNames};

use super::{Violation, ensure, within};
use crate::{Acknowledged, DeliveryError, Position, Sink};

/// One delta as it stands at the destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The key it came under, where the destination knows one (an idempotency id, a message id).
    pub key: Option<String>,
    /// Its epoch.
    pub epoch: u64,
    /// Its segment.
    pub segment: String,
    /// Its profile, 26 characters.
    pub profile: String,
    /// `entered` or `exited`.
    pub change: String,
}

/// Checks a sink on an empty destination. `make` gives a fresh sink on the same destination each time, as after a
/// restart; `read` gives everything that arrived there so far, in order.
///
/// # Errors
/// The first rule that is broken.
pub async fn check<S: Sink>(
    make: impl AsyncFn() -> S,
    read: impl AsyncFn() -> Vec<Arrival>,
) -> Result<(), Violation> {
    let exactly_once = make().await.capabilities().exactly_once;
    let batches: Vec<Arc<DeltaBatch>> = (1..=12).map(|epoch| Arc::new(sample(epoch))).collect();
    let arrived = async |upto: usize| -> Result<(), Violation> {
        compare(&read().await, &batches[..upto], exactly_once)
    };

    let mut sink = make().await;
    ensure(sink.max_batches() > 0, "takes at least one epoch at a time", || "max_batches is 0".into())?;
    let start = open(&mut sink, None).await?;

    // The engine crashes before any acknowledgement was stored.
    deliver(&mut sink, &batches[..2]).await?;
    arrived(2).await?;
    drop(sink);
    let mut sink = make().await;
    open(&mut sink, Some(Acknowledged { epoch: 0, position: start })).await?;
    let first = deliver(&mut sink, &batches[..3]).await?;
    arrived(3).await?;

    // The engine crashes before it stored the acknowledgement of epochs 4 and 5: they come again.
    deliver(&mut sink, &batches[3..5]).await?;
    arrived(5).await?;
    drop(sink);
    let mut sink = make().await;
    open(&mut sink, Some(Acknowledged { epoch: 3, position: first })).await?;
    deliver(&mut sink, &batches[3..6]).await?;
    arrived(6).await?;

    // A delivery is given up half-way and repeated, in the same process.
    let eighth = match abandon(sink.deliver(&batches[6..8])).await {
        Some(Ok(position)) => position,
        _ => deliver(&mut sink, &batches[6..8]).await?,
    };
    arrived(8).await?;

    // A crash in the middle of a delivery.
    let _ = abandon(sink.deliver(&batches[8..10])).await;
    drop(sink);
    let mut sink = make().await;
    open(&mut sink, Some(Acknowledged { epoch: 8, position: eighth })).await?;
    let tenth = deliver(&mut sink, &batches[8..10]).await?;
    arrived(10).await?;
    drop(sink);

    // A clean restart goes on behind the last acknowledgement, one epoch at a time.
    let mut sink = make().await;
    open(&mut sink, Some(Acknowledged { epoch: 10, position: tenth })).await?;
    for place in 10..12 {
        deliver(&mut sink, &batches[place..=place]).await?;
        arrived(place + 1).await?;
    }
    Ok(())
}

/// The deltas of one sample epoch, with strings that need escaping; every fourth epoch has none.
pub fn sample(epoch: u64) -> DeltaBatch {
    let names = Arc::new(DeltaNames::new(
        vec!["loyal".into(), "big_spender".into()],
        vec!["user_id".into(), "email".into()],
    ));
    let mut builder = DeltaBatchBuilder::new(epoch, Timestamp(1_767_608_100_000 + epoch as i64), names);
    let count = if epoch.is_multiple_of(4) { 0 } else { epoch % 4 + 1 };
    for number in 0..count {
        let change = if number % 2 == 0 { Change::Entered } else { Change::Exited };
        builder.delta((number % 2) as usize, ProfileId(u128::from(epoch * 100 + number)), change);
        builder.reason("plan \"pro\" -> \"\\n\u{1f30a}\"");
        builder.identifier(0, &format!("u{epoch}-{number}"));
        builder.identifier(1, &format!("\"u{number}\"@example.com"));
        builder.more(1, 3);
    }
    builder.finish()
}

async fn open<S: Sink>(sink: &mut S, acknowledged: Option<Acknowledged>) -> Result<Position, Violation> {
    let rule = "opens where it was acknowledged";
    let result = within(rule, sink.open(acknowledged.as_ref())).await?;
    result.map_err(|error| Violation { rule, detail: error.to_string() })
}

async fn deliver<S: Sink>(sink: &mut S, batches: &[Arc<DeltaBatch>]) -> Result<Position, Violation> {
    let rule = "delivers to a destination that works";
    let result = within(rule, sink.deliver(batches)).await?;
    result.map_err(|error: DeliveryError| Violation { rule, detail: error.to_string() })
}

/// Lets a future begin, then drops it; its output, should it have finished at once.
async fn abandon<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

fn compare(arrived: &[Arrival], batches: &[Arc<DeltaBatch>], exactly_once: bool) -> Result<(), Violation> {
    let expected: Vec<(u64, String, String, String)> = batches
        .iter()
        .flat_map(|batch| {
            batch.iter().map(|delta| {
                let (segment, profile) = (delta.segment().to_owned(), delta.profile().to_string());
                (batch.epoch(), segment, profile, delta.change().name().to_owned())
            })
        })
        .collect();
    let plain = |arrival: &Arrival| {
        let Arrival { epoch, segment, profile, change, .. } = arrival.clone();
        (epoch, segment, profile, change)
    };
    let got: Vec<_> = arrived.iter().map(plain).collect();
    if exactly_once {
        let rule = "every delta stands once at the destination, in order";
        return ensure(got == expected, rule, || format!("got {got:?}, expected {expected:?}"));
    }
    let mut seen = Vec::new();
    for delta in &got {
        if !seen.contains(delta) {
            seen.push(delta.clone());
        }
    }
    let rule = "every delta arrives, for the first time in order";
    ensure(seen == expected, rule, || format!("got {seen:?}, expected {expected:?}"))?;
    let mut keys = HashMap::new();
    for (arrival, delta) in arrived.iter().zip(got) {
        let before = keys.entry(delta).or_insert_with(|| arrival.key.clone());
        ensure(*before == arrival.key, "a repeated delta comes under the same key", || {
            format!("{before:?} and then {:?}", arrival.key)
        })?;
    }
    Ok(())
}
