//! Identity clusters: the connected components of the links that events assert.

use std::collections::{BTreeSet, HashMap};

use tidewater_model::{HashKey, PipelineSpec, ProfileId, base::BaseFacts};

use crate::{
    event::{Previous, ReadEvent},
    identifier::Id,
};

/// Links that are not taken although events assert them, each a pair of identifiers in either direction.
///
/// An identifier is the index of its definition and its normalized value. Tests take links back with this; the
/// identifiers themselves stay known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unlinked(BTreeSet<(Id, Id)>);

impl Unlinked {
    /// Takes back the link between `a` and `b`.
    pub fn insert(&mut self, a: (usize, &str), b: (usize, &str)) {
        let (a, b) = ((a.0, a.1.to_owned()), (b.0, b.1.to_owned()));
        self.0.insert((a.clone(), b.clone()));
        self.0.insert((b, a));
    }

    /// Whether no link is taken back.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These and those that were taken back before the cut.
    pub(crate) fn and(&self, base: &BaseFacts) -> Self {
        let mut all = self.clone();
        for (a, b) in &base.unlinked {
            let [a, b] = [a, b].map(|place| &base.identifiers[*place]);
            all.insert((a.identifier, &a.value), (b.identifier, &b.value));
        }
        all
    }

    fn contains(&self, a: &Id, b: &Id) -> bool {
        !self.is_empty() && self.0.contains(&(a.clone(), b.clone()))
    }
}

/// Everything the events say about who is who.
#[derive(Debug)]
pub(crate) struct Identities {
    /// Per identifier of the pipeline: where a value stands in `nodes`.
    known: Vec<HashMap<String, usize>>,
    nodes: Vec<Node>,
    links: Vec<(usize, usize)>,
    aliases: Vec<Alias>,
}

/// One identifier that some event mentions.
#[derive(Debug)]
struct Node {
    id: Id,
    /// The lowest place in the log of an event that mentions it.
    first_place: u64,
    /// How many events carry it at one of its paths, and whether one before the cut does.
    carriers: usize,
    is_carried_before: bool,
}

/// An alias event, kept until all events are known.
#[derive(Debug)]
struct Alias {
    place: u64,
    owner: usize,
    /// What the event itself carries.
    carries: BTreeSet<Id>,
    previous: Vec<Previous>,
    /// It stands before the cut, and no other event there carries its `previousId` as a user id.
    is_before: bool,
}

/// Identifiers that belong together.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) profile: ProfileId,
    /// Sorted by rank, then by value.
    pub(crate) members: Vec<Id>,
}

impl Identities {
    pub(crate) fn new(spec: &PipelineSpec) -> Self {
        let known = vec![HashMap::new(); spec.identifiers.len()];
        Self { known, nodes: Vec::new(), links: Vec::new(), aliases: Vec::new() }
    }

    /// Takes in what is left of the events before a cut; returns the nodes of its identifiers, those that only aliases
    /// mention aside.
    pub(crate) fn add_base(&mut self, base: &BaseFacts) -> Vec<Option<usize>> {
        let mut node_of = Vec::with_capacity(base.identifiers.len());
        for fact in &base.identifiers {
            let id = (fact.identifier, fact.value.clone());
            let node = fact.first_place.map(|place| self.mention(&id, place));
            if let Some(node) = node {
                self.nodes[node].is_carried_before = fact.is_carried;
            }
            node_of.push(node);
        }
        for (fact, node) in base.identifiers.iter().zip(&node_of) {
            for link in &fact.links {
                if let (Some(owner), Some(other)) = (*node, node_of[link.other]) {
                    self.links.push((owner, other));
                }
            }
        }
        for alias in &base.aliases {
            if let Some(owner) = node_of[alias.owner] {
                let previous = Previous {
                    as_user: Some(alias.as_user.clone()),
                    as_anonymous: alias.as_anonymous.clone(),
                };
                self.aliases.push(Alias {
                    place: alias.place,
                    owner,
                    carries: BTreeSet::new(),
                    previous: vec![previous],
                    is_before: true,
                });
            }
        }
        node_of
    }

    /// Takes in one event; returns the node of its owner.
    pub(crate) fn add(&mut self, place: u64, event: ReadEvent) -> usize {
        let owner = self.mention(&event.owner, place);
        for id in &event.identifiers {
            let node = self.mention(id, place);
            self.nodes[node].carriers += 1;
            self.links.push((owner, node));
        }
        if !event.previous.is_empty() {
            let (carries, previous) = (event.identifiers, event.previous);
            self.aliases.push(Alias { place, owner, carries, previous, is_before: false });
        }
        owner
    }

    /// The clusters, and per node the index of its cluster.
    pub(crate) fn clusters(
        mut self,
        spec: &PipelineSpec,
        key: HashKey,
        unlinked: &Unlinked,
    ) -> (Vec<Cluster>, Vec<usize>) {
        self.link_aliases();
        let mut components = Components::new(self.nodes.len());
        for (a, b) in &self.links {
            if !unlinked.contains(&self.nodes[*a].id, &self.nodes[*b].id) {
                components.join(*a, *b);
            }
        }

        let mut sorted: Vec<usize> = (0..self.nodes.len()).collect();
        sorted.sort_by(|a, b| self.nodes[*a].id.cmp(&self.nodes[*b].id));
        let mut cluster_of_root = HashMap::new();
        let mut clusters: Vec<Vec<&Node>> = Vec::new();
        let mut cluster_of_node = vec![0; self.nodes.len()];
        for node in sorted {
            let cluster = *cluster_of_root.entry(components.root(node)).or_insert(clusters.len());
            if cluster == clusters.len() {
                clusters.push(Vec::new());
            }
            clusters[cluster].push(&self.nodes[node]);
            cluster_of_node[node] = cluster;
        }

        let finish = |nodes: Vec<&Node>| {
            let members: Vec<Id> = nodes.iter().map(|node| node.id.clone()).collect();
            // Members are sorted by rank and value, and the first of equal ones is taken.
            let first = nodes.iter().min_by_key(|node| node.first_place);
            let id = first.map_or(0, |node| {
                let (identifier, value) = &node.id;
                key.seed(&spec.identifiers[*identifier].name).hash(value.as_bytes())
            });
            Cluster { profile: ProfileId(id), members }
        };
        (clusters.into_iter().map(finish).collect(), cluster_of_node)
    }

    fn mention(&mut self, id: &Id, place: u64) -> usize {
        let (identifier, value) = id;
        let node = match self.known[*identifier].get(value) {
            Some(node) => *node,
            None => {
                self.nodes.push(Node {
                    id: id.clone(),
                    first_place: place,
                    carriers: 0,
                    is_carried_before: false,
                });
                self.known[*identifier].insert(value.clone(), self.nodes.len() - 1);
                self.nodes.len() - 1
            }
        };
        let first_place = &mut self.nodes[node].first_place;
        *first_place = place.min(*first_place);
        node
    }

    /// Settles what each `previousId` stands for and links it to its event's owner.
    fn link_aliases(&mut self) {
        for alias in std::mem::take(&mut self.aliases) {
            for previous in &alias.previous {
                let user = previous.as_user.as_ref().filter(|user| self.another_carries(user, &alias));
                if let Some(meant) = user.or(previous.as_anonymous.as_ref()) {
                    let node = self.mention(meant, alias.place);
                    self.links.push((alias.owner, node));
                }
            }
        }
    }

    /// Whether an event other than the alias carries `id`.
    fn another_carries(&self, id: &Id, alias: &Alias) -> bool {
        let (identifier, value) = id;
        let Some(node) = self.known[*identifier].get(value).map(|node| &self.nodes[*node]) else {
            return false;
        };
        // Whatever carried it before the cut was the alias itself, if it stands there.
        let before = node.is_carried_before && !alias.is_before;
        node.carriers + usize::from(before) > usize::from(alias.carries.contains(id))
    }
}

/// Connected components: every node points towards the one that stands for its component.
struct Components {
    towards: Vec<usize>,
}

impl Components {
    fn new(nodes: usize) -> Self {
        Self { towards: (0..nodes).collect() }
    }

    fn root(&mut self, mut node: usize) -> usize {
        while self.towards[node] != node {
            // Halving the way keeps long chains from being walked again and again.
            self.towards[node] = self.towards[self.towards[node]];
            node = self.towards[node];
        }
        node
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.towards[a.max(b)] = a.min(b);
    }
}
