//! Exact decimals with 9 fractional digits.

use serde::{Deserialize, Serialize};

/// A number in units of 10^-9. Values read from events and results of arithmetic are at most 10^18 in size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Decimal(pub i128);
