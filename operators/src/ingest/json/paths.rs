//! The wanted paths as a tree of keys, so that the scanner asks one table per object it cares about.

use tidewater_model::Path;

use super::names::NameTable;

/// A key in the tree, at the end of a wanted path or on the way to one: its number, and [`NESTED`](Self::NESTED) if
/// it is no key of the event itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Node(u32);

impl Node {
    const NESTED: u32 = 1 << 31;

    /// Its number; the nodes of a tree are numbered as they are added.
    #[inline(always)]
    pub(crate) fn index(self) -> usize {
        (self.0 & !Self::NESTED) as usize
    }

    /// Whether it is a key of the event itself.
    #[inline(always)]
    pub(super) fn is_top(self) -> bool {
        self.0 & Self::NESTED == 0
    }
}

/// The object whose keys a [`NameTable`] knows: the event itself or the value of a [`Node`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Level(u32);

impl Level {
    /// The event itself.
    pub(super) const TOP: Self = Self(0);
    /// An object with no wanted key.
    pub(super) const UNWANTED: Self = Self(u32::MAX);

    /// Tells levels apart.
    pub(super) fn number(self) -> u64 {
        u64::from(self.0)
    }
}

/// Wanted paths, compiled.
#[derive(Clone, Debug)]
pub(crate) struct PathTree {
    levels: Vec<NameTable>,
    nodes: Vec<NodeInfo>,
}

#[derive(Clone, Copy, Debug)]
struct NodeInfo {
    parent: Option<Node>,
    below: Level,
}

impl Default for PathTree {
    fn default() -> Self {
        Self { levels: vec![NameTable::default()], nodes: Vec::new() }
    }
}

impl PathTree {
    /// Adds a path and returns where its value will be found; the same for the same path.
    pub(crate) fn want(&mut self, path: &Path) -> Node {
        self.want_steps(path.steps().iter().map(String::as_str))
    }

    /// Adds a key of the event itself.
    pub(crate) fn want_key(&mut self, key: &str) -> Node {
        self.want_steps(std::iter::once(key))
    }

    fn want_steps<'a>(&mut self, steps: impl Iterator<Item = &'a str>) -> Node {
        let mut at: Option<Node> = None;
        for step in steps {
            let level = match at {
                None => Level::TOP,
                Some(node) => self.level_below(node),
            };
            at = Some(self.key(level, step, at));
        }
        // A path has at least one step; the empty key stands in for none.
        at.unwrap_or_else(|| self.key(Level::TOP, "", None))
    }

    fn level_below(&mut self, node: Node) -> Level {
        if self.nodes[node.index()].below == Level::UNWANTED {
            self.nodes[node.index()].below = Level(self.levels.len() as u32);
            self.levels.push(NameTable::default());
        }
        self.nodes[node.index()].below
    }

    fn key(&mut self, level: Level, key: &str, parent: Option<Node>) -> Node {
        let mut padded = key.as_bytes().to_vec();
        padded.resize(key.len() + 16, 0);
        let table = &mut self.levels[level.0 as usize];
        if let Some(known) = table.get(&padded, 0, key.len()) {
            return Node(known);
        }
        let nested = if parent.is_some() { Node::NESTED } else { 0 };
        let node = Node(self.nodes.len() as u32 | nested);
        table.insert(key.as_bytes(), node.0);
        self.nodes.push(NodeInfo { parent, below: Level::UNWANTED });
        node
    }

    /// How many nodes there are.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The node of the key in `len` bytes of `padded` from `start` on.
    #[inline(always)]
    pub(super) fn find(&self, level: Level, padded: &[u8], start: usize, len: usize) -> Option<Node> {
        // An object without wanted keys has a level that no table belongs to.
        self.levels.get(level.0 as usize)?.get(padded, start, len).map(Node)
    }

    /// The level of the object at `node`.
    #[inline(always)]
    pub(super) fn below(&self, node: Node) -> Level {
        self.nodes[node.index()].below
    }

    /// The node of the object that this one is a key of; `None` for the event itself.
    #[inline(always)]
    pub(super) fn parent(&self, node: Node) -> Option<Node> {
        self.nodes[node.index()].parent
    }
}
