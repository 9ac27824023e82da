//! Profiles: trait values rolled up per cluster.

pub(crate) mod aggregate;
pub(crate) mod collect;
pub(crate) mod layout;
pub(crate) mod record;
mod rollup;
pub(crate) mod value;
pub(crate) mod window;
