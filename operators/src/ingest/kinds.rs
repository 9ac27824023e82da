//! What an event is, and which traits its name feeds.

use tidewater_model::EventKind;

use super::{
    PaddedEvent,
    json::{Field, Fields, NameTable, Node, PathTree, unescape},
};
use crate::plan::Plan;

/// The program of events whose name no trait asks for.
const UNNAMED: u16 = 0;

/// Tells events apart by their kind and name.
#[derive(Clone, Debug)]
pub(super) struct Kinds {
    kind: Node,
    event: Node,
    programs: NameTable,
    /// Programs of page and screen events without a name.
    page: u16,
    screen: u16,
}

impl Kinds {
    /// The names that a plan's traits ask for; adds the paths it needs to `tree`.
    pub(super) fn new(plan: &Plan, tree: &mut PathTree) -> Self {
        let mut programs = NameTable::default();
        for (name, program) in &plan.program_of {
            programs.insert(name.as_bytes(), u32::from(*program));
        }
        let of_default = |kind: EventKind| {
            let name = kind.default_event_name();
            name.and_then(|name| plan.program_of.get(name).copied()).unwrap_or(UNNAMED)
        };
        let (page, screen) = (of_default(EventKind::Page), of_default(EventKind::Screen));
        let (kind, event) = (tree.want_key("type"), tree.want_key("event"));
        Self { kind, event, programs, page, screen }
    }

    /// What `type` says.
    #[inline(always)]
    pub(super) fn kind(&self, fields: Fields<'_>) -> Option<EventKind> {
        match fields.get(self.kind) {
            Field::Text(name) => kind_named(name),
            Field::Escaped(raw) => {
                let mut name = Vec::new();
                unescape(raw, &mut name);
                kind_named(&name)
            }
            _ => None,
        }
    }

    /// The program that an event feeds.
    #[inline]
    pub(super) fn program(&self, kind: EventKind, fields: Fields<'_>) -> u16 {
        if !kind.is_named() {
            return UNNAMED;
        }
        match fields.get(self.event) {
            Field::Text(_) => {
                fields.find_name(self.event, &self.programs).map_or(UNNAMED, |found| found as u16)
            }
            Field::Escaped(raw) => {
                let mut name = Vec::new();
                unescape(raw, &mut name);
                let len = name.len();
                name.extend_from_slice(&[0; PaddedEvent::PADDING]);
                self.programs.get(&name, 0, len).map_or(UNNAMED, |found| found as u16)
            }
            _ => match kind {
                EventKind::Page => self.page,
                EventKind::Screen => self.screen,
                _ => UNNAMED,
            },
        }
    }
}

/// [`EventKind::from_name`] on bytes.
#[inline(always)]
fn kind_named(name: &[u8]) -> Option<EventKind> {
    Some(match name {
        b"track" => EventKind::Track,
        b"page" => EventKind::Page,
        b"identify" => EventKind::Identify,
        b"screen" => EventKind::Screen,
        b"group" => EventKind::Group,
        b"alias" => EventKind::Alias,
        _ => return None,
    })
}
