//! The engine's side: answers as long as the process runs, and never at the cost of the stream.

use std::{
    io::ErrorKind,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};
use tidewater::{Engine, Error};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixSocket, UnixStream},
    sync::Semaphore,
    task::JoinHandle,
    time::timeout,
};

use super::{ANSWER_BYTES, Answer, Copy, Fed, REQUEST_BYTES, Request, Taken, socket_path};
use crate::exit::{Exit, Failure};

/// So many are answered at a time; others wait until one of them is done.
const CONNECTIONS: usize = 8;

/// A local process that has connected has its request at hand.
const REQUEST_WAIT: Duration = Duration::from_secs(10);

/// And takes its answer at once, and says no more.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// How long to wait when a connection can't be taken, as when the process has too many files open.
const ACCEPT_WAIT: Duration = Duration::from_millis(100);

/// Answers until it is dropped; what is under way then is still answered.
#[derive(Debug)]
pub struct Serving {
    task: JoinHandle<()>,
    path: PathBuf,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
        // A socket that nobody answers on does no harm: the next engine replaces it.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Answers questions to the engine that runs on this state directory, in the background; must end before the engine does,
/// which is what makes the socket ours. Without a socket the engine runs all the same: it is said and that is all.
pub fn serve(state: &Path, engine: &Engine) -> Option<Serving> {
    let path = socket_path(state);
    let listener = match listen(&path) {
        Ok(listener) => listener,
        Err(error) => {
            let why = match error.kind() {
                ErrorKind::InvalidInput => "the path is too long for a socket".to_owned(),
                _ => error.to_string(),
            };
            let path = path.display().to_string();
            tracing::warn!(
                path,
                why,
                "no control socket: this engine can't be asked for checkpoints, copies and redrives"
            );
            return None;
        }
    };
    let task = tokio::spawn(accept(listener, engine.clone()));
    Some(Serving { task, path })
}

/// Opens the socket to its owner alone, from its first moment on.
fn listen(path: &Path) -> std::io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = UnixSocket::new_stream()?;
    socket.bind(path)?;
    // Before it listens nobody can connect.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    socket.listen(CONNECTIONS as u32)
}

async fn accept(listener: UnixListener, engine: Engine) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    // The semaphore is never closed.
    while let Ok(permit) = Arc::clone(&room).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let engine = engine.clone();
                tokio::spawn(async move {
                    answer(stream, &engine).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the control socket cannot accept");
                tokio::time::sleep(ACCEPT_WAIT).await;
            }
        }
    }
}

async fn answer(mut stream: UnixStream, engine: &Engine) {
    let (mut reader, mut writer) = stream.split();
    let result = match timeout(REQUEST_WAIT, read(&mut reader)).await {
        Ok(Ok(request)) => execute(request, engine).await,
        Ok(Err(failure)) => Err(failure),
        Err(_) => Err(Failure::new(Exit::Usage, "no request came in time")),
    };
    let mut line = serde_json::to_vec(&Answer::from(result)).unwrap_or_default();
    debug_assert!((line.len() as u64) < ANSWER_BYTES);
    line.push(b'\n');
    let told = async {
        writer.write_all(&line).await?;
        writer.shutdown().await?;
        // A socket closed with bytes unread is reset, and the answer lost with it: so what was sent beyond a request's
        // length is read, to the end or until the time is over.
        tokio::io::copy(&mut reader, &mut tokio::io::sink()).await
    };
    // Whoever asked may have gone.
    let _ = timeout(ANSWER_WAIT, told).await;
}

async fn read(reader: impl tokio::io::AsyncRead + Unpin) -> Result<Request, Failure> {
    let mut line = Vec::new();
    let mut reader = BufReader::new(reader.take(REQUEST_BYTES));
    let read = reader.read_until(b'\n', &mut line).await;
    let bad = |what: &dyn std::fmt::Display| Failure::new(Exit::Usage, format!("not a request: {what}"));
    read.map_err(|error| bad(&error))?;
    serde_json::from_slice(&line).map_err(|error| bad(&error))
}

async fn execute(request: Request, engine: &Engine) -> Result<Value, Failure> {
    let value = match request {
        Request::Checkpoint => {
            engine.checkpoint().await.map_err(failure)?;
            let status = engine.status().checkpoint.unwrap_or_default();
            let (written_bytes, total_bytes) = (status.written_bytes, status.total_bytes);
            json!(Taken {
                epoch: status.epoch,
                written_bytes,
                total_bytes,
                seconds: status.took.as_secs_f64()
            })
        }
        Request::Copy { to } => {
            if !to.is_absolute() {
                return Err(Failure::new(Exit::Usage, "a copy needs an absolute path"));
            }
            let copied = engine.copy_to(&to).await.map_err(failure)?;
            let to = to.display().to_string();
            tracing::info!(to, epoch = copied.epoch, bytes = copied.bytes, "copied the state directory");
            json!(Copy { epoch: copied.epoch, bytes: copied.bytes, linked_bytes: copied.linked_bytes })
        }
        Request::RetryDeadLetters(letters) => {
            let count = engine.retry_dead_letters(&letters.sink, letters.filter()).await.map_err(failure)?;
            tracing::info!(sink = letters.sink, count, "dead letters are delivered again, as asked");
            json!(count)
        }
        Request::DropDeadLetters(letters) => {
            let count = engine.drop_dead_letters(&letters.sink, letters.filter()).await.map_err(failure)?;
            tracing::info!(sink = letters.sink, count, "dead letters dropped, as asked");
            json!(count)
        }
        Request::Redrive(refused) => {
            let fed = Fed::from(engine.redrive(refused.filter()).await.map_err(failure)?);
            tracing::info!(
                accepted = fed.accepted,
                refused = fed.quarantined,
                "refused events fed again, as asked"
            );
            json!(fed)
        }
        Request::DropQuarantined(refused) => {
            let count = engine.drop_quarantined(refused.filter()).await.map_err(failure)?;
            tracing::info!(count, "refused events dropped, as asked");
            json!(count)
        }
    };
    Ok(value)
}

/// An engine that ends is out of reach, which is no failure of its own.
fn failure(error: Error) -> Failure {
    match error {
        Error::Closed => Failure::new(Exit::Unavailable, error.to_string()),
        error => error.into(),
    }
}
