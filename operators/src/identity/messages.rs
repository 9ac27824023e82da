//! What workers tell each other within one epoch; with one worker, what its stages hand on.

use serde::{Deserialize, Serialize};

use crate::{
    profile::record::{First, Label},
    store::TextRef,
};

/// One identifier of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    pub(crate) hash: u128,
    pub(crate) rank: u8,
    pub(crate) text: TextRef,
}

/// A new link, on its way from the owner's worker to the other identifier's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Look {
    /// The other identifier.
    pub(crate) hash: u128,
    pub(crate) rank: u8,
    pub(crate) text: Vec<u8>,
    /// The event's place in the log.
    pub(crate) place: u64,
    /// The owner's label.
    pub(crate) owner: Label,
    pub(crate) kind: LookKind,
}

/// What a [`Look`] asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum LookKind {
    /// Know the identifier, and join its cluster with the owner's.
    Link,
    /// Know the identifier only: the link was taken back.
    Mention,
    /// Like `Link`, but the mention is an alias event's and may be given up again, unless it is settled.
    AliasLink { settled: bool },
    /// Like `AliasLink`, but know the identifier only: the link was taken back.
    AliasMention { settled: bool },
    /// An alias event at this place does not mention it any more.
    AliasForget,
    /// Join its cluster with the owner's; both were read from a snapshot.
    Known,
}

/// A pair of labels on its way over both homes.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Meeting {
    pub(crate) a: Label,
    /// What `a`'s home said, once it was there.
    pub(crate) met: Option<Side>,
    pub(crate) b: Label,
}

/// One cluster of a merge, as its home describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Side {
    pub(crate) label: Label,
    pub(crate) size: u32,
    pub(crate) first: First,
}

/// What every worker must know at the end of the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Merge {
    /// These two clusters become one.
    Join(Side, Side),
    /// A link of this cluster went away, or its first identifier may have changed: solve it again.
    Dirty(Label),
    /// The only member so far of this cluster, made in this epoch, came earlier than sides may say.
    Earlier(Label, First),
}

/// An event, or a part of one, for a cluster whose home is elsewhere.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RemoteFold {
    pub(crate) label: Label,
    pub(crate) program: u16,
    pub(crate) time: i64,
    /// Only windowed traits take it in: it was dated in the future and the others did at once.
    pub(crate) windowed_only: bool,
    /// The event's values; where strings that a trait keeps stand in `texts`.
    pub(crate) values: Vec<u64>,
    pub(crate) texts: Vec<u8>,
}

/// A member's values for a cluster whose home is elsewhere.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RemoteJoin {
    pub(crate) label: Label,
    pub(crate) member: Member,
    pub(crate) owns: bool,
    pub(crate) values: Vec<u64>,
    /// Per windowed trait, in order: its panes as words.
    pub(crate) panes: Vec<Vec<u64>>,
    /// Where the strings of unwindowed traits and of panes stand.
    pub(crate) texts: Vec<u8>,
}

/// One member of a dirty cluster with its links, for the cluster's home to solve.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Vertex {
    pub(crate) cluster: Label,
    pub(crate) node: Label,
    pub(crate) first: First,
    pub(crate) links: Vec<u128>,
}

/// Where a member of a dirty cluster belongs now: a cluster, or (`None`) it is alone.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Relabel {
    pub(crate) node: Label,
    pub(crate) label: Option<Label>,
    /// The id of the profile that it was split from, if that fell apart.
    pub(crate) from: Option<u128>,
}

/// Messages that stages leave for other workers.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pub(crate) looks: Vec<Look>,
    pub(crate) meetings: Vec<Meeting>,
    pub(crate) merges: Vec<Merge>,
    pub(crate) folds: Vec<RemoteFold>,
    pub(crate) joins: Vec<RemoteJoin>,
    pub(crate) vertices: Vec<Vertex>,
    pub(crate) relabels: Vec<Relabel>,
}
