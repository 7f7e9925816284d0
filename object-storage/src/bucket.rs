//! A folder in a bucket where every object is written once.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3, AmazonS3Builder, Checksum};
use object_store::client::Certificate;
use object_store::path::Path as Key;
use object_store::{
    Attribute, Attributes, BackoffConfig, ClientOptions, Error, GetOptions, GetResult,
    MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions,
    PutOptions, RetryConfig,
};
use sha2::{Digest, Sha256};
use weir_recorder::Hash;

use crate::wire::{Connector, Lock};
use crate::{ObjectStorageError, Place};

/// A folder in a bucket. Paths are those of the record's folder.
#[derive(Debug, Clone)]
pub struct Bucket {
    store: Arc<AmazonS3>,
    place: Place,
}

/// Where an object says which bytes it was written with.
const DIGEST: &str = "weir-sha256";

/// S3 takes no smaller part.
const PART_BYTES_MIN: usize = 5 << 20;

/// Looking for what is there while somebody else writes it.
const LOOKS_MAX: usize = 3;

impl Bucket {
    /// The folder at this place. Nothing is asked of the network yet.
    pub fn open(place: Place) -> Result<Self, ObjectStorageError> {
        place.check_endpoint()?;
        let region = place.region.clone().unwrap_or_else(|| "us-east-1".into());
        let credentials = Arc::new(OnceLock::new());
        let lock = place.retention.map(|retention| Lock {
            retention,
            region: region.clone(),
            credentials: Arc::clone(&credentials),
        });
        let unusable =
            |e: Error| ObjectStorageError::Place(format!("`{place}` cannot be used: {e}"));
        let mut client = ClientOptions::new()
            .with_allow_http(true) // checked above, with the exception for this host
            .with_connect_timeout(Duration::from_secs(5))
            .with_timeout(place.request_timeout);
        if let Some(pem) = &place.ca_pem {
            for certificate in Certificate::from_pem_bundle(pem).map_err(unusable)? {
                client = client.with_root_certificate(certificate);
            }
        }
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&place.bucket)
            .with_region(region)
            .with_client_options(client)
            .with_checksum_algorithm(Checksum::SHA256)
            .with_retry(patience())
            .with_http_connector(Connector { lock });
        if let Some(endpoint) = &place.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        if let Some(given) = &place.credentials {
            builder = builder
                .with_access_key_id(&given.access_key_id)
                .with_secret_access_key(&given.secret_access_key);
            if let Some(token) = &given.session_token {
                builder = builder.with_token(token);
            }
        }
        let store = builder.build().map_err(unusable)?;
        // The only one who sets it.
        drop(credentials.set(Arc::clone(store.credentials())));
        let store = Arc::new(store);
        Ok(Self { store, place })
    }

    /// Where it is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Writes an object; fine if it is there with the same bytes, an error if with others.
    pub(crate) async fn put(&self, path: &str, bytes: Bytes) -> Result<(), ObjectStorageError> {
        let digest: Hash = Sha256::digest(&bytes).into();
        let length = bytes.len() as u64;
        let options = PutOptions {
            mode: PutMode::Create,
            attributes: attributes(&digest),
            ..PutOptions::default()
        };
        let key = self.key(path)?;
        match self.store.put_opts(&key, bytes.into(), options).await {
            Ok(_) => Ok(()),
            Err(error) => self.settle(path, error, length, &digest).await,
        }
    }

    /// Writes a file, as [`Bucket::put`]. Its digest is checked before it is sent, and again over what was sent.
    pub(crate) async fn put_file(
        &self,
        path: &str,
        file: &Path,
        wanted: Option<&Hash>,
    ) -> Result<(u64, Hash), ObjectStorageError> {
        let read = |e| ObjectStorageError::file("read", file)(e);
        let altered = || ObjectStorageError::Altered {
            path: file.to_owned(),
        };
        let part = self.place.part_bytes.max(PART_BYTES_MIN);
        let mut source = File::open(file).map_err(read)?;
        let length = source.metadata().map_err(read)?.len();
        if length <= part as u64 {
            let bytes = chunk(&mut source, part).map_err(read)?;
            let digest: Hash = Sha256::digest(&bytes).into();
            if wanted.is_some_and(|wanted| *wanted != digest) {
                return Err(altered());
            }
            self.put(path, bytes.into()).await?;
            return Ok((length, digest));
        }
        let digest = digest(&mut source, part).map_err(read)?;
        if wanted.is_some_and(|wanted| *wanted != digest) {
            return Err(altered());
        }
        let key = self.key(path)?;
        // Else all its parts would be sent, only to hear so.
        if self.is_there(path, length, &digest).await? {
            return Ok((length, digest));
        }
        let options = PutMultipartOptions {
            attributes: attributes(&digest),
            ..PutMultipartOptions::default()
        };
        let upload = self.store.put_multipart_opts(&key, options).await;
        let mut upload = upload.map_err(ObjectStorageError::store("write", path))?;
        match self
            .send_parts(path, file, part, &digest, &mut *upload)
            .await
        {
            Ok(()) => {}
            Err(error) => {
                // Parts that nobody completes cost money; a lifecycle rule takes those that stay (docs/object-storage.md).
                drop(upload.abort().await);
                return Err(error);
            }
        }
        match upload.complete().await {
            Ok(_) => Ok((length, digest)),
            Err(error) => {
                let settled = self.settle(path, error, length, &digest).await;
                drop(upload.abort().await);
                settled.map(|()| (length, digest))
            }
        }
    }

    async fn send_parts(
        &self,
        path: &str,
        file: &Path,
        part: usize,
        wanted: &Hash,
        upload: &mut dyn MultipartUpload,
    ) -> Result<(), ObjectStorageError> {
        let read = |e| ObjectStorageError::file("read", file)(e);
        let mut source = File::open(file).map_err(read)?;
        let mut hash = Sha256::new();
        loop {
            let bytes = chunk(&mut source, part).map_err(read)?;
            if bytes.is_empty() {
                break;
            }
            hash.update(&bytes);
            let sent = upload.put_part(bytes.into()).await;
            sent.map_err(ObjectStorageError::store("write", path))?;
        }
        let sent: Hash = hash.finalize().into();
        if sent == *wanted {
            Ok(())
        } else {
            Err(ObjectStorageError::Altered {
                path: file.to_owned(),
            })
        }
    }

    /// A write that the bucket refused because there is something: whether that is the same.
    async fn settle(
        &self,
        path: &str,
        error: Error,
        length: u64,
        digest: &Hash,
    ) -> Result<(), ObjectStorageError> {
        let refused = matches!(
            error,
            Error::AlreadyExists { .. }
                | Error::Precondition { .. }
                | Error::NotModified { .. }
                | Error::NotFound { .. }
        );
        if !refused {
            return Err(ObjectStorageError::store("write", path)(error));
        }
        for _ in 0..LOOKS_MAX {
            if self.is_there(path, length, digest).await? {
                return Ok(());
            }
        }
        Err(ObjectStorageError::store("write", path)(error))
    }

    /// Whether an object is there with these bytes; an error if with others.
    async fn is_there(
        &self,
        path: &str,
        length: u64,
        digest: &Hash,
    ) -> Result<bool, ObjectStorageError> {
        let options = GetOptions {
            head: true,
            ..GetOptions::default()
        };
        let there = match self.store.get_opts(&self.key(path)?, options).await {
            Ok(there) => there,
            Err(Error::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(ObjectStorageError::store("look at", path)(error)),
        };
        let said = there.attributes.get(&Attribute::Metadata(DIGEST.into()));
        let same = there.meta.size == length
            && match said {
                Some(said) => said.as_ref() == hex::encode(digest),
                // Brought here by other means: its bytes say it.
                None => self.digest(path).await? == *digest,
            };
        if same {
            Ok(true)
        } else {
            Err(ObjectStorageError::Conflict {
                path: path.to_owned(),
            })
        }
    }

    async fn digest(&self, path: &str) -> Result<Hash, ObjectStorageError> {
        let mut hash = Sha256::new();
        self.stream(path, |bytes| {
            hash.update(bytes);
            Ok(())
        })
        .await?;
        Ok(hash.finalize().into())
    }

    /// Reads an object piece by piece.
    pub(crate) async fn stream(
        &self,
        path: &str,
        mut take: impl FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<(), ObjectStorageError> {
        let mut pieces = self.open_object(path).await?.into_stream();
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(ObjectStorageError::store("read", path))?;
            take(&piece).map_err(ObjectStorageError::file("keep", path))?;
        }
        Ok(())
    }

    /// Reads a whole object, which is small; none if it is not there.
    pub(crate) async fn get(&self, path: &str) -> Result<Option<Bytes>, ObjectStorageError> {
        let object = match self.open_object(path).await {
            Ok(object) => object,
            Err(ObjectStorageError::Store { source, .. })
                if matches!(*source, Error::NotFound { .. }) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let bytes = object.bytes().await;
        bytes
            .map(Some)
            .map_err(ObjectStorageError::store("read", path))
    }

    async fn open_object(&self, path: &str) -> Result<GetResult, ObjectStorageError> {
        let object = self.store.get(&self.key(path)?).await;
        object.map_err(ObjectStorageError::store("read", path))
    }

    /// The objects in a folder and below it, and their sizes; the whole copy for an empty path.
    pub(crate) async fn list(
        &self,
        folder: &str,
    ) -> Result<BTreeMap<String, u64>, ObjectStorageError> {
        let prefix = self.key(folder)?;
        let relative = |object: ObjectMeta| {
            let path = object.location.as_ref().strip_prefix(&self.place.prefix)?;
            Some((path.trim_start_matches('/').to_owned(), object.size))
        };
        let objects: Vec<ObjectMeta> = self
            .store
            .list(Some(&prefix))
            .try_collect()
            .await
            .map_err(ObjectStorageError::store("list", folder))?;
        Ok(objects.into_iter().filter_map(relative).collect())
    }

    fn key(&self, path: &str) -> Result<Key, ObjectStorageError> {
        let whole = [self.place.prefix.as_str(), path]
            .into_iter()
            .filter(|part| !part.is_empty());
        let whole = whole.collect::<Vec<_>>().join("/");
        let invalid =
            |e| ObjectStorageError::Place(format!("`{whole}` cannot name an object: {e}"));
        Key::parse(&whole).map_err(invalid)
    }
}

/// A few quick attempts; who asks has its own, slower ones.
fn patience() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(2),
            base: 2.0,
        },
        max_retries: 2,
        retry_timeout: Duration::from_mins(1),
    }
}

fn attributes(digest: &Hash) -> Attributes {
    Attributes::from_iter([(Attribute::Metadata(DIGEST.into()), hex::encode(digest))])
}

/// The next bytes of a file, as many as are wanted unless it ends.
fn chunk(source: &mut File, wanted: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(wanted.min(1 << 20));
    source.take(wanted as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn digest(source: &mut File, part: usize) -> std::io::Result<Hash> {
    let mut hash = Sha256::new();
    loop {
        let bytes = chunk(source, part)?;
        if bytes.is_empty() {
            return Ok(hash.finalize().into());
        }
        hash.update(&bytes);
    }
}
