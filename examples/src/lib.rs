//! The examples are in `examples/`; here the code in the documentation is compiled and run, so that it stays true.

#[cfg(doctest)]
#[doc = include_str!("../../docs/architecture.md")]
pub struct Architecture;

#[cfg(doctest)]
#[doc = include_str!("../../docs/connector-spec.md")]
pub struct ConnectorSpec;

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
