//! CDP-1 beside the hand-written loop: the same bytes, whole processes, alternating, pinned to cores.
//!
//! Each round runs every contender once, in an order that turns from round to round; ratios are taken within a round
//! and the median of them is told. A first round warms up and is not counted. All find memory that was in use just before.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use clap::{Parser, ValueEnum};
use serde_json::{Value, json};
use tidewater_benches::{
    Failure,
    figures::{median, round, spread},
    handwritten::{Handwritten, phases},
};

/// Runs contenders in turn and prints their ratios as JSON.
#[derive(Parser)]
struct Args {
    /// The events, made by the workload's generator.
    input: PathBuf,
    /// The sources of the hand-written loop.
    #[arg(long)]
    handwritten: PathBuf,
    /// What to compare.
    #[arg(long, value_enum, default_value = "speed")]
    set: Set,
    /// Runs only contenders whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// Counted rounds.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// The two cores to use; the first of them for those that are pinned to one.
    #[arg(long, default_value = "0,1")]
    cores: String,
    /// Where builds, logs and deltas go; on a disk, not in memory. Left out: the temporary directory.
    #[arg(long)]
    work: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Set {
    /// One core and two, with and without the log.
    Speed,
    /// 10, 100 and 1,000 segments.
    Segments,
}

/// Twice what the log of CDP-1 takes.
const PAGE_CACHE_MIB: usize = 512;

/// One way to run the engine.
struct Contender {
    name: &'static str,
    cores: usize,
    log: bool,
    args: &'static [&'static str],
}

const SPEED: &[Contender] = &[
    Contender { name: "one core", cores: 1, log: false, args: &[] },
    Contender { name: "one core, log", cores: 1, log: true, args: &[] },
    Contender { name: "two cores", cores: 2, log: false, args: &[] },
    Contender { name: "two cores, log", cores: 2, log: true, args: &[] },
    Contender { name: "two cores, two workers", cores: 2, log: false, args: &["--workers", "2"] },
];

const SEGMENTS: &[Contender] = &[
    Contender { name: "10 segments", cores: 1, log: false, args: &["--segments", "10"] },
    Contender { name: "100 segments", cores: 1, log: false, args: &["--segments", "100"] },
    Contender { name: "1,000 segments", cores: 1, log: false, args: &["--segments", "1000"] },
];

/// One run of the hand-written loop.
struct Baseline {
    events_per_second: f64,
    load_events_per_second: f64,
}

/// The runs of one contender, each with the loop's run of the same round.
#[derive(Default)]
struct Runs {
    reports: Vec<Value>,
    ratios: Vec<f64>,
    load_ratios: Vec<f64>,
}

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let work = args.work.clone().unwrap_or_else(|| std::env::temp_dir().join("tidewater-benches"));
    std::fs::create_dir_all(&work)?;
    eprintln!("building the hand-written loop");
    let handwritten = Handwritten::build(&args.handwritten, &work.join("handwritten-target"))?;
    let is_wanted =
        |contender: &&Contender| args.only.as_ref().is_none_or(|only| contender.name.contains(only.as_str()));
    let set = match args.set {
        Set::Speed => SPEED,
        Set::Segments => SEGMENTS,
    };
    let contenders: Vec<&Contender> = set.iter().filter(is_wanted).collect();

    let mut baselines = Vec::new();
    let mut runs: Vec<Runs> = contenders.iter().map(|_| Runs::default()).collect();
    for number in 0..=args.rounds {
        eprintln!("{}", if number == 0 { "warming up".to_owned() } else { format!("round {number}") });
        let baseline = run_handwritten(&args, &handwritten, &work)?;
        for place in 0..contenders.len() {
            let place = (place + number) % contenders.len();
            let report = run_engine(&args, contenders[place], &work)?;
            // The first round warms up; what it computes is checked all the same.
            if number > 0 {
                runs[place].add(report, &baseline)?;
            }
        }
        if number > 0 {
            baselines.push(baseline.events_per_second);
        }
    }

    let told = contenders.iter().zip(&runs).map(|(contender, own)| tell(contender, own, &runs[0]));
    let told: Vec<Value> = told.collect();
    let report = json!({
        "bench": "compare",
        "rounds": args.rounds,
        "handwritten_events_per_second": spread(&baselines),
        "contenders": told,
    });
    println!("{report}");
    Ok(())
}

impl Runs {
    fn add(&mut self, report: Value, baseline: &Baseline) -> Result<(), Failure> {
        let rate = |report: &Value| report["events_per_second"].as_f64().ok_or("a report without a rate");
        self.ratios.push(rate(&report)? / baseline.events_per_second);
        self.load_ratios.push(rate(&report["phases"][0])? / baseline.load_events_per_second);
        self.reports.push(report);
        Ok(())
    }

    /// A figure that stands at this place in every report.
    fn all(&self, pointer: &str) -> Vec<f64> {
        self.reports.iter().filter_map(|report| report.pointer(pointer)?.as_f64()).collect()
    }

    fn median_of(&self, pointer: &str) -> f64 {
        round(median(&self.all(pointer)))
    }
}

fn tell(contender: &Contender, runs: &Runs, first: &Runs) -> Value {
    let rates = runs.all("/events_per_second");
    let to_first = |pointer: &str| -> Vec<f64> {
        runs.all(pointer).iter().zip(first.all(pointer)).map(|(own, first)| own / first).collect()
    };
    json!({
        "name": contender.name,
        "cores": contender.cores,
        "log": contender.log,
        "events_per_second": spread(&rates),
        "ratio_to_handwritten": spread(&runs.ratios),
        "ratio_to_handwritten_load_only": spread(&runs.load_ratios),
        "ratio_to_first_contender": spread(&to_first("/events_per_second")),
        "ratio_to_first_contender_load_only": spread(&to_first("/phases/0/events_per_second")),
        "cpu_seconds": spread(&runs.all("/cpu_seconds")),
        "deltas": runs.median_of("/deltas"),
        "epoch_1000_p50_us": runs.median_of("/phases/1/epoch/p50_us"),
        "epoch_1000_p99_us": runs.median_of("/phases/1/epoch/p99_us"),
        "epoch_10_p50_us": runs.median_of("/phases/2/epoch/p50_us"),
        "epoch_10_p99_us": runs.median_of("/phases/2/epoch/p99_us"),
        "peak_bytes": runs.median_of("/peak_bytes"),
        "members_match": runs.reports.iter().all(|report| report["members_match"] == true),
    })
}

fn run_handwritten(args: &Args, handwritten: &Handwritten, work: &Path) -> Result<Baseline, Failure> {
    warm_memory()?;
    let mut command = pinned(args, 1);
    command.arg(handwritten.program()).arg(&args.input).arg(work.join("handwritten"));
    let phases = phases(&output_of(command)?)?;
    let (events, seconds) = phases
        .iter()
        .fold((0, 0.0), |(events, seconds), phase| (events + phase.events, seconds + phase.seconds));
    Ok(Baseline {
        events_per_second: events as f64 / seconds,
        load_events_per_second: phases[0].events as f64 / phases[0].seconds,
    })
}

fn run_engine(args: &Args, contender: &Contender, work: &Path) -> Result<Value, Failure> {
    warm_memory()?;
    let mut command = pinned(args, contender.cores);
    command.arg(beside_this("cdp1")?).arg(&args.input).arg("--work").arg(work).args(contender.args);
    if contender.log {
        warm_page_cache(work)?;
        command.arg("--state").arg(work);
    }
    if matches!(args.set, Set::Speed) {
        command.arg("--members").arg(work.join("handwritten").join("members.csv"));
    }
    Ok(serde_json::from_str(&output_of(command)?)?)
}

/// Has the host of a virtual machine back free memory before a program takes it. Some take memory back that stands free,
/// and whoever touches it next waits for it: 0.4 s for 200 MB where it is 0.02 s otherwise, and as much as half of a run,
/// depending on who ran before. Neither program should pay for that.
fn warm_memory() -> Result<(), Failure> {
    output_of(Command::new(beside_this("touch_memory")?)).map(drop)
}

/// The same for the pages through which a log is written: as on a machine that has written files for a while.
fn warm_page_cache(work: &Path) -> Result<(), Failure> {
    let path = work.join("written-before");
    let piece = vec![1; 1 << 20];
    let mut file = File::create(&path)?;
    for _ in 0..PAGE_CACHE_MIB {
        file.write_all(&piece)?;
    }
    file.sync_all()?;
    Ok(std::fs::remove_file(path)?)
}

/// A command on so many cores.
fn pinned(args: &Args, cores: usize) -> Command {
    let list: Vec<&str> = args.cores.split(',').take(cores).collect();
    let mut command = Command::new("taskset");
    command.arg("--cpu-list").arg(list.join(","));
    command
}

fn output_of(mut command: Command) -> Result<String, Failure> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout)?);
    }
    Err(format!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr)).into())
}

/// Another program of this package.
fn beside_this(name: &str) -> Result<PathBuf, Failure> {
    let program = std::env::current_exe()?.with_file_name(name);
    match program.exists() {
        true => Ok(program),
        false => Err(format!("{} is missing: build all of this package", program.display()).into()),
    }
}
