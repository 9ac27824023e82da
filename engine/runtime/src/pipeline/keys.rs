//! Every key of a pipeline file: what is built, and what the contract has but this version does not. A key of the
//! second kind is an error that names it; a key in neither list is unknown.

/// The keys of one kind of mapping.
#[derive(Debug)]
pub(super) struct Keys {
    /// What the mapping describes, for messages.
    pub(super) of: &'static str,
    /// Keys that work.
    pub(super) built: &'static [&'static str],
    /// Keys of the contract that do not work yet.
    pub(super) not_built: &'static [&'static str],
}

/// The top level of the file.
pub(super) const PIPELINE: Keys = Keys {
    of: "a pipeline",
    built: &[
        "state",
        "workers",
        "clock",
        "dedup",
        "max_future",
        "min_time",
        "admin",
        "id_key",
        "sources",
        "identifiers",
        "traits",
        "segments",
        "sinks",
    ],
    not_built: &["identity"],
};

/// `admin`.
pub(super) const ADMIN: Keys = Keys { of: "`admin`", built: &["listen"], not_built: &[] };

/// An entry of `identifiers`.
pub(super) const IDENTIFIER: Keys = Keys {
    of: "an identifier",
    built: &["from", "normalize", "block"],
    not_built: &["limit", "prefer", "owners", "shared", "isolate", "suspicious"],
};

/// The keys of a trait that say what is computed; a trait has exactly one of them.
pub(super) const AGGREGATES: &[&str] =
    &["count", "sum", "min", "max", "avg", "first", "last", "first_time", "last_time"];

/// An entry of `traits`.
pub(super) const TRAIT: Keys = Keys {
    of: "a trait",
    built: &[
        "count",
        "sum",
        "min",
        "max",
        "avg",
        "first",
        "last",
        "first_time",
        "last_time",
        "event",
        "where",
        "window",
        "resolution",
    ],
    not_built: &["most_frequent"],
};

/// An entry of `segments` that is a mapping.
pub(super) const SEGMENT: Keys = Keys { of: "a segment", built: &["where", "description"], not_built: &[] };

/// The values of `normalize`.
pub(super) const NORMALIZE: &[&str] = &["email", "lowercase", "trim"];

/// Values of `normalize` that the contract has and that do not work yet.
pub(super) const NORMALIZE_NOT_BUILT: &[&str] = &["phone"];

/// The values of `clock`.
pub(super) const CLOCKS: &[&str] = &["wall", "event"];

/// Words of the segment language, which nothing can be named after.
pub(super) const RESERVED: &[&str] =
    &["and", "or", "not", "has", "in_segment", "now", "time", "true", "false", "null", "then", "within"];
