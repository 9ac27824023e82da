//! Read events from a system of your own: a source that polls a table and, after a restart, goes on exactly where it
//! was.
//!
//! It needs the contract crate alone. The conformance suite holds it to the rules; then an engine runs it, twice.

use std::{
    error::Error,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tidewater::{Engine, Pipeline, Update, pipeline::FixedEnvironment};
use tidewater_connector_api::{
    Position, ReadError, SendError, Source, SourceCapabilities, SourceContext, conformance,
};

/// How many rows are read at a time, and how long to wait when there is none.
const BATCH: usize = 2;
const POLL_EVERY: Duration = Duration::from_millis(5);

/// Where rows are only ever added: an outbox table, say. Rows are events as JSON.
#[derive(Clone, Default)]
struct Table(Arc<Mutex<Vec<String>>>);

impl Table {
    fn add(&self, rows: impl IntoIterator<Item = String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(rows);
    }

    /// Rows from this number on, at most [`BATCH`]; `None` if the table has never been that long.
    fn rows_from(&self, first: usize) -> Option<Vec<String>> {
        let rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rows.get(first..).map(|rest| rest.iter().take(BATCH).cloned().collect())
    }
}

struct TableSource {
    table: Table,
}

impl Source for TableSource {
    fn capabilities(&self) -> SourceCapabilities {
        // It never ends by itself, and it can go on from any of its positions.
        SourceCapabilities { finite: false, replayable: true }
    }

    async fn run(&mut self, context: SourceContext) -> Result<(), ReadError> {
        let mut next = context.resume_from().map_or(Ok(0), read_position)?;
        while !context.is_closing() {
            let Some(rows) = self.table.rows_from(next) else {
                // Reading on from its end would skip rows in silence.
                let reason = format!("the table has fewer than {next} rows");
                return Err(ReadError::BadPosition { reason });
            };
            if rows.is_empty() {
                tokio::select! {
                    () = context.closing() => {}
                    () = tokio::time::sleep(POLL_EVERY) => {}
                }
                continue;
            }
            let mut events = context.buffer();
            rows.iter().for_each(|row| events.push(row.as_bytes()));
            next += rows.len();
            // Waits while the engine is busy. The receipt would say when the events are durable: a source that
            // answers its client waits for it, this one is given its last durable position at the next start.
            match context.send(events, Some(position(next))).await {
                Ok(receipt) => drop(receipt),
                Err(SendError::Closed) => return Ok(()),
                Err(error) => return Err(ReadError::failed(error.to_string())),
            }
        }
        Ok(())
    }
}

/// A version, then the number of the next row: a later version of this source must be able to read it.
fn position(next: usize) -> Position {
    Position([&[1], (next as u64).to_be_bytes().as_slice()].concat())
}

fn read_position(position: &Position) -> Result<usize, ReadError> {
    let next = match position.as_bytes() {
        [1, next @ ..] => <[u8; 8]>::try_from(next).ok().map(u64::from_be_bytes),
        _ => None,
    };
    let next = next.and_then(|next| usize::try_from(next).ok());
    next.ok_or_else(|| ReadError::BadPosition { reason: "not a position in a table".to_owned() })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // The rules first: every event in order, resuming behind every batch, closing at any moment.
    let table = Table::default();
    table.add((0..5).map(order));
    let expected: Vec<Vec<u8>> = (0..5).map(|number| order(number).into_bytes()).collect();
    conformance::source::check(async || TableSource { table: table.clone() }, &expected).await?;

    let pipeline = Pipeline::from_yaml(
        "
        identifiers: { user_id: { from: userId } }
        traits:      { orders: { count: Order Completed } }
        segments:    { five: orders == 5, seven: orders == 7 }
        ",
        &FixedEnvironment::new(),
    )?;
    let state = tempfile::tempdir()?;
    assert_eq!(run(&pipeline, &state, &table, "five").await?, 5);
    // Rows are added while nobody reads. The second engine reads these and none of the others.
    table.add((5..7).map(order));
    assert_eq!(run(&pipeline, &state, &table, "seven").await?, 2);
    println!("seven orders read in two runs, each once");
    Ok(())
}

/// Runs an engine on the table until `segment` has a member; how many events it has read.
async fn run(
    pipeline: &Pipeline,
    state: &tempfile::TempDir,
    table: &Table,
    segment: &str,
) -> Result<u64, Box<dyn Error>> {
    let source = TableSource { table: table.clone() };
    let engine = Engine::builder(pipeline).state(state.path()).source("orders", source).start().await?;
    let mut updates = engine.subscribe(segment)?;
    while let Some(update) = updates.next().await? {
        match update {
            // It may have been quicker than the subscription.
            Update::Snapshot { members, .. } if !members.is_empty() => break,
            Update::Delta(_) => break,
            _ => {}
        }
    }
    let read = engine.status().counts.events;
    engine.shutdown(Duration::from_secs(5)).await?;
    Ok(read)
}

fn order(number: u32) -> String {
    // Without a time: that would be the time of acceptance. So the messageId alone tells repeated ones.
    format!(r#"{{"type":"track","event":"Order Completed","messageId":"m{number}","userId":"u1"}}"#)
}
