//! Take membership deltas to a system of your own, each with effect once although requests fail half-way.
//!
//! A sink needs the contract crate alone. It doesn't retry: it says what is known of a failed request, and the engine
//! delivers the same epochs again. The conformance suite holds it to the rules; then an engine uses it.

use std::{
    collections::{BTreeMap, HashSet},
    error::Error,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tidewater::{DeltaBatch, Engine, Pipeline, Settings, pipeline::FixedEnvironment};
use tidewater_connector_api::{
    Acknowledged, DeliveryError, Position, Sink, SinkCapabilities,
    conformance::{self, sink::Arrival},
};

/// Someone's CRM with an HTTP interface, in place of one. It applies a request at most once per idempotency key.
#[derive(Clone, Default)]
struct Crm(Arc<Mutex<Records>>);

#[derive(Default)]
struct Records {
    keys: HashSet<String>,
    applied: Vec<Arrival>,
    /// The next so many requests are applied, but their answers get lost.
    lost_answers: u32,
    requests: u32,
}

/// No answer: whether the request was applied is unknown.
struct NoAnswer;

impl Crm {
    async fn post(&self, key: &str, changes: Vec<Arrival>) -> Result<(), NoAnswer> {
        let mut records = self.records();
        records.requests += 1;
        if records.keys.insert(key.to_owned()) {
            records.applied.extend(changes);
        }
        let lost = records.lost_answers > 0;
        records.lost_answers = records.lost_answers.saturating_sub(1);
        if lost { Err(NoAnswer) } else { Ok(()) }
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct CrmSink {
    crm: Crm,
}

impl Sink for CrmSink {
    fn capabilities(&self) -> SinkCapabilities {
        // Because the CRM remembers keys for ever; where they expire, a repeated request may be applied twice.
        SinkCapabilities { exactly_once: true }
    }

    async fn open(&mut self, _acknowledged: Option<&Acknowledged>) -> Result<Position, DeliveryError> {
        // There is nothing to undo at the CRM and nothing to remember about it but the version of this sink. One that
        // writes to a file would return the file's length here, and cut off what was not acknowledged.
        Ok(Position(vec![1]))
    }

    async fn deliver(&mut self, batches: &[Arc<DeltaBatch>]) -> Result<Position, DeliveryError> {
        for batch in batches {
            // A function of the epoch alone: should it come again, it comes under the same key.
            let key = format!("tidewater-{}", batch.epoch());
            let posted = self.crm.post(&key, changes(batch, &key)).await;
            posted.map_err(|NoAnswer| DeliveryError::maybe_applied("no answer from the CRM"))?;
        }
        Ok(Position(vec![1]))
    }
}

/// What the CRM is told of an epoch. `tidewater_connector_api::json` writes the same as JSON.
fn changes(batch: &DeltaBatch, key: &str) -> Vec<Arrival> {
    let change = |delta: tidewater::Delta<'_>| Arrival {
        key: Some(key.to_owned()),
        epoch: batch.epoch(),
        segment: delta.segment().to_owned(),
        profile: delta.profile().to_string(),
        change: delta.change().name().to_owned(),
    };
    batch.iter().map(change).collect()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // The rules first: crashes before an acknowledgement was stored, deliveries that were given up, restarts.
    let crm = Crm::default();
    let sink = async || CrmSink { crm: crm.clone() };
    conformance::sink::check(sink, async || crm.records().applied.clone()).await?;

    let pipeline = Pipeline::from_yaml(
        "
        identifiers: { user_id: { from: userId } }
        traits:      { orders: { count: Order Completed }, returns: { count: Order Returned } }
        segments:    { happy: orders >= 1 and returns == 0 }
        ",
        &FixedEnvironment::new(),
    )?;
    let crm = Crm::default();
    crm.records().lost_answers = 2;
    let mut settings = Settings::default();
    settings.retry.first_ms = 1;
    let sink = CrmSink { crm: crm.clone() };
    let engine = Engine::builder(&pipeline).sink("crm", sink).settings(settings).in_memory().start().await?;
    for (event, user) in [("Order Completed", "u1"), ("Order Completed", "u2"), ("Order Returned", "u1")] {
        engine.ingest(track(event, user)).await?;
    }
    // Shutting down waits until every sink has everything, retries included.
    let report = engine.shutdown(Duration::from_secs(5)).await?;
    assert!(report.undelivered_sinks.is_empty(), "{report:?}");

    let records = crm.records();
    let mut tags: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for arrival in &records.applied {
        tags.entry(&arrival.profile).or_default().push(&arrival.change);
    }
    println!("{} requests, {} of them applied: {tags:?}", records.requests, records.keys.len());
    let mut histories: Vec<Vec<&str>> = tags.into_values().collect();
    histories.sort_by_key(Vec::len);
    assert_eq!(histories, [vec!["entered"], vec!["entered", "exited"]]);
    assert!(records.requests > records.keys.len() as u32, "two answers were lost");
    Ok(())
}

fn track(event: &str, user: &str) -> String {
    format!(r#"{{"type":"track","event":"{event}","messageId":"{event}-{user}","userId":"{user}"}}"#)
}
