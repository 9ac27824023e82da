//! HTTP source: listens, and stops without cutting off a request that was begun.

use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tidewater_connector_api::{ReadError, Source, SourceCapabilities, SourceContext};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    HttpSourceConfig,
    routes::{Shared, answer},
};

/// How long requests that were begun may go on once the engine closes: most take milliseconds, and it is less than the half of the
/// usual shutdown deadline that sources have.
const DRAIN: Duration = Duration::from_secs(10);
/// How long accepting rests when the process has no more sockets.
const ACCEPT_REST: Duration = Duration::from_millis(100);
/// Largest head of a request.
const HEADER_BYTES_MAX: usize = 64 << 10;

/// Receives events over HTTP, as the Segment tracking API does: `/v1/batch`, `/v1/track` and so on.
///
/// Hyper serves it directly: a dozen routes need no framework, and each layer would cost every request.
///
/// - 200 means that the events are in the log. A client that gets anything else, or nothing, sends them again, and
///   what was logged after all is dropped as a duplicate.
/// - 429 with `Retry-After` when the engine lags, 503 with `Retry-After` when it stops or its log has failed.
/// - An event that can't be used goes to quarantine; the header `X-Rejected` tells how many of a request did.
#[derive(Debug)]
pub struct HttpSource {
    config: HttpSourceConfig,
    listener: Option<TcpListener>,
}

impl HttpSource {
    /// Makes a source that starts to listen when it runs.
    pub fn new(config: HttpSourceConfig) -> Self {
        Self { config, listener: None }
    }

    /// Makes a source that listens already, so that its address is known, or that it can't is known, before the
    /// engine starts. Connections wait until it runs.
    ///
    /// # Errors
    /// [`ReadError::Failed`] if the address can't be listened at.
    pub async fn bind(config: HttpSourceConfig) -> Result<Self, ReadError> {
        let listener = Some(listen(config.listen).await?);
        Ok(Self { config, listener })
    }

    /// Where it listens, once bound.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.listener.as_ref()?.local_addr().ok()
    }
}

impl Source for HttpSource {
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities { finite: false, replayable: false }
    }

    async fn run(&mut self, context: SourceContext) -> Result<(), ReadError> {
        let listener = match self.listener.take() {
            Some(listener) => listener,
            None => listen(self.config.listen).await?,
        };
        let shared = Arc::new(Shared {
            requests: Semaphore::new(self.config.max_requests),
            config: self.config.clone(),
            context: context.clone(),
        });
        let stop = watch::Sender::new(false);
        let mut connections = JoinSet::new();
        accept(&listener, &shared, &stop, &mut connections).await;
        drop(listener);
        stop.send_replace(true);
        let drained = timeout(DRAIN, async { while connections.join_next().await.is_some() {} });
        // Those that take longer are cut off when the set is dropped; their clients send again.
        let _ = drained.await;
        Ok(())
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, ReadError> {
    TcpListener::bind(address)
        .await
        .map_err(|error| ReadError::failed(format!("cannot listen at {address}: {error}")))
}

/// Accepts connections until the engine closes.
async fn accept(
    listener: &TcpListener,
    shared: &Arc<Shared>,
    stop: &watch::Sender<bool>,
    connections: &mut JoinSet<()>,
) {
    let slots = Arc::new(Semaphore::new(shared.config.max_connections));
    let mut closing = pin!(shared.context.closing());
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut closing => return,
            // Reaps those that have ended; a panic in one is that connection's end only.
            Some(_) = connections.join_next() => continue,
            accepted = accept_one(listener, &slots) => accepted,
        };
        match accepted {
            Ok((stream, slot)) => {
                connections.spawn(serve(stream, Arc::clone(shared), stop.subscribe(), slot));
            }
            // Mostly that the process has no more sockets: wait for some to be closed.
            Err(_) => sleep(ACCEPT_REST).await,
        }
    }
}

async fn accept_one(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    // Answers are small and awaited: none may wait for another. A client that is gone already fails this.
    let _ = stream.set_nodelay(true);
    Ok((stream, slot))
}

async fn serve(
    stream: TcpStream,
    shared: Arc<Shared>,
    mut stop: watch::Receiver<bool>,
    _slot: OwnedSemaphorePermit,
) {
    let header_timeout = shared.config.header_timeout;
    let service = service_fn(move |request| answer(Arc::clone(&shared), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    // A connection that fails has nobody left to tell.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stop.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
