//! Profiles: trait values rolled up per cluster.

pub(crate) mod layout;
