//! Identity clusters: the connected components of the identity graph, kept up to date.
//!
//! A cluster is named after its smallest identifier, so its name is a function of the input alone. Unlinking is an
//! ordinary retraction of the edge; nothing below treats it as a special case.

use differential_dataflow::algorithms::graphs::propagate::propagate;

use super::{
    collection::{Cluster, Collection, CollectionExt, Identifier},
    links::Link,
};

/// Extension trait for resolving identity links into clusters.
pub(super) trait ResolveClusters<'scope> {
    /// Assigns every identifier to exactly one cluster; `known` holds all of them, linked or not.
    ///
    /// When two clusters merge, the members of the one with the larger name are moved: the old assignment is
    /// retracted and the new one inserted at the same time, so at no time is an identifier in two clusters or none.
    fn resolve_clusters(
        self,
        known: Collection<'scope, Identifier>,
    ) -> Collection<'scope, (Identifier, Cluster)>;
}

impl<'scope> ResolveClusters<'scope> for Collection<'scope, Link> {
    fn resolve_clusters(
        self,
        known: Collection<'scope, Identifier>,
    ) -> Collection<'scope, (Identifier, Cluster)> {
        // Links are undirected but labels travel along edges, so each edge is added both ways.
        let reverse = self.clone().map(|(a, b)| (b, a));
        let edges = self.concat(reverse);

        // Every identifier starts as its own cluster; `propagate` keeps the smallest name.
        let own_names = known.map(|identifier| (identifier.clone(), identifier));
        propagate(edges, own_names)
            // `propagate` also emits the names it tried and withdrew on the way; they cancel out at each time, and
            // without this everything downstream would see an identifier flicker.
            .consolidate_as("Assignments")
    }
}
