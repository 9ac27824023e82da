//! The pipeline of the workload CDP-1: three identifiers, seven traits, and as many segments as a run asks for.

use tidewater::{
    Pipeline, PipelineErrors,
    pipeline::{Identifier, PipelineBuilder, Trait},
};
use tidewater_model::ClockKind;

/// The segments of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segments {
    /// S1 to S5, which the hand-written loop computes too.
    Five,
    /// So many, a fifth of each kind, each kind with the lowest thresholds.
    Many(usize),
}

/// The pipeline CDP-1. Time is the events' own; the window of a week is exact to the millisecond.
///
/// # Errors
/// If the definitions are wrong, which would be a mistake here.
pub fn cdp1(segments: Segments) -> Result<Pipeline, PipelineErrors> {
    with_segments(definitions(ClockKind::Event), segments).build()
}

/// The same with the five segments under the wall clock, for events that happen while they are sent.
///
/// # Errors
/// As [`cdp1`].
pub fn cdp1_live() -> Result<Pipeline, PipelineErrors> {
    with_segments(definitions(ClockKind::Wall), Segments::Five).build()
}

fn definitions(clock: ClockKind) -> PipelineBuilder {
    Pipeline::builder()
        .name("cdp1")
        .clock(clock)
        .dedup("7d")
        .identifier(Identifier::from_path("anon", "anonymousId"))
        .identifier(Identifier::from_path("user", "userId"))
        .identifier(Identifier::from_path("email", "email"))
        .trait_(Trait::count("events", "*"))
        .trait_(Trait::count("orders", "Order Completed"))
        .trait_(Trait::sum("revenue", "properties.revenue").event("Order Completed"))
        .trait_(Trait::count("adds", "Product Added"))
        .trait_(Trait::first_time("first_seen", "*"))
        .trait_(Trait::last_time("last_seen", "*"))
        .trait_(Trait::count("views_7d", "Page Viewed").window("7d").resolution("1ms"))
}

fn with_segments(pipeline: PipelineBuilder, segments: Segments) -> PipelineBuilder {
    match segments {
        Segments::Five => pipeline
            .segment("S1", "orders >= 3")
            .segment("S2", "revenue >= 500")
            .segment("S3", "has(email) and orders == 0")
            .segment("S4", "adds >= 1 and orders == 0")
            .segment("S5", "views_7d >= 5"),
        Segments::Many(count) => (0..count).fold(pipeline, |pipeline, number| {
            let k = number / 5 + 1;
            let (kind, condition) = match number % 5 {
                0 => ("orders", format!("orders >= {k}")),
                1 => ("revenue", format!("revenue >= {k}")),
                2 => ("adds", format!("adds >= {k} and orders == 0")),
                3 => ("views", format!("views_7d >= {k}")),
                _ => ("mail", format!("has(email) and orders <= {k}")),
            };
            pipeline.segment(format!("{kind}_{k}"), condition)
        }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_definitions_are_right() {
        assert_eq!(cdp1(Segments::Five).unwrap().spec().segments.len(), 5);
        assert_eq!(cdp1_live().unwrap().spec().traits.len(), 7);
        let many = cdp1(Segments::Many(1_000)).unwrap();
        assert_eq!(many.spec().segments.len(), 1_000);
        assert_eq!(many.spec().segments[999].name, "mail_200");
    }
}
