//! Acceptance as the engine does it, one event at a time: reject, drop duplicates, log, seal.

use std::collections::{BTreeMap, HashMap};

use tidewater_model::{ClockKind, Dedup, HashKey, PipelineSpec, RejectReason, Timestamp};

use crate::{
    evaluate::{Event, Outcome, evaluate_with},
    event::{ReadEvent, check_future, message_id, own_time},
    identifier::IdentifierRules,
    identity::Unlinked,
    json::Object,
};

/// An engine in slow motion: takes events in, seals epochs, and recomputes everything whenever it is asked.
#[derive(Clone, Debug)]
pub struct Oracle {
    spec: PipelineSpec,
    key: HashKey,
    rules: IdentifierRules,
    log: Vec<Logged>,
    /// How many events of the log are in sealed epochs.
    sealed: usize,
    now: Option<Timestamp>,
    /// The engine's clock: the wall clock, or the greatest accepted event time. Never goes back.
    clock: Option<Timestamp>,
    remembered: HashMap<MessageKey, Remembered>,
    rejected: Vec<(Vec<u8>, RejectReason)>,
    duplicates: u64,
    unlinked: Unlinked,
}

/// What became of one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It stands in the log at this place.
    Accepted {
        /// Its place in the log.
        place: u64,
        /// Its time.
        time: Timestamp,
    },
    /// It was accepted before; counted and not logged again.
    Duplicate,
    /// It went to quarantine.
    Rejected(RejectReason),
}

#[derive(Clone, Debug)]
struct Logged {
    accepted_at: Timestamp,
    bytes: Vec<u8>,
}

/// Makes two events the same message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum MessageKey {
    Id(String),
    /// Without a messageId, the content stands for it.
    Content(Content),
}

/// An event's top-level members as written, apart from those that change when it is sent again.
type Content = BTreeMap<String, String>;

type Message = (MessageKey, Content);

/// Members that say how an event travelled, not what happened.
const NOT_CONTENT: [&str; 3] = ["sentAt", "receivedAt", "_metadata"];

#[derive(Clone, Debug)]
struct Remembered {
    /// The engine's clock when it was accepted.
    at: Timestamp,
    content: Content,
}

impl Oracle {
    /// An empty engine.
    pub fn new(spec: PipelineSpec, key: HashKey) -> Self {
        let rules = IdentifierRules::new(&spec.identifiers);
        Self {
            spec,
            key,
            rules,
            log: Vec::new(),
            sealed: 0,
            now: None,
            clock: None,
            remembered: HashMap::new(),
            rejected: Vec::new(),
            duplicates: 0,
            unlinked: Unlinked::default(),
        }
    }

    /// Takes in one event while the wall clock stands at `wall`.
    pub fn push(&mut self, bytes: &[u8], wall: Timestamp) -> Pushed {
        let pushed = self.decide(bytes, wall);
        match pushed {
            Pushed::Accepted { .. } => {}
            Pushed::Duplicate => self.duplicates += 1,
            Pushed::Rejected(reason) => self.rejected.push((bytes.to_vec(), reason)),
        }
        pushed
    }

    /// Seals the epoch while the wall clock stands at `wall`; returns the epoch's `now`.
    ///
    /// Under `clock: event` the wall clock plays no part; before any event was accepted `now` is 1970.
    pub fn seal(&mut self, wall: Timestamp) -> Timestamp {
        if self.spec.clock == ClockKind::Wall {
            self.clock = self.clock.max(Some(wall));
        }
        self.sealed = self.log.len();
        self.now = self.clock;
        self.now()
    }

    /// The `now` of the last sealed epoch.
    pub fn now(&self) -> Timestamp {
        self.now.unwrap_or_default()
    }

    /// Takes back the link between two identifiers, for good.
    pub fn unlink(&mut self, a: (usize, &str), b: (usize, &str)) {
        self.unlinked.insert(a, b);
    }

    /// Everything as of the last sealed epoch, computed from nothing but the log.
    pub fn outcome(&self) -> Outcome {
        let events: Vec<Event<'_>> = self.events().take(self.sealed).collect();
        evaluate_with(&self.spec, self.key, &events, self.now(), &self.unlinked)
    }

    /// The log: every accepted event, those of the epoch that is still open included.
    pub fn events(&self) -> impl Iterator<Item = Event<'_>> {
        (0..).zip(&self.log).map(|(place, logged)| Event {
            place,
            accepted_at: logged.accepted_at,
            bytes: &logged.bytes,
        })
    }

    /// The quarantine, in order of arrival.
    pub fn rejected(&self) -> &[(Vec<u8>, RejectReason)] {
        &self.rejected
    }

    /// How many duplicates were dropped.
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// The definitions.
    pub fn spec(&self) -> &PipelineSpec {
        &self.spec
    }

    fn decide(&mut self, bytes: &[u8], wall: Timestamp) -> Pushed {
        let (time, message) = match self.read(bytes, wall) {
            Ok(read) => read,
            Err(reason) => return Pushed::Rejected(reason),
        };
        if self.spec.clock == ClockKind::Wall {
            self.clock = self.clock.max(Some(wall));
        }
        if let Some((key, content)) = &message
            && let Some(before) = self.remembered.get(key)
            && self.is_fresh(before.at)
        {
            let same = before.content == *content;
            return if same { Pushed::Duplicate } else { Pushed::Rejected(RejectReason::DuplicateConflict) };
        }
        if self.spec.clock == ClockKind::Event {
            self.clock = self.clock.max(Some(time));
        }
        if let (Some((key, content)), Some(at)) = (message, self.clock) {
            self.remembered.insert(key, Remembered { at, content });
        }
        let place = self.log.len() as u64;
        self.log.push(Logged { accepted_at: wall, bytes: bytes.to_vec() });
        Pushed::Accepted { place, time }
    }

    /// The event's time, and what makes it the same message as another, if anything does.
    fn read(&self, bytes: &[u8], wall: Timestamp) -> Result<(Timestamp, Option<Message>), RejectReason> {
        let event = Object::parse(bytes).ok_or(RejectReason::BadJson)?;
        let read = ReadEvent::new(&self.spec, &self.rules, &event, wall)?;
        check_future(&self.spec, read.time, wall)?;
        let has_own_time = own_time(&self.spec, &event)?.is_some();
        let content = content(&event);
        let key = match message_id(&event) {
            Some(id) => Some(MessageKey::Id(id)),
            None if has_own_time => Some(MessageKey::Content(content.clone())),
            None => None,
        };
        Ok((read.time, key.map(|key| (key, content))))
    }

    /// Whether a message accepted at `at` is still remembered.
    fn is_fresh(&self, at: Timestamp) -> bool {
        match (self.spec.dedup, self.clock) {
            (Dedup::For(window), Some(clock)) => {
                i128::from(clock.0) - i128::from(at.0) <= i128::from(window.0)
            }
            (Dedup::Forever, _) | (_, None) => true,
        }
    }
}

fn content(event: &Object<'_>) -> Content {
    let members = event.members().iter().filter(|member| !NOT_CONTENT.contains(&&*member.key));
    // Later members replace earlier ones of the same key.
    members.map(|member| (member.key.clone().into_owned(), member.text.to_owned())).collect()
}
