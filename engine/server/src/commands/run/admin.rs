//! The admin listener: `/metrics`, `/healthz` and `/readyz`, and nothing that changes anything.

use std::{
    convert::Infallible,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, Response, StatusCode, header, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tidewater::{Engine, EngineState, metrics, pipeline::Pipeline};
use tokio::net::TcpListener;

use crate::exit::{Exit, Failure};

/// Seconds; from far below the aim for a small epoch to far above what anybody would wait for.
const EPOCH_BUCKETS: [f64; 14] =
    [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 10.0];

/// The listener, if the pipeline has one. It answers from the moment it is open: whoever watches a process must not take a
/// long start for a hang.
pub(super) struct Admin {
    service: Option<Arc<Service>>,
}

impl Admin {
    /// Opens the listener that the pipeline asks for, if it asks for one, begins to record metrics, and answers requests in
    /// the background until the process ends.
    pub(super) async fn open(pipeline: &Pipeline) -> Result<Self, Failure> {
        let Some(address) = pipeline.admin_listen() else { return Ok(Self { service: None }) };
        let listener = TcpListener::bind(address).await.map_err(|error| {
            Failure::new(Exit::Unavailable, format!("cannot listen on {address} (`admin`): {error}"))
        })?;
        let cannot_record = |error: &dyn std::fmt::Display| {
            Failure::new(Exit::Internal, format!("cannot record metrics: {error}"))
        };
        let mut builder = PrometheusBuilder::new();
        for name in [metrics::EPOCH_SECONDS, metrics::LOG_SYNC_SECONDS, metrics::CHECKPOINT_SECONDS] {
            let matcher = Matcher::Full(name.to_owned());
            builder = builder
                .set_buckets_for_metric(matcher, &EPOCH_BUCKETS)
                .map_err(|error| cannot_record(&error))?;
        }
        let metrics = builder.install_recorder().map_err(|error| cannot_record(&error))?;
        metrics::describe();
        if let Ok(address) = listener.local_addr() {
            tracing::info!(%address, "admin listener open");
        }
        let service = Arc::new(Service { engine: OnceLock::new(), metrics });
        tokio::spawn(serve(listener, Arc::clone(&service)));
        tokio::spawn(upkeep(Arc::clone(&service)));
        Ok(Self { service: Some(service) })
    }

    /// From now on requests are answered about this engine.
    pub(super) fn tell_of(self, engine: &Engine) {
        if let Some(service) = self.service {
            // There is one engine.
            let _ = service.engine.set(engine.clone());
        }
    }
}

/// How long accepting rests when the process has no more sockets.
const ACCEPT_REST: Duration = Duration::from_millis(100);
/// How long a client may take to send the head of a request: it is a line, and nobody else is held up.
const HEAD_WAIT: Duration = Duration::from_secs(10);

/// How often samples of histograms are put in their buckets when nobody asks for metrics: each takes 24 bytes until then, and
/// there are two an epoch.
const UPKEEP: Duration = Duration::from_secs(5);

async fn upkeep(service: Arc<Service>) {
    loop {
        tokio::time::sleep(UPKEEP).await;
        service.metrics.run_upkeep();
    }
}

async fn serve(listener: TcpListener, service: Arc<Service>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let service = Arc::clone(&service);
                tokio::spawn(async move {
                    let answer = service_fn(|request| {
                        let response = service.answer(&request);
                        async move { Ok::<_, Infallible>(response) }
                    });
                    let mut connection = http1::Builder::new();
                    connection.timer(TokioTimer::new()).header_read_timeout(HEAD_WAIT);
                    // A client that breaks off is nobody's fault.
                    let _ = connection.serve_connection(TokioIo::new(stream), answer).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "admin listener cannot accept");
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    }
}

struct Service {
    /// Nothing while the engine starts.
    engine: OnceLock<Engine>,
    metrics: PrometheusHandle,
}

impl Service {
    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
            response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match request.uri().path() {
            "/metrics" => {
                self.metrics.run_upkeep();
                text(StatusCode::OK, self.metrics.render())
            }
            "/healthz" => match self.engine.get().map(Engine::state) {
                Some(EngineState::Failed(reason)) => {
                    text(StatusCode::SERVICE_UNAVAILABLE, format!("failed: {reason}\n"))
                }
                _ => text(StatusCode::OK, "ok\n"),
            },
            "/readyz" => self.ready(),
            _ => text(StatusCode::NOT_FOUND, "there are /metrics, /healthz and /readyz\n"),
        }
    }

    fn ready(&self) -> Response<Full<Bytes>> {
        let Some(engine) = self.engine.get() else {
            return text(StatusCode::SERVICE_UNAVAILABLE, "starting\n");
        };
        let status = engine.status();
        let reason = match &status.state {
            EngineState::Running if status.over_memory_limit => "over its memory limit\n".to_owned(),
            EngineState::Running => match &status.log_trouble {
                None => return text(StatusCode::OK, "ready\n"),
                Some(trouble) => format!("cannot write its log: {trouble}\n"),
            },
            EngineState::Replaying => match status.replay.total_bytes {
                0 => "replaying its log\n".to_owned(),
                total => format!("replaying its log: {} %\n", status.replay.bytes.min(total) * 100 / total),
            },
            EngineState::Draining => "draining\n".to_owned(),
            EngineState::Failed(reason) => format!("failed: {reason}\n"),
            _ => "stopped\n".to_owned(),
        };
        text(StatusCode::SERVICE_UNAVAILABLE, reason)
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let kind = header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
