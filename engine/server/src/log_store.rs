//! Where full files of the log are kept besides the state directory, by address.
//!
//! Keys, region and endpoint come from the environment, under the names that the provider's own tools use. The state directory
//! remembers the address, so that every command finds what it needs.

use std::{path::Path, sync::Arc};

use tidewater::LogStore;
use tidewater_storage::StateReader;

use crate::exit::{Exit, Failure};

/// A store and the address that the state directory remembers.
pub type Addressed = (String, Arc<dyn LogStore>);

/// Opens a state directory to be read, with the store of its log if it has one.
///
/// # Errors
/// If the directory can't be read, or its store not be opened.
pub fn open_reader(state: &Path) -> Result<StateReader, Failure> {
    let reader = StateReader::open(state)?;
    match reader.meta().log_store.clone() {
        Some(address) => Ok(reader.with_log_store(open(&address)?)),
        None => Ok(reader),
    }
}

/// The store that an engine runs with: the one that is asked for, else the one that its state directory has.
///
/// # Errors
/// If it can't be opened.
pub fn of_engine(asked: Option<&str>, state: Option<&Path>) -> Result<Option<Addressed>, Failure> {
    // What is wrong with the directory is said when the engine opens it.
    let known = || StateReader::open(state?).ok()?.meta().log_store.clone();
    let Some(address) = asked.map(normal).or_else(known) else { return Ok(None) };
    let store = open(&address)?;
    Ok(Some((address, store)))
}

/// With a slash at the end it is the same place.
fn normal(address: &str) -> String {
    let prefix = address.split_once("://").map_or("", |(_, rest)| rest.trim_end_matches('/'));
    if prefix.is_empty() { address.to_owned() } else { address.trim_end_matches('/').to_owned() }
}

fn refused(address: &str, why: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::Config, format!("log store {address}: {why}"))
}

/// How long a request is tried again.
#[cfg(feature = "object-store")]
const REQUEST_WAIT: std::time::Duration = std::time::Duration::from_secs(30);

#[cfg(feature = "object-store")]
fn open(address: &str) -> Result<Arc<dyn LogStore>, Failure> {
    let refused = |why: &dyn std::fmt::Display| refused(address, why);
    let (bucket, prefix) = match address.strip_prefix("s3://") {
        Some(rest) => rest.split_once('/').unwrap_or((rest, "")),
        None => return Err(refused(&"the address must be s3://BUCKET/PREFIX")),
    };
    if bucket.is_empty() || prefix.is_empty() {
        return Err(refused(&"the address needs a bucket and a prefix of its own: s3://BUCKET/PREFIX"));
    }
    // The TLS of object_store's HTTP client asks the process which cryptography to use; that another part has said so already
    // is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // What can't be put now is put later, and a command should not hang for minutes.
    let retry =
        object_store::RetryConfig { max_retries: 5, retry_timeout: REQUEST_WAIT, ..Default::default() };
    let builder = object_store::aws::AmazonS3Builder::from_env().with_bucket_name(bucket).with_retry(retry);
    let bucket = builder.build();
    let bucket = bucket.map_err(|error| refused(&error))?;
    let store = tidewater_storage::ObjectStore::new(Arc::new(bucket), prefix, address);
    Ok(Arc::new(store.map_err(|error| refused(&error))?))
}

#[cfg(not(feature = "object-store"))]
fn open(address: &str) -> Result<Arc<dyn LogStore>, Failure> {
    Err(refused(address, &"this build has none; build it with `--features object-store`"))
}
