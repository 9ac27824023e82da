//! The signature of Standard Webhooks: a receiver with the secret can tell who sent a body, and when.

use base64::{Engine, prelude::BASE64_STANDARD};
use ring::hmac;

use crate::config::Secret;

/// Signs with every secret, so that a receiver may know any of them.
pub(super) struct Signer {
    keys: Vec<hmac::Key>,
}

impl Signer {
    /// Reads the secrets. The message never holds one.
    pub(super) fn new(secrets: &[Secret]) -> Result<Self, String> {
        let keys = secrets.iter().enumerate().map(|(place, secret)| {
            let bytes = match secret.reveal().strip_prefix("whsec_") {
                Some(encoded) => BASE64_STANDARD
                    .decode(encoded)
                    .map_err(|_| format!("secret number {place} has no valid base64 after `whsec_`"))?,
                None => secret.reveal().as_bytes().to_vec(),
            };
            // What `whsec_${NAME}` is with a variable that is set to nothing: a signature that anybody can make.
            if bytes.is_empty() {
                return Err(format!("secret number {place} is empty: anybody could sign with it"));
            }
            Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
        });
        Ok(Self { keys: keys.collect::<Result<_, String>>()? })
    }

    /// The header `webhook-signature`; `None` without secrets.
    pub(super) fn sign(&self, id: &str, timestamp: &str, body: &[u8]) -> Option<String> {
        let signatures = self.keys.iter().map(|key| {
            let mut context = hmac::Context::with_key(key);
            for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
                context.update(part);
            }
            format!("v1,{}", BASE64_STANDARD.encode(context.sign()))
        });
        let signatures: Vec<String> = signatures.collect();
        (!signatures.is_empty()).then(|| signatures.join(" "))
    }
}
