//! An S3 server on loopback: s3s over a folder, with signatures checked, behind a layer that refuses, drops and cuts on request.
//!
//! As S3 does, and s3s-fs by itself does not, it serves a request to its end though the client hangs up, and of two writes of one
//! object it lets one be the first.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper::{HeaderMap, Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tokio::net::TcpListener;
use weir_object_storage::{Credentials, Place};

pub const BUCKET: &str = "records";

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is served.
    Pass,
    /// It is refused with this status.
    Refuse(u16),
    /// The connection ends before it is served.
    Drop,
    /// It is served, and the connection ends before the answer.
    DropAnswer,
    /// The connection ends when half of its body has come.
    Cut,
}

/// A request as the server saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    /// The status, where it was answered.
    pub status: Option<u16>,
}

impl Seen {
    /// The object it is about, as a path in the copy.
    pub fn path(&self) -> &str {
        self.uri
            .path()
            .trim_start_matches(&format!("/{BUCKET}/nas/")[..])
    }

    pub fn query(&self) -> &str {
        self.uri.query().unwrap_or_default()
    }

    /// Whether it would make an object.
    pub fn writes(&self) -> bool {
        (self.method == Method::PUT && !self.query().contains("uploadId"))
            || (self.method == Method::POST && self.query().contains("uploadId"))
    }
}

type Judge = Box<dyn FnMut(&Seen) -> Fate + Send>;

struct Shared {
    judge: Mutex<Judge>,
    seen: Mutex<Vec<Seen>>,
    s3: S3Service,
    /// Held while a write is judged and served, so that what one finds there is what the one before left.
    writing: tokio::sync::Mutex<()>,
}

/// A running server; it ends with the test.
pub struct Server {
    address: SocketAddr,
    folder: tempfile::TempDir,
    shared: Arc<Shared>,
    _runtime: tokio::runtime::Runtime,
}

#[derive(Debug)]
struct Gone;

impl std::fmt::Display for Gone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("dropped")
    }
}

impl std::error::Error for Gone {}

impl Server {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(BUCKET)).unwrap();
        let mut builder = S3ServiceBuilder::new(FileSystem::new(folder.path()).unwrap());
        builder.set_auth(SimpleAuth::from_single("id", "secret"));
        let shared = Arc::new(Shared {
            judge: Mutex::new(Box::new(|_| Fate::Pass)),
            seen: Mutex::default(),
            s3: builder.build(),
            writing: tokio::sync::Mutex::default(),
        });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(listen(listener, Arc::clone(&shared)));
        Self {
            address,
            folder,
            shared,
            _runtime: runtime,
        }
    }

    /// Decides what becomes of requests from now on.
    pub fn judge(&self, judge: impl FnMut(&Seen) -> Fate + Send + 'static) {
        *self.shared.judge.lock().unwrap() = Box::new(judge);
    }

    /// Serves everything from now on.
    pub fn heal(&self) {
        self.judge(|_| Fate::Pass);
    }

    /// The requests since the last time.
    pub fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.shared.seen.lock().unwrap())
    }

    /// Where the object of this path is on the server's disk.
    pub fn object(&self, path: &str) -> PathBuf {
        self.folder.path().join(BUCKET).join("nas").join(path)
    }

    /// The copy's objects.
    pub fn objects(&self) -> Vec<String> {
        let mut found = Vec::new();
        let root = self.object("");
        let mut open = vec![root.clone()];
        while let Some(folder) = open.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                } else {
                    found.push(
                        path.strip_prefix(&root)
                            .unwrap()
                            .to_str()
                            .unwrap()
                            .to_owned(),
                    );
                }
            }
        }
        found.sort();
        found
    }

    pub fn place(&self) -> Place {
        Place {
            endpoint: Some(format!("http://{}", self.address)),
            credentials: Some(Credentials {
                access_key_id: "id".into(),
                secret_access_key: "secret".into(),
                session_token: None,
            }),
            ..Place::parse(&format!("s3://{BUCKET}/nas")).unwrap()
        }
    }
}

async fn listen(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let serve = service_fn(move |request| answer(Arc::clone(&shared), request));
            // A connection that is dropped is one that a test wanted dropped.
            drop(
                http1::Builder::new()
                    .serve_connection(TokioIo::new(socket), serve)
                    .await,
            );
        });
    }
}

/// A task of its own, since that of a connection ends with the client.
async fn answer(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<s3s::Body>, Gone> {
    tokio::spawn(async move { serve(&shared, request).await })
        .await
        .unwrap()
}

async fn serve(shared: &Shared, request: Request<Incoming>) -> Result<Response<s3s::Body>, Gone> {
    let mut seen = Seen {
        method: request.method().clone(),
        uri: request.uri().clone(),
        headers: request.headers().clone(),
        status: None,
    };
    let _writing = if seen.writes() {
        Some(shared.writing.lock().await)
    } else {
        None
    };
    let fate = (shared.judge.lock().unwrap())(&seen);
    let result = match fate {
        Fate::Drop => Err(Gone),
        Fate::Refuse(status) => Ok(Response::builder()
            .status(status)
            .body(s3s::Body::empty())
            .unwrap()),
        Fate::Cut => Err(half(request).await),
        Fate::Pass | Fate::DropAnswer => {
            let answer = Service::call(&shared.s3, request).await.map_err(|_| Gone)?;
            seen.status = Some(answer.status().as_u16());
            if fate == Fate::DropAnswer {
                Err(Gone)
            } else {
                Ok(answer)
            }
        }
    };
    shared.seen.lock().unwrap().push(seen);
    result
}

async fn half(request: Request<Incoming>) -> Gone {
    let length = request
        .headers()
        .get("content-length")
        .and_then(|v| v.to_str().ok()?.parse().ok());
    let half: usize = length.unwrap_or(0) / 2;
    let mut body = request.into_body();
    let mut read = 0;
    while read < half {
        match body.frame().await {
            Some(Ok(frame)) => read += frame.data_ref().map_or(0, Bytes::len),
            _ => break,
        }
    }
    Gone
}
