//! `tidewater verify` finds every planted bug that makes the dataflow compute something else than the contract says.
//!
//! The log is written by a sound engine; the bug is planted while it is verified, for this thread alone: that is
//! where `verify` computes.
#![allow(clippy::unwrap_used)]

use std::{panic::AssertUnwindSafe, path::Path, sync::Arc, time::Duration};

use tidewater::{Engine, ManualClock, Millis, Pipeline, Settings, offline, pipeline::FixedEnvironment};
use tidewater_operators::planted::{Bug, plant_here};
use tidewater_server::{
    commands::verify::{VerifyArgs, verify},
    exit::Exit,
    terminal::Bars,
};
use tidewater_testkit::generate::{START, Scenario, scenario, yaml};

/// How many seeds are tried, from 0 on.
const CASES: u64 = 400;

/// What no log can show: two are about what gets into it, and four change nothing in the end unless links are taken back by
/// command, which the log does not hold yet.
const SHOW_ELSEWHERE: [Bug; 6] = [
    Bug::DuplicateCounted,
    Bug::DedupLostOnRestart,
    Bug::RetractedLinkKept,
    Bug::PartialDroppedOnSplit,
    Bug::OwnerByArrival,
    Bug::OwnerCountsForOther,
];

#[test]
fn every_bug_that_corrupts_a_result_is_found_by_verify() {
    let mut wanted: Vec<Bug> = Bug::ALL.into_iter().filter(|bug| !SHOW_ELSEWHERE.contains(bug)).collect();
    for seed in 0..CASES {
        if wanted.is_empty() {
            break;
        }
        let directory = tempfile::tempdir().unwrap();
        write_log(&scenario(14, 10, seed), directory.path(), Settings::default());
        // Without it `verify` computes all of the state itself, which is where the bug is.
        std::fs::remove_dir_all(directory.path().join("checkpoints")).unwrap();
        assert_eq!(verified(directory.path()), Some(Exit::Fine), "seed {seed} without a bug");
        wanted.retain(|bug| !is_found(*bug, directory.path(), seed));
    }
    assert!(wanted.is_empty(), "not found within {CASES} cases: {wanted:?}");
}

/// Whether `verify` finds fault with this state directory while it has the bug itself.
fn is_found(bug: Bug, state: &Path, seed: u64) -> bool {
    let _planted = plant_here(bug);
    let is_found = verified(state) != Some(Exit::Fine);
    if is_found {
        println!("{bug:?}: seed {seed}");
    }
    is_found
}

/// `None` is a panic, which counts as found: it would be one in production, too.
fn verified(state: &Path) -> Option<Exit> {
    let args = VerifyArgs { state: state.to_owned(), limit: 1 };
    std::panic::catch_unwind(AssertUnwindSafe(|| verify(args, &Bars::new()).unwrap())).ok()
}

fn write_log(scenario: &Scenario, state: &Path, settings: Settings) {
    let pipeline = Pipeline::from_yaml(&yaml(&scenario.spec), &FixedEnvironment::new()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let clock = Arc::new(ManualClock::new(tidewater::Timestamp(START)));
        let retires = settings.log_keep_bytes.is_some();
        let builder = Engine::builder(&pipeline).clock(Arc::clone(&clock) as _).settings(settings);
        let engine = builder.state(state).start().await.unwrap();
        clock.advance(Millis(5_000));
        for epoch in &scenario.epochs {
            clock.advance(epoch.wait);
            engine.ingest_batch(epoch.events.iter().collect::<tidewater::RawEvents>()).await.unwrap();
            engine.seal().await.unwrap();
            if retires {
                // Long enough for full files to be sealed by then, mostly.
                tokio::time::sleep(Duration::from_millis(3)).await;
                engine.checkpoint().await.unwrap();
            }
        }
        engine.shutdown(Duration::from_secs(60)).await.unwrap();
    });
}

/// Bugs that show soon, so that also what came behind a base shows them.
const SHOW_SOON: [Bug; 5] = [
    Bug::LastByArrival,
    Bug::MemberNotRelabelled,
    Bug::UnionInArrivalOrder,
    Bug::NestedSegmentStale,
    Bug::WindowMergeDropsPanes,
];

#[test]
fn bugs_are_also_found_when_the_first_events_were_retired() {
    let mut wanted = SHOW_SOON.to_vec();
    let mut retired = 0;
    for seed in 0..CASES {
        if wanted.is_empty() {
            break;
        }
        let directory = tempfile::tempdir().unwrap();
        let settings = Settings { log_file_bytes: 700, log_keep_bytes: Some(1_500), ..Settings::default() };
        write_log(&scenario(14, 10, seed), directory.path(), settings);
        let state = offline::open_state(directory.path()).unwrap();
        let Some(base) = state.base().unwrap() else { continue };
        retired += 1;
        assert_eq!(verified(directory.path()), Some(Exit::Fine), "seed {seed} without a bug");
        // Only the base is left, so that what came behind it is computed with the bug.
        for entry in std::fs::read_dir(directory.path().join("checkpoints")).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            if name.ends_with(".manifest") && name != format!("{:020}.manifest", base.epoch) {
                std::fs::remove_file(entry.path()).unwrap();
            }
        }
        assert_eq!(verified(directory.path()), Some(Exit::Fine), "seed {seed} from the base");
        wanted.retain(|bug| !is_found(*bug, directory.path(), seed));
    }
    assert!(wanted.is_empty(), "not found in {retired} retired logs: {wanted:?}");
}
