//! An authorisation server in the same process, so that it can lie; `e2e/check_oauth.py` has a real one.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// An authorisation server that signs what it is told to.
#[derive(Clone)]
pub(crate) struct Issuer {
    pub(crate) url: String,
    keys: Arc<Mutex<Vec<(String, EncodingKey)>>>,
    /// How often its keys were read.
    pub(crate) reads: Arc<AtomicUsize>,
    pub(crate) is_down: Arc<AtomicBool>,
    /// Says something else than its metadata and keys.
    pub(crate) lie: Arc<Mutex<Option<Value>>>,
}

impl Issuer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let issuer = Self {
            url: format!("http://{}/realms/ops", listener.local_addr().unwrap()),
            keys: Arc::default(),
            reads: Arc::default(),
            is_down: Arc::default(),
            lie: Arc::default(),
        };
        issuer.rotate("one");
        let serving = issuer.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let issuer = serving.clone();
                let service = service_fn(move |request| {
                    let answer = issuer.answer(&request);
                    async move { Ok::<_, std::convert::Infallible>(answer) }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        issuer
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let down = self.is_down.load(Ordering::SeqCst);
        let path = request.uri().path();
        let document = match path {
            _ if down => None,
            "/.well-known/oauth-authorization-server/realms/ops" => {
                Some(json!({ "issuer": self.url, "jwks_uri": format!("{}/jwks", self.url) }))
            }
            "/realms/ops/jwks" => {
                self.reads.fetch_add(1, Ordering::SeqCst);
                let keys = self.keys.lock().unwrap();
                let public = |(id, key): &(String, EncodingKey)| {
                    let jwk = Jwk::from_encoding_key(key, Algorithm::ES256).unwrap();
                    let mut jwk = serde_json::to_value(jwk).unwrap();
                    jwk["kid"] = json!(id);
                    jwk
                };
                Some(json!({ "keys": keys.iter().map(public).collect::<Vec<_>>() }))
            }
            _ => None,
        };
        let lie = self.lie.lock().unwrap().clone();
        let mut response = Response::new(Full::default());
        match document.map(|truth| lie.unwrap_or(truth)) {
            Some(document) => *response.body_mut() = Full::new(document.to_string().into()),
            None => *response.status_mut() = StatusCode::NOT_FOUND,
        }
        response
    }

    /// Signs with a new key from now on, which is its only one.
    pub(crate) fn rotate(&self, id: &str) {
        let der = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
            .unwrap()
            .serialize_der();
        *self.keys.lock().unwrap() = vec![(id.to_owned(), EncodingKey::from_ec_der(&der))];
    }

    pub(crate) fn token(&self, change: &Value) -> String {
        let mut claims = json!({ "iss": self.url, "aud": "https://localhost/nas/mcp", "exp": jsonwebtoken::get_current_timestamp() + 60,
            "sub": "ada", "client_id": "agent", "scope": "weir:ops" });
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let keys = self.keys.lock().unwrap();
        let (id, key) = keys.last().unwrap();
        let mut head = Header::new(Algorithm::ES256);
        head.kid = Some(id.clone());
        head.typ = Some("at+jwt".into());
        jsonwebtoken::encode(&head, &claims, key).unwrap()
    }

    pub(crate) fn config(&self, more: &str) -> String {
        format!(
            "\n[oauth]\nissuer = \"{}\"\nresource = \"https://localhost\"\nleeway = \"1s\"\n{more}\n",
            self.url
        )
    }
}
