//! Two things that `object_store` does not say to S3, said on the way out: that the end of an upload in parts must not replace an
//! object, and until when an object is locked.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use http::Method;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue, IF_NONE_MATCH};
use jiff::Timestamp;
use object_store::aws::{AwsAuthorizer, AwsCredentialProvider};
use object_store::client::{
    ClientOptions, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpService, ReqwestConnector,
};

use crate::place::Retention;

/// Makes clients that say them.
#[derive(Debug, Clone)]
pub(crate) struct Connector {
    pub(crate) lock: Option<Lock>,
}

/// What a retention needs: a signature that covers it.
#[derive(Debug, Clone)]
pub(crate) struct Lock {
    pub(crate) retention: Retention,
    pub(crate) region: String,
    /// Known once the store is made, which needs the connector.
    pub(crate) credentials: Arc<OnceLock<AwsCredentialProvider>>,
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let inner = ReqwestConnector::default().connect(options)?;
        let lock = self.lock.clone();
        Ok(HttpClient::new(Wire { inner, lock }))
    }
}

#[derive(Debug)]
struct Wire {
    inner: HttpClient,
    lock: Option<Lock>,
}

/// The digest of the body, which the signature covers too.
const BODY_DIGEST: HeaderName = HeaderName::from_static("x-amz-content-sha256");
const LOCK_MODE: HeaderName = HeaderName::from_static("x-amz-object-lock-mode");
const LOCKED_UNTIL: HeaderName = HeaderName::from_static("x-amz-object-lock-retain-until-date");

/// Says which checksum the request carries: S3 refuses an object with a retention without it.
const CHECKSUM: HeaderName = HeaderName::from_static("x-amz-sdk-checksum-algorithm");

const DAY: Duration = Duration::from_hours(24);

#[async_trait]
impl HttpService for Wire {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        // Others ask for credentials over the same kind of client.
        if request.headers().contains_key(BODY_DIGEST) {
            let query = request.uri().query().unwrap_or_default();
            let has = |key: &str| {
                query
                    .split('&')
                    .any(|pair| pair.split('=').next() == Some(key))
            };
            let (is_part, begins) = (has("uploadId"), has("uploads"));
            if request.method() == Method::POST && is_part {
                // Not one of the headers that must be signed.
                let always = HeaderValue::from_static("*");
                request.headers_mut().insert(IF_NONE_MATCH, always);
            }
            let makes = (request.method() == Method::PUT && !is_part)
                || (request.method() == Method::POST && begins);
            if let Some(lock) = self.lock.as_ref().filter(|_| makes) {
                lock.put_on(&mut request).await?;
            }
        }
        self.inner.execute(request).await
    }
}

impl Lock {
    async fn put_on(&self, request: &mut HttpRequest) -> Result<(), HttpError> {
        let fail =
            |what: String| HttpError::new(HttpErrorKind::Request, std::io::Error::other(what));
        let until = SystemTime::now() + DAY * self.retention.days;
        let until = Timestamp::try_from(until).map_err(|e| fail(e.to_string()))?;
        let until = until.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let until = HeaderValue::from_str(&until).map_err(|e| fail(e.to_string()))?;
        let mode = HeaderValue::from_static(self.retention.mode.as_str());
        let digest = request
            .headers()
            .get(BODY_DIGEST)
            .and_then(|text| hex::decode(text).ok());
        let is_put = request.method() == Method::PUT;
        let headers = request.headers_mut();
        headers.remove(AUTHORIZATION);
        headers.insert(LOCK_MODE, mode);
        headers.insert(LOCKED_UNTIL, until);
        if is_put {
            headers.insert(CHECKSUM, HeaderValue::from_static("SHA256"));
        }
        let provider = self
            .credentials
            .get()
            .ok_or_else(|| fail("nobody has credentials yet".into()))?;
        let credential = provider
            .get_credential()
            .await
            .map_err(|e| fail(e.to_string()))?;
        AwsAuthorizer::new(&credential, "s3", &self.region)
            .try_authorize(request, digest.as_deref())
            .map_err(|e| fail(e.to_string()))
    }
}
