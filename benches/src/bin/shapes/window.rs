//! One profile with 100,000 events in one window: in order, shuffled, newest first; their way out; and a window that
//! stays full while it moves on.

use serde_json::{Value, json};
use tidewater::RawEvents;
use tidewater_benches::{
    Failure,
    clickstream::Random,
    figures::{Durations, round},
};

use super::events::{Made, START_MS, VIEWS_7D, count, expect, fresh};

const VIEWS: usize = 100_000;
/// What the views are spread over, of the seven days of the window.
const SPAN_MS: i64 = 6 * 86_400_000;
/// The window.
const WEEK_MS: i64 = 7 * 86_400_000;
/// Epochs in which the views leave the window again.
const WAYS_OUT: i64 = 100;

/// Views one an epoch, and 1,000 an epoch.
pub(crate) fn window(divide: usize) -> Result<Value, Failure> {
    let views = VIEWS / divide;
    let mut places: Vec<usize> = (0..views).collect();
    let mut report = json!({ "views": views });
    for order in ["in_order", "shuffled", "newest_first"] {
        match order {
            "shuffled" => Random::new(1).shuffle(&mut places),
            "newest_first" => places.sort_by_key(|place| std::cmp::Reverse(*place)),
            _ => {}
        }
        let mut made = Made::new("w");
        for place in &places {
            made.add("Page Viewed", START_MS + SPAN_MS * *place as i64 / views as i64, "one", None);
        }
        report[order] = json!({
            "one_event_an_epoch": measure(made.events(), 1)?,
            "1000_events_an_epoch": measure(made.events(), 1_000)?,
        });
    }
    report["moving_on"] = move_on(views)?;
    Ok(report)
}

/// In order, for three windows: from the first full one on, each view that comes sends another one out.
fn move_on(views: usize) -> Result<Value, Failure> {
    let mut engine = fresh()?;
    let mut made = Made::new("w");
    for place in 0..3 * views as i64 {
        made.add("Page Viewed", START_MS + WEEK_MS * place / views as i64, "one", None);
    }
    let all = engine.epochs(made.events(), 1_000)?;
    expect("views", engine.profile("anon", "one")?.traits[VIEWS_7D].clone(), count(views))?;
    Ok(json!({ "us_per_event": round(all.mean() / 1_000.0), "epoch": all.to_json() }))
}

fn measure(views: &RawEvents, epoch: usize) -> Result<Value, Failure> {
    let mut engine = fresh()?;
    let entering = engine.epochs(views, epoch)?;
    expect("views", engine.profile("anon", "one")?.traits[VIEWS_7D].clone(), count(views.len()))?;
    // Somebody else's events move the time on until the last view has left.
    let mut others = Made::new("o");
    for step in 0..=WAYS_OUT {
        let time = START_MS + WEEK_MS + (SPAN_MS + 1) * step / WAYS_OUT;
        others.add("Product Viewed", time, "other", None);
    }
    let leaving = engine.epochs(others.events(), 1)?;
    expect("views at the end", engine.profile("anon", "one")?.traits[VIEWS_7D].clone(), count(0))?;
    let each = |durations: &Durations| round(durations.mean() * durations.len() as f64 / views.len() as f64);
    Ok(json!({
        "us_per_event": each(&entering),
        "epoch": entering.to_json(),
        "us_per_event_leaving": each(&leaving),
        "leaving_epoch": leaving.to_json(),
    }))
}
