//! CDP-1 calculated by hand: plain maps, a union-find and whole cents. It knows only this workload, so that a million
//! events can be compared after every epoch; a test holds it to the batch oracle on few.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value as Json;
use tidewater_model::{Decimal, HashKey, IdentifierSeed, PipelineSpec, Profile, ProfileId, Timestamp, Value};

const WEEK_MS: i64 = 7 * 86_400_000;
/// Ranks of the workload's identifiers.
const KEYS: [&str; 3] = ["userId", "email", "anonymousId"];

/// A member of a segment: the segment's index and the profile.
pub type Member = (usize, ProfileId);

/// What is known of the events so far.
#[derive(Clone, Debug)]
pub struct PlainCdp1 {
    seeds: Vec<IdentifierSeed>,
    number: HashMap<(usize, String), usize>,
    nodes: Vec<Node>,
    /// At the root of each cluster.
    clusters: Vec<Option<Cluster>>,
    places: u64,
    now: i64,
    /// When the oldest views of clusters leave the week: the time, and a node of the cluster.
    expiries: BTreeSet<(i64, usize)>,
    /// Roots that were changed since the last epoch, and ids that went.
    touched: BTreeSet<usize>,
    members: BTreeSet<Member>,
    members_of: HashMap<ProfileId, u8>,
    gone: Vec<ProfileId>,
}

#[derive(Clone, Debug)]
struct Node {
    id: (usize, String),
    parent: usize,
}

#[derive(Clone, Debug)]
struct Cluster {
    /// The first identifier: its place, rank and value.
    first: (u64, usize, String),
    nodes: Vec<usize>,
    events: i64,
    orders: i64,
    cents: i64,
    adds: i64,
    first_seen: i64,
    last_seen: i64,
    /// Times of page views of the last seven days.
    views: BTreeMap<i64, i64>,
    has_email: bool,
}

impl PlainCdp1 {
    /// Nothing yet; `spec` is [`cdp1_pipeline`](crate::generate::cdp1_pipeline).
    pub fn new(spec: &PipelineSpec, key: HashKey) -> Self {
        Self {
            seeds: spec.identifiers.iter().map(|identifier| key.seed(&identifier.name)).collect(),
            number: HashMap::new(),
            nodes: Vec::new(),
            clusters: Vec::new(),
            places: 0,
            now: i64::MIN,
            expiries: BTreeSet::new(),
            touched: BTreeSet::new(),
            members: BTreeSet::new(),
            members_of: HashMap::new(),
            gone: Vec::new(),
        }
    }

    /// Takes in one event of the workload.
    pub fn add(&mut self, line: &str) {
        let event: Json = serde_json::from_str(line).unwrap_or_default();
        let place = self.places;
        self.places += 1;
        let ids = (0..).zip(KEYS).filter_map(|(rank, key)| Some((rank, event[key].as_str()?.to_owned())));
        let nodes: Vec<usize> = ids.map(|id| self.node(id, place)).collect();
        let Some(owner) = nodes.first() else { return };
        nodes.iter().for_each(|other| self.join(*owner, *other));

        let time = event["timestamp"].as_i64().unwrap_or_default();
        self.now = self.now.max(time);
        let root = self.root(*owner);
        self.touched.insert(root);
        let Some(cluster) = &mut self.clusters[root] else { return };
        cluster.events += 1;
        cluster.first_seen = cluster.first_seen.min(time);
        cluster.last_seen = cluster.last_seen.max(time);
        match event["event"].as_str() {
            Some("Order Completed") => {
                cluster.orders += 1;
                let revenue = event["properties"]["revenue"].as_f64().unwrap_or_default();
                cluster.cents += (revenue * 100.0).round() as i64;
            }
            Some("Product Added") => cluster.adds += 1,
            Some("Page Viewed") => {
                *cluster.views.entry(time).or_insert(0) += 1;
                self.expiries.insert((time + WEEK_MS, *owner));
            }
            _ => {}
        }
    }

    /// Ends an epoch: who entered and who left.
    pub fn seal(&mut self) -> (Vec<Member>, Vec<Member>) {
        while let Some((_, node)) = self.expiries.first().filter(|(at, _)| *at <= self.now).copied() {
            self.expiries.pop_first();
            let root = self.root(node);
            self.touched.insert(root);
        }
        let before = std::mem::take(&mut self.gone).into_iter().map(|id| (id, 0));
        let mut after: HashMap<ProfileId, u8> = before.collect();
        for root in std::mem::take(&mut self.touched) {
            let now = self.now;
            let Some(cluster) = &mut self.clusters[root] else { continue };
            cluster.views = cluster.views.split_off(&(now - WEEK_MS + 1));
            let answers = cluster.answers();
            after.insert(self.id(root), answers);
        }
        let (mut entered, mut exited) = (Vec::new(), Vec::new());
        for (id, answers) in after {
            let old = self.members_of.insert(id, answers).unwrap_or(0);
            for segment in 0..5 {
                let is_in = |bits: u8| bits >> segment & 1 == 1;
                match (is_in(old), is_in(answers)) {
                    (false, true) => entered.push((segment, id)),
                    (true, false) => exited.push((segment, id)),
                    _ => {}
                }
            }
        }
        self.members.extend(entered.iter().copied());
        exited.iter().for_each(|member| {
            self.members.remove(member);
        });
        (entered, exited)
    }

    /// The greatest event time.
    pub fn now(&self) -> Timestamp {
        Timestamp(self.now)
    }

    /// The members as of the last epoch.
    pub fn members(&self) -> &BTreeSet<Member> {
        &self.members
    }

    /// All profiles as of the last epoch, by id.
    pub fn profiles(&self) -> Vec<Profile> {
        let profile = |(root, cluster): (usize, &Cluster)| {
            let mut identifiers = vec![Vec::new(); KEYS.len()];
            for node in &cluster.nodes {
                let (rank, value) = &self.nodes[*node].id;
                identifiers[*rank].push(value.clone());
            }
            identifiers.iter_mut().for_each(|values| values.sort());
            let answers = cluster.answers();
            Profile {
                id: self.id(root),
                identifiers,
                traits: cluster.traits(self.now),
                segments: (0..5).filter(|segment| answers >> segment & 1 == 1).collect(),
            }
        };
        let roots = (0..).zip(&self.clusters).filter_map(|(root, cluster)| Some((root, cluster.as_ref()?)));
        let mut profiles: Vec<Profile> = roots.map(profile).collect();
        profiles.sort_by_key(|profile| profile.id);
        profiles
    }

    /// All identifiers with their clusters, by (identifier, value).
    pub fn identities(&self) -> Vec<(usize, String, ProfileId)> {
        let roots = (0..).zip(&self.clusters).filter_map(|(root, cluster)| Some((root, cluster.as_ref()?)));
        let of = |(root, cluster): (usize, &Cluster)| {
            let id = self.id(root);
            let named = |node: &usize| (self.nodes[*node].id.0, self.nodes[*node].id.1.clone(), id);
            cluster.nodes.iter().map(named).collect::<Vec<_>>()
        };
        let mut identities: Vec<_> = roots.flat_map(of).collect();
        identities.sort();
        identities
    }

    fn node(&mut self, id: (usize, String), place: u64) -> usize {
        if let Some(node) = self.number.get(&id) {
            return *node;
        }
        let node = self.nodes.len();
        self.nodes.push(Node { id: id.clone(), parent: node });
        self.clusters.push(Some(Cluster {
            first: (place, id.0, id.1.clone()),
            nodes: vec![node],
            events: 0,
            orders: 0,
            cents: 0,
            adds: 0,
            first_seen: i64::MAX,
            last_seen: i64::MIN,
            views: BTreeMap::new(),
            has_email: id.0 == 1,
        }));
        self.number.insert(id, node);
        node
    }

    fn root(&mut self, mut node: usize) -> usize {
        while self.nodes[node].parent != node {
            self.nodes[node].parent = self.nodes[self.nodes[node].parent].parent;
            node = self.nodes[node].parent;
        }
        node
    }

    fn id(&self, root: usize) -> ProfileId {
        let first = self.clusters[root].as_ref().map(|cluster| &cluster.first);
        ProfileId(first.map_or(0, |(_, rank, value)| self.seeds[*rank].hash(value.as_bytes())))
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        if a == b {
            return;
        }
        let size = |root: usize| self.clusters[root].as_ref().map_or(0, |cluster| cluster.nodes.len());
        let (stays, goes) = if size(a) >= size(b) { (a, b) } else { (b, a) };
        let ids = [self.id(a), self.id(b)];
        self.nodes[goes].parent = stays;
        self.touched.insert(stays);
        let (Some(gone), Some(cluster)) = (self.clusters[goes].take(), &mut self.clusters[stays]) else {
            return;
        };
        cluster.take(gone);
        let id = self.id(stays);
        self.gone.extend(ids.into_iter().filter(|old| *old != id));
    }
}

impl Cluster {
    fn take(&mut self, other: Self) {
        self.first = std::mem::take(&mut self.first).min(other.first);
        self.nodes.extend(other.nodes);
        self.events += other.events;
        self.orders += other.orders;
        self.cents += other.cents;
        self.adds += other.adds;
        self.first_seen = self.first_seen.min(other.first_seen);
        self.last_seen = self.last_seen.max(other.last_seen);
        other.views.into_iter().for_each(|(time, count)| *self.views.entry(time).or_insert(0) += count);
        self.has_email |= other.has_email;
    }

    /// One bit a segment. Views are as of the last epoch in which the cluster was looked at.
    fn answers(&self) -> u8 {
        let views: i64 = self.views.values().sum();
        let answers = [
            self.orders >= 3,
            self.cents >= 50_000,
            self.has_email && self.orders == 0,
            self.adds >= 1 && self.orders == 0,
            views >= 5,
        ];
        (0..).zip(answers).map(|(segment, answer)| u8::from(answer) << segment).sum()
    }

    fn traits(&self, now: i64) -> Vec<Value> {
        let count = |count: i64| Value::Number(Decimal::from_int(count));
        let time = |time: i64| Value::Time(Timestamp(time));
        let views = self.views.range(now - WEEK_MS + 1..=now).map(|(_, count)| count).sum();
        vec![
            count(self.events),
            count(self.orders),
            Value::Number(Decimal(i128::from(self.cents) * 10_000_000)),
            count(self.adds),
            time(self.first_seen),
            time(self.last_seen),
            count(views),
        ]
    }
}
