//! Finds what differs between the state of the dataflow and the outcome of the batch evaluator. Both are sorted, so
//! one walk along each pair of lists finds everything.

use std::cmp::Ordering;

use tidewater::{
    PipelineSpec, ProfileId, RejectReason,
    offline::{Identity, Membership},
};
use tidewater_model::profile::Profile;
use tidewater_oracle::Outcome;

/// What the dataflow says.
pub(super) struct Computed {
    /// By id.
    pub(super) profiles: Vec<Profile>,
    /// By (identifier, value).
    pub(super) identities: Vec<Identity>,
    pub(super) memberships: Vec<Membership>,
}

/// What differs, in words.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Differences {
    /// The first ones.
    pub(super) lines: Vec<String>,
    /// All of them.
    pub(super) count: u64,
    limit: usize,
}

impl Differences {
    /// Compares; keeps at most `limit` lines.
    pub(super) fn between(spec: &PipelineSpec, found: &Computed, expected: &Outcome, limit: usize) -> Self {
        let mut differences = Self { limit, ..Self::default() };
        // With other identifiers than it was accepted with, an event may be nobody's: it has no result to compare.
        let unusable = expected.unusable.iter().filter(|(_, reason)| *reason != RejectReason::NoIdentifier);
        for (place, reason) in unusable {
            differences.add(|| format!("event {place} in the log can't be used: {reason}"));
        }
        differences.identities(spec, &found.identities, &expected.identities);
        differences.profiles(spec, &found.profiles, &expected.profiles);
        differences.memberships(spec, &found.memberships, &expected.memberships);
        differences
    }

    /// Counts a difference and, as long as there is room, keeps it.
    pub(super) fn add(&mut self, line: impl FnOnce() -> String) {
        self.count += 1;
        if self.lines.len() < self.limit {
            self.lines.push(line());
        }
    }

    fn identities(
        &mut self,
        spec: &PipelineSpec,
        found: &[Identity],
        expected: &[(usize, String, ProfileId)],
    ) {
        let name = |identifier: usize| spec.identifiers[identifier].name.as_str();
        let order = |found: &Identity, expected: &(usize, String, ProfileId)| {
            (found.identifier, &found.value).cmp(&(expected.0, &expected.1))
        };
        walk(found, expected, order, |pair| match pair {
            Pair::Both(found, expected) if found.profile != expected.2 => self.add(|| {
                let (name, value) = (name(found.identifier), &found.value);
                format!(
                    "identity {name} {value:?}: belongs to {} in the state, to {} by the log",
                    found.profile, expected.2
                )
            }),
            Pair::Both(..) => {}
            Pair::Found(found) => self.add(|| {
                let name = name(found.identifier);
                format!("identity {name} {:?}: is in the state, not in the log", found.value)
            }),
            Pair::Expected((identifier, value, _)) => self
                .add(|| format!("identity {} {value:?}: is in the log, not in the state", name(*identifier))),
        });
    }

    fn profiles(&mut self, spec: &PipelineSpec, found: &[Profile], expected: &[Profile]) {
        walk(
            found,
            expected,
            |found, expected| found.id.cmp(&expected.id),
            |pair| match pair {
                Pair::Both(found, expected) => self.profile(spec, found, expected),
                Pair::Found(found) => {
                    self.add(|| format!("profile {}: is in the state, not by the log", found.id))
                }
                Pair::Expected(expected) => {
                    self.add(|| format!("profile {}: is in the log, not in the state", expected.id));
                }
            },
        );
    }

    fn profile(&mut self, spec: &PipelineSpec, found: &Profile, expected: &Profile) {
        let id = found.id;
        let lists = spec.identifiers.iter().zip(found.identifiers.iter().zip(&expected.identifiers));
        for (identifier, (found, expected)) in lists.filter(|(_, (found, expected))| found != expected) {
            self.add(|| {
                let name = &identifier.name;
                format!("profile {id}: {name} is {found:?} in the state, {expected:?} by the log")
            });
        }
        let values = spec.traits.iter().zip(found.traits.iter().zip(&expected.traits));
        for (computed, (found, expected)) in values.filter(|(_, (found, expected))| found != expected) {
            self.add(|| {
                format!("profile {id}: {} is {found} in the state, {expected} by the log", computed.name)
            });
        }
        for (index, segment) in spec.segments.iter().enumerate() {
            let (is, should) = (found.segments.contains(&index), expected.segments.contains(&index));
            if is != should {
                self.add(|| format!("profile {id}: {}", membership(&segment.name, is)));
            }
        }
    }

    fn memberships(&mut self, spec: &PipelineSpec, found: &[Membership], expected: &[(usize, ProfileId)]) {
        let name = |segment: usize| spec.segments[segment].name.as_str();
        let key = |segment: usize, profile: ProfileId| (name(segment), profile);
        let mut found: Vec<_> = found.iter().map(|member| key(member.segment, member.profile)).collect();
        let mut expected: Vec<_> =
            expected.iter().map(|(segment, profile)| key(*segment, *profile)).collect();
        found.sort_unstable();
        expected.sort_unstable();
        walk(&found, &expected, Ord::cmp, |pair| match pair {
            Pair::Both(..) => {}
            Pair::Found((segment, profile)) => {
                self.add(|| format!("membership of {profile}: {}", membership(segment, true)));
            }
            Pair::Expected((segment, profile)) => {
                self.add(|| format!("membership of {profile}: {}", membership(segment, false)));
            }
        });
    }
}

fn membership(segment: &str, is_member: bool) -> String {
    match is_member {
        true => format!("is in {segment} in the state, not by the log"),
        false => format!("is in {segment} by the log, not in the state"),
    }
}

/// What stands at one key of two sorted lists.
enum Pair<'a, A, B> {
    Both(&'a A, &'a B),
    Found(&'a A),
    Expected(&'a B),
}

fn walk<'a, A, B>(
    found: &'a [A],
    expected: &'a [B],
    order: impl Fn(&A, &B) -> Ordering,
    mut visit: impl FnMut(Pair<'a, A, B>),
) {
    let (mut found, mut expected) = (found.iter().peekable(), expected.iter().peekable());
    loop {
        let order = match (found.peek(), expected.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => order(a, b),
        };
        let a = if order.is_le() { found.next() } else { None };
        let b = if order.is_ge() { expected.next() } else { None };
        match (a, b) {
            (Some(a), Some(b)) => visit(Pair::Both(a, b)),
            (Some(a), None) => visit(Pair::Found(a)),
            (None, Some(b)) => visit(Pair::Expected(b)),
            (None, None) => return,
        }
    }
}

#[cfg(test)]
mod tests;
