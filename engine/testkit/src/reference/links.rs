//! The links of the identity graph, those of aliases included: what a `previousId` stands for depends on the other
//! events, so it is settled here, and settled again when another event changes it.

use serde::{Deserialize, Serialize};

use super::collection::{Collection, CollectionExt, Identifier};

/// An event's owner and another identifier that the event names.
pub(super) type Link = (Identifier, Identifier);

/// An alias event whose `previousId` can be a user id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct Alias {
    pub(super) place: u64,
    pub(super) owner: Identifier,
    /// What it stands for if no other event carries it as a user id.
    pub(super) anonymous: Option<Identifier>,
    /// Whether the alias event itself carries it.
    pub(super) carries_itself: bool,
}

/// What an alias turned out to say: its owner is this identifier too, first mentioned at the alias's place.
pub(super) type Settled = (Link, u64);

/// What the reduce below sees under one user id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Seen {
    /// An event carries it; as often as events do.
    Carried,
    Alias(Alias),
}

/// Extension trait for settling aliases.
pub(super) trait SettleAliases<'scope> {
    /// Settles what each `previousId` stands for. The collection holds aliases by the user id that theirs can be;
    /// `carried` holds every identifier as often as events carry it.
    fn settle_aliases(self, carried: Collection<'scope, Identifier>) -> Collection<'scope, Settled>;
}

impl<'scope> SettleAliases<'scope> for Collection<'scope, (Identifier, Alias)> {
    fn settle_aliases(self, carried: Collection<'scope, Identifier>) -> Collection<'scope, Settled> {
        let aliases = self.map(|(user, alias)| (user, Seen::Alias(alias)));
        carried
            .map(|identifier| (identifier, Seen::Carried))
            .concat(aliases)
            .reduce_named("SettleAliases", |user, seen: &[(&Seen, isize)], output| {
                // `Carried` sorts first, if it is there.
                let carriers = match seen.first() {
                    Some((Seen::Carried, events)) => *events,
                    _ => 0,
                };
                for (one, times) in seen {
                    let Seen::Alias(alias) = one else { continue };
                    let by_others = carriers > isize::from(alias.carries_itself);
                    let meant = if by_others { Some(user.clone()) } else { alias.anonymous.clone() };
                    output.extend(meant.map(|meant| (((alias.owner.clone(), meant), alias.place), *times)));
                }
            })
            .map(|(_user, settled)| settled)
            .consolidate_as("SettledAliases")
    }
}

/// Extension trait for taking links back.
pub(super) trait WithoutUnlinked<'scope> {
    /// The links, each once, but for those that were taken back; a link is taken back in both directions.
    fn without_unlinked(self, unlinked: Collection<'scope, Link>) -> Collection<'scope, Link>;
}

impl<'scope> WithoutUnlinked<'scope> for Collection<'scope, Link> {
    fn without_unlinked(self, unlinked: Collection<'scope, Link>) -> Collection<'scope, Link> {
        let both_ways = unlinked.clone().map(|(a, b)| (b, a)).concat(unlinked);
        let unlinked = both_ways.threshold_named("DistinctUnlinked", |_, _| 1isize);
        self.threshold_named("DistinctLinks", |_, _| 1isize)
            .map(|link| (link, ()))
            .antijoin(unlinked)
            .map(|(link, ())| link)
    }
}
