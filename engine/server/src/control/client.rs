//! The asking side.

use std::{
    io::{ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{ANSWER_BYTES, Answer, Request, socket_path};
use crate::exit::{Exit, Failure};

/// Asks the engine that runs on a state directory, and waits this long for its answer; `None` if none answers there.
///
/// # Errors
/// What the engine answers; [`Exit::Unavailable`] if it may not be asked, or ends or takes too long before it answers.
pub fn ask<T: DeserializeOwned>(
    state: &Path,
    request: &Request,
    patience: Duration,
) -> Result<Option<T>, Failure> {
    let path = socket_path(state);
    let failed = |what: &dyn std::fmt::Display| {
        Failure::new(Exit::Unavailable, format!("cannot ask the engine at {}: {what}", path.display()))
    };
    let mut stream = match UnixStream::connect(&path) {
        Ok(stream) => stream,
        // A socket that was left behind, or none. One with such a long path can't have been opened.
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::ConnectionRefused | ErrorKind::InvalidInput
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(failed(&error)),
    };
    let text = exchange(&mut stream, request, patience).map_err(|error| match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => failed(&"it did not answer in time"),
        _ => failed(&error),
    })?;
    if text.is_empty() {
        return Err(failed(&"it ended before it answered"));
    }
    let answer: Answer = serde_json::from_slice(&text).map_err(|error| failed(&error))?;
    let value = Result::<Value, Failure>::from(answer)?;
    serde_json::from_value(value).map(Some).map_err(|error| failed(&error))
}

fn exchange(stream: &mut UnixStream, request: &Request, patience: Duration) -> std::io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut text = Vec::new();
    stream.take(ANSWER_BYTES).read_to_end(&mut text)?;
    Ok(text)
}
