//! A request's body, whole and decompressed, within its limits: bytes beyond one are never held.

use std::io::{self, Read};

use flate2::bufread::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http_body_util::BodyExt;
use hyper::{
    HeaderMap, StatusCode,
    body::{Body, Incoming},
    header::CONTENT_ENCODING,
};
use tokio::time::timeout;

use super::{HttpSourceConfig, reply::Refusal};

/// A larger compressed body is inflated apart from the threads that serve others.
const INLINE_BYTES: usize = 16 << 10;

/// Reads a body.
pub(super) async fn read(
    body: Incoming,
    headers: &HeaderMap,
    config: &HttpSourceConfig,
) -> Result<Vec<u8>, Refusal> {
    let limit = config.max_body_bytes;
    // Told before anything is read, if the client says so itself.
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large(limit));
    }
    let raw = timeout(config.body_timeout, collect(body, limit)).await.map_err(|_| {
        Refusal::new(
            StatusCode::REQUEST_TIMEOUT,
            "request_timeout",
            format!("the body did not arrive within {} ms", config.body_timeout.as_millis()),
        )
    })??;
    let encoding = headers.get(CONTENT_ENCODING).map_or(&b""[..], |value| value.as_bytes()).trim_ascii();
    let coding = match encoding.to_ascii_lowercase().as_slice() {
        b"" | b"identity" => return Ok(raw),
        b"gzip" | b"x-gzip" => Coding::Gzip,
        b"deflate" => Coding::Deflate,
        _ => return Err(Refusal::invalid("content-encoding is none of gzip, deflate, identity")),
    };
    // How well it compresses says nothing: batches of events that are nearly the same do by more than 100 to 1.
    let most = config.max_inflated_bytes;
    if raw.len() <= INLINE_BYTES {
        return inflate(&raw, coding, most);
    }
    let inflated = tokio::task::spawn_blocking(move || inflate(&raw, coding, most)).await;
    inflated.unwrap_or_else(|_| Err(Refusal::internal("decompression panicked")))
}

#[derive(Clone, Copy)]
enum Coding {
    Gzip,
    Deflate,
}

async fn collect(mut body: Incoming, limit: usize) -> Result<Vec<u8>, Refusal> {
    let expected = usize::try_from(body.size_hint().lower()).unwrap_or(0).min(limit);
    let mut raw = Vec::with_capacity(expected);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::invalid("the body ended early or was no valid HTTP"))?;
        let Ok(data) = frame.into_data() else { continue };
        if raw.len() + data.len() > limit {
            return Err(too_large(limit));
        }
        raw.extend_from_slice(&data);
    }
    Ok(raw)
}

fn inflate(raw: &[u8], coding: Coding, most: usize) -> Result<Vec<u8>, Refusal> {
    let inflated = match coding {
        Coding::Gzip => read_limited(MultiGzDecoder::new(raw), most),
        // Some clients mean zlib by `deflate`, as the standard does, and some mean deflate.
        Coding::Deflate => match read_limited(ZlibDecoder::new(raw), most) {
            Err(_) => read_limited(DeflateDecoder::new(raw), most),
            inflated => inflated,
        },
    };
    match inflated {
        Ok(inflated) if inflated.len() > most => {
            Err(Refusal::invalid(format!("the body inflates to more than the {most} bytes it may have")))
        }
        Ok(inflated) => Ok(inflated),
        Err(_) => Err(Refusal::invalid("the body is not compressed as content-encoding says")),
    }
}

/// Reads at most one byte more than allowed, by which the caller knows.
fn read_limited(decoder: impl Read, most: usize) -> io::Result<Vec<u8>> {
    let mut inflated = Vec::new();
    decoder.take(most as u64 + 1).read_to_end(&mut inflated)?;
    Ok(inflated)
}

fn too_large(limit: usize) -> Refusal {
    Refusal::invalid(format!("the body is larger than {limit} bytes"))
}
