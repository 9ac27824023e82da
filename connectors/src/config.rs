//! How connectors read their settings: every mistake of a map is found in one go, and each names the key it is at.

use std::{fmt, net::SocketAddr, ops::RangeInclusive, str::FromStr, time::Duration};

use serde_json::{Map, Value};
use tidewater_model::{Millis, suggest};

/// Settings that can be read from the map under a connector's name in a pipeline file.
pub trait ConnectorConfig: Sized {
    /// What `type:` calls this connector.
    const TYPE: &'static str;
    /// Every key, in the order in which people would write them. `type` is understood everywhere.
    const KEYS: &'static [ConfigKey];

    /// Reads the settings, the environment already filled in.
    ///
    /// # Errors
    /// All mistakes at once, unknown keys among them.
    fn from_map(map: &Map<String, Value>) -> Result<Self, Vec<ConfigError>>;

    /// Like [`from_map`](Self::from_map), for a value that ought to be a map.
    ///
    /// # Errors
    /// All mistakes at once.
    fn from_value(value: &Value) -> Result<Self, Vec<ConfigError>> {
        match value {
            Value::Object(map) => Self::from_map(map),
            other => Err(vec![ConfigError {
                path: Vec::new(),
                message: format!("expected a map of settings, found {}", kind(other)),
            }]),
        }
    }
}

/// One key of a connector, for messages, reference pages and the JSON Schema.
#[derive(Clone, Copy, Debug)]
pub struct ConfigKey {
    /// As it is written.
    pub name: &'static str,
    /// What its value looks like.
    pub kind: KeyKind,
    /// `None`: the key is required.
    pub default: Option<&'static str>,
    /// What it does, in one sentence.
    pub help: &'static str,
}

/// What the value of a key looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// Text.
    Text,
    /// One text or a list of them.
    Texts,
    /// A map from names to texts.
    TextMap,
    /// `true` or `false`.
    Flag,
    /// A whole number.
    Count,
    /// A whole number of bytes, or such as `500KB`, `8MiB`.
    Bytes,
    /// A length of time such as `10s`.
    Duration,
    /// An address and port such as `127.0.0.1:8000`.
    Address,
}

/// A mistake in a connector's settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", prefix(path))]
pub struct ConfigError {
    /// The keys from the connector's map down to the mistake; places in a list as decimal numbers. Empty: the map.
    pub path: Vec<String>,
    /// What was expected and what is there. Never the value of a secret.
    pub message: String,
}

fn prefix(path: &[String]) -> String {
    if path.is_empty() { String::new() } else { format!("{}: ", path.join(".")) }
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Reads one map key by key and collects what is wrong with it. A value that is wrong reads as the key's default, so
/// that reading goes on.
pub(crate) struct Reader<'a> {
    map: &'a Map<String, Value>,
    errors: Vec<ConfigError>,
}

#[cfg_attr(
    not(all(feature = "file", feature = "http", feature = "webhook")),
    allow(dead_code, reason = "not every connector has keys of every kind")
)]
impl<'a> Reader<'a> {
    /// Starts reading, which reports the unknown keys and the missing ones.
    pub(crate) fn new(map: &'a Map<String, Value>, keys: &[ConfigKey]) -> Self {
        let mut reader = Self { map, errors: Vec::new() };
        for name in map.keys().filter(|name| *name != "type") {
            if !keys.iter().any(|key| key.name == name) {
                let near = suggest::nearest(name, keys.iter().map(|key| key.name));
                let known: Vec<&str> = keys.iter().map(|key| key.name).collect();
                let hint = match near {
                    Some(near) => format!("did you mean `{near}`?"),
                    None if known.is_empty() => "it takes none".to_owned(),
                    None => format!("known are {}", known.join(", ")),
                };
                reader.error(name, format!("unknown key `{name}`; {hint}"));
            }
        }
        for key in keys.iter().filter(|key| key.default.is_none()) {
            if map.get(key.name).is_none_or(Value::is_null) {
                let message = format!("missing key `{}`: {}", key.name, key.help);
                reader.errors.push(ConfigError { path: Vec::new(), message });
            }
        }
        reader
    }

    /// Reports a mistake at a key.
    pub(crate) fn error(&mut self, key: &str, message: impl Into<String>) {
        self.errors.push(ConfigError { path: vec![key.to_owned()], message: message.into() });
    }

    /// The settings, or everything that is wrong.
    pub(crate) fn finish<T>(self, settings: T) -> Result<T, Vec<ConfigError>> {
        if self.errors.is_empty() { Ok(settings) } else { Err(self.errors) }
    }

    fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// A text that is not empty.
    pub(crate) fn text(&mut self, key: &str) -> Option<String> {
        match self.get(key)? {
            Value::String(text) if text.is_empty() => self.error(key, "expected a text, found an empty one"),
            Value::String(text) => return Some(text.clone()),
            other => self.error(key, format!("expected a text, found {}{}", kind(other), quote_hint(other))),
        }
        None
    }

    /// One text or a list of them, none empty.
    pub(crate) fn texts(&mut self, key: &str) -> Vec<String> {
        let Some(Value::Array(items)) = self.get(key) else {
            return self.text(key).into_iter().collect();
        };
        if items.is_empty() {
            self.error(key, "expected at least one text, found an empty list");
        }
        let mut texts = Vec::new();
        for (place, item) in items.iter().enumerate() {
            match item {
                Value::String(text) if !text.is_empty() => texts.push(text.clone()),
                other => self.errors.push(ConfigError {
                    path: vec![key.to_owned(), place.to_string()],
                    message: format!("expected a text, found {}{}", kind(other), quote_hint(other)),
                }),
            }
        }
        texts
    }

    /// A map from names to texts.
    pub(crate) fn text_map(&mut self, key: &str) -> Vec<(String, String)> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let Value::Object(map) = value else {
            self.error(key, format!("expected a map of texts, found {}", kind(value)));
            return Vec::new();
        };
        let mut pairs = Vec::new();
        for (name, value) in map {
            match value {
                Value::String(text) => pairs.push((name.clone(), text.clone())),
                other => self.errors.push(ConfigError {
                    path: vec![key.to_owned(), name.clone()],
                    message: format!("expected a text, found {}{}", kind(other), quote_hint(other)),
                }),
            }
        }
        pairs
    }

    /// `true` or `false`.
    pub(crate) fn flag(&mut self, key: &str, default: bool) -> bool {
        match self.get(key) {
            None => default,
            Some(Value::Bool(flag)) => *flag,
            // In `{ }` what comes from the environment stands in quotes, so it is a text.
            Some(Value::String(text)) if text == "true" => true,
            Some(Value::String(text)) if text == "false" => false,
            Some(other) => {
                self.error(key, format!("expected `true` or `false`, found {}", kind(other)));
                default
            }
        }
    }

    /// A whole number within a range.
    pub(crate) fn count(&mut self, key: &str, default: usize, range: RangeInclusive<usize>) -> usize {
        let Some(value) = self.get(key) else { return default };
        // A number from the environment comes as a text.
        let number = match value {
            Value::String(text) => text.parse().ok(),
            other => other.as_u64().and_then(|number| usize::try_from(number).ok()),
        };
        self.ranged(key, default, range, number, "a whole number", value, |number| number.to_string())
    }

    /// A number of bytes within a range.
    pub(crate) fn bytes(&mut self, key: &str, default: usize, range: RangeInclusive<usize>) -> usize {
        let Some(value) = self.get(key) else { return default };
        let number = match value {
            Value::String(text) => parse_bytes(text),
            other => other.as_u64().and_then(|number| usize::try_from(number).ok()),
        };
        self.ranged(key, default, range, number, "a size such as `500KB`", value, |bytes| {
            format!("{bytes} B")
        })
    }

    /// A length of time within a range.
    pub(crate) fn duration(
        &mut self,
        key: &str,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        let Some(value) = self.get(key) else { return default };
        let length = value
            .as_str()
            .and_then(Millis::parse)
            .and_then(|millis| Some(Duration::from_millis(u64::try_from(millis.0).ok()?)));
        let show = |length: Duration| format!("{length:?}");
        self.ranged(key, default, range, length, "a length of time such as `10s`", value, show)
    }

    /// An address and port.
    pub(crate) fn address(&mut self, key: &str, default: SocketAddr) -> SocketAddr {
        let Some(text) = self.text(key) else { return default };
        SocketAddr::from_str(&text).unwrap_or_else(|_| {
            self.error(key, format!("expected an address and port such as `127.0.0.1:8000`, found `{text}`"));
            default
        })
    }

    fn ranged<T: PartialOrd + Copy>(
        &mut self,
        key: &str,
        default: T,
        range: RangeInclusive<T>,
        got: Option<T>,
        expected: &str,
        value: &Value,
        show: impl Fn(T) -> String,
    ) -> T {
        let (least, most) = (*range.start(), *range.end());
        match got {
            Some(number) if number >= least && number <= most => number,
            Some(_) => {
                let message =
                    format!("expected {expected} from {} to {}, found {value}", show(least), show(most));
                self.error(key, message);
                default
            }
            None => {
                self.error(key, format!("expected {expected}, found {value}"));
                default
            }
        }
    }
}

/// Reads `500`, `500B`, `500KB` (1,000), `500KiB` (1,024) and so on.
fn parse_bytes(text: &str) -> Option<usize> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor: usize = match unit.trim_start() {
        "" | "B" => 1,
        "KB" | "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<usize>().ok()?.checked_mul(factor)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(text) if text.is_empty() => "an empty text",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

fn quote_hint(value: &Value) -> &'static str {
    if matches!(value, Value::Bool(_) | Value::Number(_)) { " (put it in quotes)" } else { "" }
}

#[cfg(test)]
mod tests;
