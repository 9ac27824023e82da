//! Time and difference fixed once, and operators that always carry a name.

use differential_dataflow::{
    ExchangeData, Hashable, VecCollection,
    difference::{Multiply, Semigroup},
    trace::implementations::{KeyBatcher, KeySpine, ValBatcher, ValSpine},
};
use serde::{Deserialize, Serialize};

/// The epoch.
pub(super) type Time = u64;

/// A collection of records that change from epoch to epoch.
pub(super) type Collection<'scope, D, R = isize> = VecCollection<'scope, Time, D, R>;

/// An identifier: its rank and its normalized value. Sorts as the contract breaks ties.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct Identifier {
    pub(super) rank: usize,
    pub(super) value: String,
}

/// The name of a cluster inside the dataflow: its smallest identifier, so a function of the input alone.
pub(super) type Cluster = Identifier;

/// Forms of differential's operators that are told apart by name in logs.
pub(super) trait CollectionExt<'scope, D, R> {
    /// Adds up equal records of a time; those that cancel out are gone.
    fn consolidate_as(self, name: &str) -> Collection<'scope, D, R>;
}

impl<'scope, D: ExchangeData + Hashable, R: ExchangeData + Semigroup> CollectionExt<'scope, D, R>
    for Collection<'scope, D, R>
{
    fn consolidate_as(self, name: &str) -> Collection<'scope, D, R> {
        self.map(|record| (record, ()))
            .arrange_named::<_, KeySpine<D, Time, R>>(name, KeyBatcher::new)
            .as_collection(|record, ()| record.clone())
    }
}

/// Forms of differential's operators on pairs.
pub(super) trait KeyedCollectionExt<'scope, K, V, R> {
    /// Joins two collections by key.
    fn join_as<V2, R2, D>(
        self,
        name: &str,
        other: Collection<'scope, (K, V2), R2>,
        result: impl FnMut(&K, &V, &V2) -> D + 'static,
    ) -> Collection<'scope, D, <R as Multiply<R2>>::Output>
    where
        V2: ExchangeData,
        R2: ExchangeData + Semigroup,
        R: Multiply<R2, Output: Semigroup + 'static>,
        D: ExchangeData;
}

impl<'scope, K, V, R> KeyedCollectionExt<'scope, K, V, R> for Collection<'scope, (K, V), R>
where
    K: ExchangeData + Hashable,
    V: ExchangeData,
    R: ExchangeData + Semigroup,
{
    fn join_as<V2, R2, D>(
        self,
        name: &str,
        other: Collection<'scope, (K, V2), R2>,
        mut result: impl FnMut(&K, &V, &V2) -> D + 'static,
    ) -> Collection<'scope, D, <R as Multiply<R2>>::Output>
    where
        V2: ExchangeData,
        R2: ExchangeData + Semigroup,
        R: Multiply<R2, Output: Semigroup + 'static>,
        D: ExchangeData,
    {
        let other =
            other.arrange_named::<_, ValSpine<K, V2, Time, R2>>(&format!("{name}Right"), ValBatcher::new);
        self.arrange_named::<_, ValSpine<K, V, Time, R>>(&format!("{name}Left"), ValBatcher::new)
            .join_core(other, move |key, left, right| Some(result(key, left, right)))
    }
}
