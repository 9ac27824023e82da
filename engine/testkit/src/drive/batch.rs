//! What every batch of deltas has to be: sorted, net, with the right identifiers, and together the oracle's members.

use tidewater_model::{Change, Delta, DeltaBatch, ProfileId, delta::MAX_LISTED_VALUES};
use tidewater_oracle::Outcome;

use super::{Difference, Tandem};

impl Tandem {
    /// Adds a batch to the deltas so far and checks it.
    pub(super) fn fold(&mut self, batch: &DeltaBatch, expected: &Outcome) -> Result<(), Difference> {
        let mut last: Option<(&str, ProfileId)> = None;
        for delta in batch.iter() {
            let key = (delta.segment(), delta.profile());
            // Strictly: a profile that both enters and leaves in one batch is not net.
            if last.is_some_and(|last| last >= key) {
                return Err(self.difference(format!("batch not sorted or not net at {key:?}")));
            }
            last = Some(key);
            self.check_names(&delta)?;
            self.check_identifiers(&delta, expected)?;
            let member = (delta.segment_index(), delta.profile());
            let was_member = match delta.change() {
                Change::Entered => self.folded.insert(member, batch.now()).is_some(),
                Change::Exited => self.folded.remove(&member).is_some(),
            };
            if was_member == (delta.change() == Change::Entered) {
                return Err(self.difference(format!("{key:?} {} twice", delta.change().name())));
            }
        }
        let mut members: Vec<_> = self.folded.keys().copied().collect();
        members.sort_by_key(|(segment, profile)| (self.spec.segments[*segment].name.as_bytes(), *profile));
        self.compare("the deltas so far, added up", &expected.memberships, &members)
    }

    fn check_names(&self, delta: &Delta<'_>) -> Result<(), Difference> {
        let name = &self.spec.segments[delta.segment_index()].name;
        self.compare("a delta's segment", &name.as_str(), &delta.segment())?;
        match delta.reason() {
            "" => Err(self.difference("a delta without a reason".to_owned())),
            _ => Ok(()),
        }
    }

    /// The profile's identifiers at the end of the epoch; of a profile that is gone, of the epoch before.
    fn check_identifiers(&self, delta: &Delta<'_>, now: &Outcome) -> Result<(), Difference> {
        let of = |outcome: &Outcome| {
            let at = outcome.profiles.binary_search_by_key(&delta.profile(), |profile| profile.id).ok()?;
            Some(outcome.profiles[at].identifiers.clone())
        };
        let Some(all) = of(now).or_else(|| of(&self.outcome)) else {
            return Err(self.difference(format!("a delta of {}, which never was a profile", delta.profile())));
        };
        let mut listed = Vec::new();
        let mut more = Vec::new();
        for (identifier, values) in all.iter().enumerate() {
            listed.extend(values.iter().take(MAX_LISTED_VALUES).map(|value| (identifier, value.as_str())));
            let rest = values.len().saturating_sub(MAX_LISTED_VALUES);
            more.extend((rest > 0).then_some((identifier, rest as u32)));
        }
        let what = format!("identifiers of {} in {}", delta.profile(), delta.segment());
        self.compare(&what, &listed, &delta.identifiers().collect())?;
        self.compare(&what, &more, &delta.more().collect())
    }
}
