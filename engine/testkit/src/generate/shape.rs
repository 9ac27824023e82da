//! Large clusters of known shapes, grown and cut: what random streams of few identifiers never make.

use proptest::{collection::vec, prelude::*, sample::select};
use tidewater_model::{Millis, PipelineSpec};

use super::{
    START, cdp1_pipeline,
    scenario::{Epoch, Scenario, Unlink},
};

/// How the links of a cluster lie.
#[derive(Clone, Copy, Debug)]
enum Shape {
    /// Each device was used by two people, each person used two devices.
    Chain,
    /// One person with many devices.
    Star,
    /// One device with many people.
    Kiosk,
    /// Pairs that meet, then pairs of pairs, and so on.
    Storm,
}

/// Random scenarios in which one cluster of up to `size` events' identifiers grows link by link, in any order, while
/// links of it are cut. The pipeline is that of CDP-1.
pub fn shapes(size: usize) -> impl Strategy<Value = Scenario> {
    let shape = select(vec![Shape::Chain, Shape::Star, Shape::Kiosk, Shape::Storm]);
    let links = (shape, 2..=size).prop_flat_map(|(shape, size)| Just(links(shape, size)).prop_shuffle());
    let cuts = vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..4);
    (links, cuts, 1..60usize).prop_map(|(links, cuts, per_epoch)| {
        let spec = cdp1_pipeline();
        let epoch = |(number, links): (usize, &[(usize, usize)])| Epoch {
            wait: Millis(1),
            events: links
                .iter()
                .enumerate()
                .map(|(at, link)| event(number * per_epoch + at, *link))
                .collect(),
            unlinks: Vec::new(),
        };
        let mut epochs: Vec<Epoch> = links.chunks(per_epoch).enumerate().map(epoch).collect();
        for (when, which) in cuts {
            let unlink = unlink(&spec, links[which.index(links.len())]);
            let at = when.index(epochs.len());
            epochs[at].unlinks.push(unlink);
        }
        Scenario { spec, epochs }
    })
}

/// Pairs of a person and a device.
fn links(shape: Shape, size: usize) -> Vec<(usize, usize)> {
    match shape {
        Shape::Chain => (0..size).map(|at| (at / 2 + at % 2, at / 2)).collect(),
        Shape::Star => (0..size).map(|at| (0, at)).collect(),
        Shape::Kiosk => (0..size).map(|at| (at, 0)).collect(),
        Shape::Storm => {
            // Person `at` has device `at`; person 0 of each half meets a device of the other half.
            let own = (0..size / 2).map(|at| (at, at));
            let meetings = (0..).map(|level| 1 << level).take_while(|step| *step < size / 2);
            let meet = |step: usize| {
                (0..size / 2)
                    .step_by(2 * step)
                    .map(move |at| (at, at + step))
                    .filter(move |(_, b)| *b < size / 2)
            };
            own.chain(meetings.flat_map(meet)).chain([(0, 0)]).collect()
        }
    }
}

/// Every third one is an order.
fn event(number: usize, (person, device): (usize, usize)) -> String {
    let name = ["Page Viewed", "Product Added", "Order Completed"][number % 3];
    // Times go back and forth, so that most come late.
    let time = START + (number as i64 * 7_919_000) % 1_000_000_000;
    format!(
        r#"{{"messageId":"m{number}","type":"track","timestamp":{time},"event":"{name}","userId":"u{person}","anonymousId":"a{device}","properties":{{"revenue":{}.1}}}}"#,
        number % 50
    )
}

fn unlink(spec: &PipelineSpec, (person, device): (usize, usize)) -> Unlink {
    let place = |name: &str| spec.identifiers.iter().position(|own| own.name == name).unwrap_or(0);
    ((place("user_id"), format!("u{person}")), (place("anonymous_id"), format!("a{device}")))
}
