//! A call from end to end: client, TLS, Weir, upstream and back, by durability, beside the same call without Weir.
//!
//! Client, proxy and upstream share the machine's cores, so this shows what Weir adds to a call, not how many calls it
//! could carry.
#![allow(
    clippy::expect_used,
    missing_docs,
    reason = "a bench that cannot be set up should stop at once"
)]

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use weir_proxy::Config;

const TOKEN: &str = "weir-bench-token";
const ANSWER: &str =
    r#"{"jsonrpc":"2.0","id":41,"result":{"content":[{"type":"text","text":"stopped"}]}}"#;
const AT_ONCE: [usize; 2] = [1, 16];

type Https = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

fn end_to_end(c: &mut Criterion) {
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let runtime = Runtime::new().expect("a runtime");
    let upstream = runtime.block_on(upstream());
    let folder = tempfile::tempdir().expect("a folder");
    let mut urls = vec![("without Weir, plain HTTP", upstream.clone())];
    let mut roots = RootCertStore::empty();
    let mut stops = Vec::new();
    for (name, durability) in [("interval", "interval"), ("sync", "sync")] {
        let folder = folder.path().join(name);
        let (address, ca, stop) = runtime.block_on(weir(&folder, &upstream, durability));
        for certificate in CertificateDer::pem_file_iter(ca).expect("the local CA") {
            roots.add(certificate.expect("PEM")).expect("a certificate");
        }
        let name = if name == "sync" {
            "through Weir over TLS, synced"
        } else {
            "through Weir over TLS, interval"
        };
        urls.push((name, format!("https://{address}/nas/mcp")));
        stops.push(stop);
    }
    let client = client(roots);
    for at_once in AT_ONCE {
        let mut group = c.benchmark_group(format!("end to end, {at_once} at once"));
        group.throughput(Throughput::Elements(at_once as u64));
        for (name, url) in &urls {
            group.bench_function(*name, |b| {
                b.iter(|| {
                    runtime.block_on(async {
                        let calls =
                            (0..at_once).map(|_| tokio::spawn(call(client.clone(), url.clone())));
                        for call in calls.collect::<Vec<_>>() {
                            call.await.expect("no panic");
                        }
                    });
                });
            });
        }
        group.finish();
    }
    drop(stops);
}

/// One call that the policy allows by its argument rule and its limit.
async fn call(client: Https, url: String) {
    let request = Request::post(url)
        .header("authorization", format!("Bearer {TOKEN}"))
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .body(Full::from(weir_benches::message(50, false)))
        .expect("a request");
    let answer = client.request(request).await.expect("an answer");
    let body = answer
        .into_body()
        .collect()
        .await
        .expect("its body")
        .to_bytes();
    assert_eq!(body, ANSWER, "the upstream's answer, and no denial");
}

fn client(roots: RootCertStore) -> Https {
    let tls = ClientConfig::builder()
        .with_root_certificates(Arc::new(roots))
        .with_no_client_auth();
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .build();
    Client::builder(TokioExecutor::new()).build(connector)
}

/// An MCP server that has one answer.
async fn upstream() -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let url = format!("http://{}/mcp", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(|request: Request<Incoming>| async {
                drop(request.into_body().collect().await);
                let mut answer = Response::new(Full::new(Bytes::from_static(ANSWER.as_bytes())));
                answer.headers_mut().insert(
                    "content-type",
                    hyper::header::HeaderValue::from_static("application/json"),
                );
                Ok::<_, Infallible>(answer)
            });
            let connection = hyper::server::conn::http1::Builder::new();
            tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
        }
    });
    url
}

/// The real proxy with a policy of 100 tools; its address, its CA, and what stops it when dropped.
async fn weir(
    folder: &Path,
    upstream: &str,
    durability: &str,
) -> (
    std::net::SocketAddr,
    std::path::PathBuf,
    oneshot::Sender<()>,
) {
    std::fs::create_dir_all(folder).expect("a folder");
    std::fs::write(folder.join("policy.json"), weir_benches::policy(100, true)).expect("written");
    let token = hex::encode(Sha256::digest(TOKEN));
    let config = format!(
        "[listen]\naddress = \"127.0.0.1:0\"\n[record]\npath = \"record\"\ndurability = \"{durability}\"\n\
         [[server]]\nname = \"nas\"\nurl = \"{upstream}\"\n\
         [[grant]]\nname = \"ops\"\nserver = \"nas\"\ntoken = {{ sha256 = \"{token}\" }}\npolicy = \"policy.json\"\n"
    );
    let path = folder.join("weir.toml");
    std::fs::write(&path, config).expect("written");
    let config = Config::load(&path).expect("a good configuration");
    let (tell, told) = oneshot::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(weir_proxy::serve(
        config,
        move |ready| drop(tell.send(ready)),
        async move { drop(stopped.await) },
    ));
    let ready = told.await.expect("it starts");
    let ca = ready.ca_pem_path.expect("a local CA");
    (ready.address, ca, stop)
}

criterion_group!(benches, end_to_end);
criterion_main!(benches);
