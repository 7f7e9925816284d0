//! The record's copy in object storage, as the commands use it; a build without the feature says so.

use weir_proxy::{Config, Ready};

#[cfg(feature = "object-storage")]
pub use with::{Reach, check_anchor, is_address, prepare};
#[cfg(not(feature = "object-storage"))]
pub use without::prepare;

#[cfg(not(feature = "object-storage"))]
mod without {
    use super::{Config, Ready};

    /// Nothing is shipped.
    pub struct Shipping;

    /// Refuses a configuration that wants a copy.
    pub fn prepare(config: &Config) -> anyhow::Result<Option<Shipping>> {
        if config.object_storage.is_some() {
            anyhow::bail!(
                "this build ships nothing to object storage: build it with `--features object-storage`, or take [object_storage] out"
            );
        }
        Ok(None)
    }

    impl Shipping {
        pub fn begin(&self, _: &Ready) {}

        pub fn finish(self) {}
    }
}

#[cfg(feature = "object-storage")]
mod with {
    use std::path::{Path, PathBuf};
    use std::sync::{Mutex, PoisonError};
    use std::time::Duration;

    use anyhow::Context as _;
    use weir_object_storage::{
        Bucket, Credentials, FetchedAnchor, Place, Retention, RetentionMode, Shipper, runtime,
    };
    use weir_proxy::ReplicaHealth;
    use weir_proxy::config::ObjectStorageConfig;

    use super::{Config, Ready};
    use crate::failure::Fix as _;
    use crate::terminal;

    /// A copy that is shipped while a proxy serves.
    pub struct Shipping {
        bucket: Bucket,
        every: Duration,
        stop_wait_max: Duration,
        shipper: Mutex<Option<Shipper>>,
    }

    /// Looks at the configured place; nothing is asked of the network, since storage that is away keeps nobody from serving.
    pub fn prepare(config: &Config) -> anyhow::Result<Option<Shipping>> {
        let Some(wanted) = &config.object_storage else {
            return Ok(None);
        };
        let bucket = Bucket::open(place(wanted)?)
            .with_context(|| format!("`{}`, [object_storage]", config.path.display()))?;
        Ok(Some(Shipping {
            bucket,
            every: wanted.every,
            stop_wait_max: wanted.stop_wait_max,
            shipper: Mutex::default(),
        }))
    }

    fn place(wanted: &ObjectStorageConfig) -> anyhow::Result<Place> {
        let key = wanted.access_key.clone();
        Ok(Place {
            endpoint: wanted.endpoint.clone(),
            region: wanted.region.clone(),
            credentials: key.map(|key| Credentials {
                access_key_id: key.id,
                secret_access_key: key.secret,
                session_token: key.session_token,
            }),
            ca_pem: wanted.ca.as_deref().map(read).transpose()?,
            allow_http: wanted.allow_http,
            retention: wanted.retention.map(|retention| Retention {
                mode: if retention.compliance {
                    RetentionMode::Compliance
                } else {
                    RetentionMode::Governance
                },
                days: retention.days,
            }),
            ..Place::parse(&wanted.url)?
        })
    }

    fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
        std::fs::read(file).with_context(|| format!("cannot read `{}`", file.display()))
    }

    impl Shipping {
        /// Ships from now on, and shows on the health page how that fares.
        pub fn begin(&self, ready: &Ready) {
            let started = Shipper::start(self.bucket.clone(), ready.recorder.clone(), self.every);
            match started {
                Ok(shipper) => {
                    let watch = shipper.watch();
                    let place = self.bucket.place().to_string();
                    ready.replica.show(move || {
                        let status = watch();
                        ReplicaHealth {
                            place: place.clone(),
                            entries: status.entries,
                            behind_files: status.behind_files,
                            behind_bytes: status.behind_bytes,
                            behind_entries: status.behind_entries,
                            behind_seconds: status.behind.as_secs_f64(),
                            fault: status.fault,
                        }
                    });
                    *self.shipper.lock().unwrap_or_else(PoisonError::into_inner) = Some(shipper);
                }
                Err(error) => tracing::error!(%error, "nothing is shipped to object storage"),
            }
        }

        /// Ships what is left, within bounds.
        pub fn finish(self) {
            let shipper = self
                .shipper
                .into_inner()
                .unwrap_or_else(PoisonError::into_inner);
            if let Some(shipper) = shipper {
                shipper.finish(self.stop_wait_max);
            }
        }
    }

    /// How object storage is reached. The access key is taken from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and
    /// AWS_SESSION_TOKEN.
    #[derive(Debug, clap::Args)]
    pub struct Reach {
        /// Where the S3 service is, if it is not Amazon's. The access key is AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
        #[arg(
            long,
            value_name = "URL",
            env = "AWS_ENDPOINT_URL",
            hide_env_values = true
        )]
        endpoint: Option<String>,

        /// The region of the S3 service.
        #[arg(long, value_name = "NAME", env = "AWS_REGION", hide_env_values = true)]
        region: Option<String>,

        /// Certificates to trust for the S3 service, besides the system's.
        #[arg(long, value_name = "FILE")]
        ca: Option<PathBuf>,

        /// Reach an S3 service without TLS that is not on this host.
        #[arg(long)]
        allow_http: bool,
    }

    impl Reach {
        /// The bucket at this address.
        pub fn bucket(&self, url: &str) -> anyhow::Result<Bucket> {
            let variable = |name| std::env::var(name).ok();
            let id = variable("AWS_ACCESS_KEY_ID");
            let credentials = id
                .zip(variable("AWS_SECRET_ACCESS_KEY"))
                .map(|(id, secret)| Credentials {
                    access_key_id: id,
                    secret_access_key: secret,
                    session_token: variable("AWS_SESSION_TOKEN"),
                });
            if credentials.is_none() {
                terminal::note(
                    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set: asking this machine's metadata service for a key\n",
                );
            }
            let place = Place {
                endpoint: self.endpoint.clone(),
                region: self.region.clone(),
                credentials,
                ca_pem: self.ca.as_deref().map(read).transpose()?,
                allow_http: self.allow_http,
                ..Place::parse(url)?
            };
            Bucket::open(place).fix(|| {
                "say where the service is with --endpoint https://HOST, or --allow-http".into()
            })
        }
    }

    /// The address, if this is one of object storage and no folder.
    pub fn is_address(path: &Path) -> Option<&str> {
        path.to_str().filter(|text| text.starts_with("s3://"))
    }

    /// The checkpoints of a bucket, brought here.
    pub fn check_anchor(reach: &Reach, url: &str) -> anyhow::Result<FetchedAnchor> {
        let bucket = reach.bucket(url)?;
        let anchor = FetchedAnchor::fetch(&bucket, &runtime()?)?;
        if anchor.count() == 0 {
            anyhow::bail!("the anchor `{url}` has no checkpoints");
        }
        Ok(anchor)
    }
}
