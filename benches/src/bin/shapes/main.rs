//! Awkward shapes of input: long chains, wide stars, merge storms, late events, a profile with one huge window.
//!
//! Each is measured beside ordinary CDP-1 events in the same run, on one worker driven by this thread, and checked:
//! a fast wrong answer ends the run.

mod clusters;
mod events;
mod grow;
mod late;
mod storm;
mod window;

use clap::Parser;
use serde_json::{Map, Value, json};
use tidewater_benches::Failure;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Measures awkward shapes of input and prints figures as JSON.
#[derive(Parser)]
struct Args {
    /// Which ones; left out, all of them.
    shapes: Vec<String>,
    /// Everything so many times smaller, to try a change out.
    #[arg(long, default_value_t = 1)]
    divide: usize,
}

type Shape = fn(usize) -> Result<Value, Failure>;

const SHAPES: &[(&str, Shape)] = &[
    ("chain", clusters::chain),
    ("star", clusters::star),
    ("storm", storm::storm),
    ("grow", grow::grow),
    ("late", late::late),
    ("window", window::window),
];

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    if let Some(unknown) = args.shapes.iter().find(|name| SHAPES.iter().all(|(known, _)| known != name)) {
        let known: Vec<&str> = SHAPES.iter().map(|(name, _)| *name).collect();
        return Err(format!("there is no shape `{unknown}`, but {}", known.join(", ")).into());
    }
    let mut report = Map::new();
    report.insert("bench".to_owned(), json!("shapes"));
    report.insert("divide".to_owned(), json!(args.divide));
    for (name, measure) in SHAPES {
        if args.shapes.is_empty() || args.shapes.iter().any(|wanted| wanted == name) {
            eprintln!("{name}");
            report.insert((*name).to_owned(), measure(args.divide.max(1))?);
        }
    }
    println!("{}", Value::Object(report));
    Ok(())
}
