//! A scenario: a pipeline and what happens to it, epoch by epoch.

use proptest::{
    collection::vec,
    prelude::*,
    sample::select,
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use tidewater_model::{Millis, PipelineSpec};

use super::{
    START,
    edges::edges,
    event::{self, EventDraft},
    pipeline::pipelines,
};

/// A pipeline and what happens to it.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What is computed.
    pub spec: PipelineSpec,
    /// In order.
    pub epochs: Vec<Epoch>,
}

/// What happens before an epoch is sealed.
#[derive(Clone, Debug, Default)]
pub struct Epoch {
    /// How far the wall clock goes before the events arrive.
    pub wait: Millis,
    /// Events as received, in order; none is a step of time alone.
    pub events: Vec<String>,
    /// Links that are taken back, for good.
    pub unlinks: Vec<Unlink>,
}

/// A link that is taken back: two identifiers, each by its index in the pipeline and its value.
pub type Unlink = ((usize, String), (usize, String));

/// One epoch before its events are text.
#[derive(Clone, Debug)]
struct EpochDraft {
    wait: Wait,
    events: Vec<Arrival>,
    unlink: Option<(usize, usize, usize)>,
}

#[derive(Clone, Copy, Debug)]
enum Wait {
    For(i64),
    /// To one of the next instants at which time alone may change something, give or take.
    Edge {
        number: usize,
        off: i64,
    },
}

#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a few drafts a case; boxes would blur shrinking")]
enum Arrival {
    New(EventDraft),
    /// An event that arrived before comes again: as it was, with another `sentAt`, with other content, or as a new one.
    Again {
        back: usize,
        how: usize,
    },
}

/// Random scenarios of `epochs` epochs, or half as many, with at most `events` events each.
pub fn scenarios(epochs: usize, events: usize) -> impl Strategy<Value = Scenario> {
    (pipelines(), 1..7usize, vec(epoch(events), epochs / 2..=epochs)).prop_map(render)
}

/// The one scenario of a seed: the same on every run and machine.
pub fn scenario(epochs: usize, events: usize, seed: u64) -> Scenario {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    match scenarios(epochs, events).new_tree(&mut runner) {
        Ok(tree) => tree.current(),
        // No strategy here filters, so none gives up.
        Err(_) => Scenario { spec: PipelineSpec::default(), epochs: Vec::new() },
    }
}

fn epoch(events: usize) -> impl Strategy<Value = EpochDraft> {
    let waits = prop_oneof![
        8 => select(vec![0, 500, 1, 499, 501, 1_000, 5_000]).prop_map(Wait::For),
        12 => (0..3usize, -1..=1i64).prop_map(|(number, off)| Wait::Edge { number, off }),
        1 => select(vec![60_000, 3_600_000, 86_400_000]).prop_map(Wait::For),
    ];
    let arrivals = prop_oneof![
        12 => event::drafts().prop_map(Arrival::New),
        2 => (0..8usize, 0..6usize).prop_map(|(back, how)| Arrival::Again { back, how }),
    ];
    let counts = prop_oneof![3 => Just(0), 4 => 0..=events / 2, 1 => 0..=events];
    let unlinks = prop::option::weighted(0.2, (0..32usize, 0..8usize, 0..8usize));
    (waits, counts.prop_flat_map(move |count| vec(arrivals.clone(), count)), unlinks)
        .prop_map(|(wait, events, unlink)| EpochDraft { wait, events, unlink })
}

/// What rendering has to know of what came before.
struct Stream<'a> {
    spec: &'a PipelineSpec,
    crowd: usize,
    wall: i64,
    /// With the times they say.
    sent: Vec<(String, Option<i64>)>,
    drafts: Vec<EventDraft>,
}

fn render((spec, crowd, drafts): (PipelineSpec, usize, Vec<EpochDraft>)) -> Scenario {
    let mut stream = Stream { spec: &spec, crowd, wall: START + 5_000, sent: Vec::new(), drafts: Vec::new() };
    let epochs = drafts.into_iter().map(|draft| stream.epoch(draft)).collect();
    Scenario { spec, epochs }
}

impl Stream<'_> {
    fn epoch(&mut self, draft: EpochDraft) -> Epoch {
        let wait = match draft.wait {
            Wait::For(wait) => wait,
            Wait::Edge { number, off } => {
                self.edge(number).map_or(500, |edge| (edge + off - self.wall).max(0))
            }
        };
        self.wall += wait;
        let events = draft.events.into_iter().map(|arrival| self.event(arrival)).collect();
        let unlinks = draft.unlink.and_then(|pick| self.unlink(pick)).into_iter().collect();
        Epoch { wait: Millis(wait), events, unlinks }
    }

    fn event(&mut self, arrival: Arrival) -> String {
        let (text, time) = match arrival {
            Arrival::New(draft) => {
                let text = draft.render(self.sent.len(), self.crowd, self.wall);
                let time = draft.at(self.wall);
                self.drafts.push(draft);
                (text, time)
            }
            Arrival::Again { back, how } => {
                let again = self.sent.len().checked_sub(back + 1).and_then(|at| self.sent.get(at).cloned());
                let Some((text, time)) = again else { return r#"{"type":"track"}"#.to_owned() };
                let text = match how {
                    0 => text,
                    1 => text.replacen('{', r#"{"sentAt":"later","#, 1),
                    2 => text.replacen('{', r#"{"retry":1,"#, 1),
                    // As clients do that send the same alias on every start. The last key counts.
                    _ => {
                        let members = text.strip_suffix('}').unwrap_or(&text);
                        format!(r#"{members},"messageId":"again {}"}}"#, self.sent.len())
                    }
                };
                (text, time)
            }
        };
        self.sent.push((text.clone(), time));
        text
    }

    /// The `number`th instant from now on at which time alone may change something.
    fn edge(&self, number: usize) -> Option<i64> {
        let edges = edges(self.spec, self.sent.iter().filter_map(|(_, time)| *time));
        edges.into_iter().filter(|edge| *edge > self.wall).nth(number)
    }

    /// Two identifiers that one event named together, if the pick finds such.
    fn unlink(&self, (event, a, b): (usize, usize, usize)) -> Option<Unlink> {
        let draft = self.drafts.get(event % self.drafts.len().max(1))?;
        let place = |name: &str| self.spec.identifiers.iter().position(|spec| spec.name == name);
        let named = draft.who.plain(self.crowd);
        let found: Vec<(usize, String)> =
            named.into_iter().filter_map(|(name, value)| Some((place(name)?, value))).collect();
        let (a, b) = (found.get(a % found.len().max(1))?, found.get(b % found.len().max(1))?);
        (a != b).then(|| (a.clone(), b.clone()))
    }
}
