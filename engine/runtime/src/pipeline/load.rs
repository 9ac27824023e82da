//! From the tree to a pipeline: every key of the file is read here, in the order of the contract. All mistakes are
//! collected; a part with a mistake is left out and the rest is still read.

use std::path::PathBuf;

use tidewater_model::{ClockKind, Dedup, HashKey, Millis, PipelineSpec, Timestamp};
use xxhash_rust::xxh3::xxh3_64;

use super::{
    connector::{ConnectorRole, ConnectorSpec},
    error::{ErrorKind, PipelineError},
    identifiers::read_identifiers,
    keys,
    names::{self, NameLists},
    reader::{Fields, Reader, Trail},
    segments::read_segments,
    traits::read_traits,
    tree::{Content, Entry, Node},
};

/// The most workers of one process.
pub(crate) const MAX_WORKERS: usize = 64;
/// The shortest `id_key`, in bytes: the hash has 64 bits.
const MIN_ID_KEY_BYTES: usize = 8;

/// Everything that a file says. Only complete if the reader's report is empty.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) spec: PipelineSpec,
    pub(super) segment_texts: Vec<String>,
    pub(super) state: Option<PathBuf>,
    pub(super) workers: Option<usize>,
    pub(super) admin_listen: Option<String>,
    pub(super) id_key: Option<HashKey>,
    pub(super) sources: Vec<ConnectorSpec>,
    pub(super) sinks: Vec<ConnectorSpec>,
}

pub(super) fn load(root: &Node, reader: &mut Reader) -> Parts {
    let trail = Trail::Root;
    let Some(fields) = reader.fields(root, &trail, &keys::PIPELINE, "a mapping with the keys of a pipeline")
    else {
        return Parts::default();
    };
    let mut parts = Parts::default();
    read_settings(reader, &fields, &mut parts);
    parts.sources = read_connectors(reader, &fields, ConnectorRole::Source);

    let mut section = |key: &str, expected: &str| -> &[Entry] {
        fields.get(key).map_or(&[], |node| reader.entries(node, &trail.key(key), expected))
    };
    let identifiers = section("identifiers", "a mapping of names to identifiers");
    let traits = section("traits", "a mapping of names to traits");
    let segments = section("segments", "a mapping of names to segments");
    let none = match fields.get("identifiers").map(|node| &node.content) {
        None => true,
        Some(Content::Map(entries)) => entries.is_empty(),
        Some(Content::Scalar(scalar)) => scalar.is_null(),
        // Already reported.
        Some(_) => false,
    };
    if none {
        let error = PipelineError::new(ErrorKind::MissingKey, "a pipeline needs at least one identifier")
            .with_hint("for example `identifiers: { user_id: { from: userId } }`");
        let span = fields.entry("identifiers").and_then(|entry| entry.key_span);
        reader.add(span, &trail.key("identifiers"), error);
    }
    names::check(reader, identifiers, traits, segments);
    let names = NameLists::new(identifiers, traits, segments);
    parts.spec.identifiers = read_identifiers(reader, identifiers);
    parts.spec.traits = read_traits(reader, traits);
    (parts.spec.segments, parts.segment_texts) =
        read_segments(reader, segments, &names, &parts.spec.identifiers);
    parts.sinks = read_connectors(reader, &fields, ConnectorRole::Sink);
    parts
}

/// What is a single value at the top of the file, and `admin`.
fn read_settings(reader: &mut Reader, fields: &Fields<'_>, parts: &mut Parts) {
    let root = Trail::Root;
    let with = |key: &'static str| fields.get(key).map(|node| (node, root.key(key)));
    if let Some((node, trail)) = with("state") {
        parts.state = reader.scalar(node, &trail, "a directory").map(|scalar| PathBuf::from(&scalar.text));
    }
    if let Some((node, trail)) = with("workers") {
        parts.workers = read_workers(reader, node, &trail);
    }
    if let Some((node, trail)) = with("clock") {
        let clock = reader.choice(node, &trail, keys::CLOCKS);
        parts.spec.clock = if clock == Some("event") { ClockKind::Event } else { ClockKind::Wall };
    }
    if let Some((node, trail)) = with("dedup") {
        let forever = matches!(&node.content, Content::Scalar(scalar) if scalar.text == "forever");
        if forever {
            parts.spec.dedup = Dedup::Forever;
        } else if let Some(duration) = reader.duration(node, &trail, Millis(1)) {
            parts.spec.dedup = Dedup::For(duration);
        }
    }
    if let Some((node, trail)) = with("max_future") {
        let read = reader.duration(node, &trail, Millis(0));
        parts.spec.max_future = read.unwrap_or(parts.spec.max_future);
    }
    if let Some((node, trail)) = with("min_time") {
        let read = read_time(reader, node, &trail);
        parts.spec.min_time = read.unwrap_or(parts.spec.min_time);
    }
    if let Some((node, trail)) = with("admin") {
        parts.admin_listen = read_admin(reader, node, &trail);
    }
    if let Some((node, trail)) = with("id_key") {
        parts.id_key = read_id_key(reader, node, &trail);
    }
}

fn read_workers(reader: &mut Reader, node: &Node, trail: &Trail<'_>) -> Option<usize> {
    let expected = format!("a number from 1 to {MAX_WORKERS}");
    let scalar = reader.scalar(node, trail, &expected)?;
    let workers = scalar.text.parse().ok().filter(|workers| (1..=MAX_WORKERS).contains(workers));
    if workers.is_none() {
        reader.invalid(node, trail, format!("expected {expected}, found {}", scalar.shown()));
    }
    workers
}

/// RFC 3339, a date alone (its first moment in UTC), or epoch milliseconds.
fn read_time(reader: &mut Reader, node: &Node, trail: &Trail<'_>) -> Option<Timestamp> {
    const EXPECTED: &str = "a time such as `2026-01-05T10:15:00Z`, `2026-01-05` or epoch milliseconds";
    let scalar = reader.scalar(node, trail, EXPECTED)?;
    let text = scalar.text.as_str();
    let time = match text.parse::<i64>() {
        Ok(milliseconds) => Some(Timestamp(milliseconds)),
        Err(_) if text.len() == 10 => Timestamp::parse(format!("{text}T00:00:00Z").as_bytes()).ok(),
        Err(_) => Timestamp::parse(text.as_bytes()).ok(),
    };
    let time = time.filter(|time| (Timestamp::MIN..=Timestamp::MAX).contains(time));
    if time.is_none() {
        reader.invalid(node, trail, format!("expected {EXPECTED}, found {}", scalar.shown()));
    }
    time
}

fn read_admin(reader: &mut Reader, node: &Node, trail: &Trail<'_>) -> Option<String> {
    const EXPECTED: &str = "an address such as `127.0.0.1:9000`";
    let fields =
        reader.fields(node, trail, &keys::ADMIN, "a mapping such as `{ listen: 127.0.0.1:9000 }`")?;
    let Some(listen) = fields.get("listen") else {
        reader.add(node.span, trail, PipelineError::new(ErrorKind::MissingKey, "`admin` has no `listen`"));
        return None;
    };
    let trail = trail.key("listen");
    let scalar = reader.scalar(listen, &trail, EXPECTED)?;
    let address = scalar.text.rsplit_once(':');
    if address.is_none_or(|(host, port)| host.is_empty() || port.parse::<u16>().is_err()) {
        reader.invalid(listen, &trail, format!("expected {EXPECTED}, found {}", scalar.shown()));
        return None;
    }
    Some(scalar.text.clone())
}

/// Any text; its hash is the key.
fn read_id_key(reader: &mut Reader, node: &Node, trail: &Trail<'_>) -> Option<HashKey> {
    // Whatever stands here is a secret, so no message may repeat it.
    let Content::Scalar(scalar) = &node.content else {
        reader.wrong_type(node, trail, "a secret text");
        return None;
    };
    if scalar.is_null() || scalar.text.len() < MIN_ID_KEY_BYTES {
        let message = format!("expected a secret of at least {MIN_ID_KEY_BYTES} characters");
        reader.invalid(node, trail, message);
        return None;
    }
    Some(HashKey(xxh3_64(scalar.text.as_bytes())))
}

fn read_connectors(reader: &mut Reader, fields: &Fields<'_>, role: ConnectorRole) -> Vec<ConnectorSpec> {
    let (section, expected) = match role {
        ConnectorRole::Source => ("sources", "a mapping of names to sources"),
        ConnectorRole::Sink => ("sinks", "a mapping of names to sinks"),
    };
    let Some(node) = fields.get(section) else { return Vec::new() };
    let trail = Trail::Root.key(section);
    let entries = reader.entries(node, &trail, expected);
    let read = |entry: &Entry| ConnectorSpec::read(reader, role, entry, &trail.key(&entry.key));
    entries.iter().filter_map(read).collect()
}
