//! From an HTTP request to the webhook's receiver: how long a delta takes with the log on.
//!
//! The load is open: request i is due at start + i / rate, whatever became of those before it, and every latency
//! counts from when the request was *due*. So a stall is charged with all the requests that should have been sent
//! meanwhile (no coordinated omission). The sender is a process of its own: this program again.

mod receiver;
mod sender;

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use clap::{Parser, Subcommand};
use serde_json::{Value, json};
use tidewater::Engine;
use tidewater_benches::{Failure, clock, figures::Durations, pipeline};
use tidewater_connectors::{
    http::{HttpSource, HttpSourceConfig},
    webhook::{WebhookConfig, WebhookSink},
};

use self::receiver::Receiver;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The key that the sender uses.
const WRITE_KEY: &str = "bench";
/// From the start of the sender to its first request.
const HEAD_START_US: i64 = 1_000_000;

/// Measures HTTP request to webhook delivery under an open load and prints it as JSON.
#[derive(Parser)]
struct Args {
    /// Requests a second, one event each.
    #[arg(long, default_value_t = 2_000)]
    rate: u64,
    /// How long they are sent.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// The first seconds, which are not counted.
    #[arg(long, default_value_t = 3)]
    warm_up: u64,
    /// Kept connections of the sender.
    #[arg(long, default_value_t = 32)]
    connections: u64,
    /// Where the event log goes, in a new directory; on a disk, not in memory. Left out: the temporary directory.
    #[arg(long)]
    state: Option<PathBuf>,
    /// Keeps no log, to see what fsync costs.
    #[arg(long)]
    no_log: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Subcommand)]
enum Role {
    /// What the second process does; started by the first.
    #[command(hide = true)]
    Send(sender::Load),
}

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    match &args.role {
        Some(Role::Send(load)) => sender::send(load),
        None => tokio::runtime::Runtime::new()?.block_on(measure(&args)),
    }
}

async fn measure(args: &Args) -> Result<(), Failure> {
    let requests = args.rate * args.seconds;
    let receiver = Receiver::start(requests as usize)?;
    let webhook = WebhookConfig::new(format!("http://{}/deltas", receiver.address()));
    let state = tempfile::tempdir_in(args.state.clone().unwrap_or_else(std::env::temp_dir))?;
    let source = HttpSource::bind(HttpSourceConfig::new(([127, 0, 0, 1], 0).into(), WRITE_KEY)).await?;
    let address = source.local_addr().ok_or("no address")?;
    let pipeline = pipeline::cdp1_live()?;
    let mut engine = Engine::builder(&pipeline)
        .workers(1)
        .source("http", source)
        .sink("webhook", WebhookSink::new(webhook, "bench", "webhook"));
    engine = if args.no_log { engine.in_memory() } else { engine.state(state.path().join("state")) };
    let engine = engine.start().await?;
    engine.ready().await?;

    let start = clock::unix_micros() + HEAD_START_US;
    let sent = run_sender(args, address, start).await?;
    engine.flush().await?;
    let counts = engine.status().counts;
    engine.shutdown(Duration::from_secs(30)).await?;

    let skipped = args.rate * args.warm_up;
    let mut delivered = Durations::default();
    let mut missing = 0;
    for (number, arrived) in receiver.arrivals().into_iter().enumerate() {
        let due = start + (number as u64 * 1_000_000 / args.rate) as i64;
        match arrived {
            None => missing += 1,
            Some(arrived) if number as u64 >= skipped => delivered.push_micros((arrived - due) as f64),
            Some(_) => {}
        }
    }
    let report = json!({
        "bench": "latency",
        "rate": args.rate,
        "seconds": args.seconds,
        "connections": args.connections,
        "log": !args.no_log,
        "requests": requests,
        "events": counts.events,
        "epochs": counts.epochs,
        "deltas": counts.deltas,
        "missing": missing,
        "due_to_delivered": delivered.to_json(),
        "sender": sent,
    });
    println!("{report}");
    if missing > 0 { Err(format!("{missing} deltas never arrived").into()) } else { Ok(()) }
}

/// Starts the sender and waits for its report.
async fn run_sender(args: &Args, address: SocketAddr, start: i64) -> Result<Value, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["send", "--address", &address.to_string(), "--key", WRITE_KEY]);
    for (name, value) in [
        ("--start", start),
        ("--rate", args.rate as i64),
        ("--requests", (args.rate * args.seconds) as i64),
        ("--skip", (args.rate * args.warm_up) as i64),
        ("--connections", args.connections as i64),
    ] {
        command.args([name, &value.to_string()]);
    }
    let child = command.stdout(Stdio::piped()).spawn()?;
    let output = tokio::task::spawn_blocking(move || child.wait_with_output()).await??;
    if !output.status.success() {
        return Err("the sender failed".into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}
