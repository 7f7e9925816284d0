//! Access tokens of an authorisation server: what they open, what is refused, and how its keys are kept.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::agents::{Agent, Ca, callers, ends, folder_with};
use crate::issuer::Issuer;
use crate::rig::{Proxy, Reply, Server, TOKEN, call};

const GRANTS: &str = "[[grant]]\nname = \"ops\"\noauth = { scope = \"weir:ops\" }\n[[grant]]\nname = \"read\"\noauth = { scope = \"weir:read\" }\n";

fn folder_of(server: &Server, issuer: &Issuer, grants: &str, more: &str) -> tempfile::TempDir {
    folder_with(server, "", &format!("{grants}{}", issuer.config(more)))
}

async fn call_with(proxy: &Proxy, token: &str) -> Reply {
    let body = Full::new(call("vm_list", &json!({})).into());
    let mut request = proxy.request().body(body).unwrap();
    let bearer = format!("Bearer {token}").parse().unwrap();
    request.headers_mut().insert("authorization", bearer);
    proxy.send(request).await
}

async fn has_keys(proxy: &Proxy) {
    for _ in 0..400 {
        let health: Value = serde_json::from_str(&proxy.admin("/healthz").await).unwrap();
        if health["oauth"]["keys"] != 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("the issuer's keys were not read");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scope_opens_its_grant_and_everything_else_is_refused_with_what_is_needed() {
    let (server, issuer) = (Server::start().await, Issuer::start().await);
    let folder = folder_of(&server, &issuer, GRANTS, "audience = [\"weir\"]");
    let proxy = Proxy::start(folder.path()).await;
    for change in [
        json!({}),
        json!({ "scope": "other weir:read" }),
        json!({ "scope": "weir:read weir:ops" }),
        json!({ "aud": ["x", "https://localhost"] }),
        json!({ "aud": "weir", "sub": "bob" }),
    ] {
        let reply = call_with(&proxy, &issuer.token(&change)).await;
        assert_eq!(reply.status, 200, "{change}");
    }
    let challenge = "Bearer realm=\"weir\", resource_metadata=\"https://localhost/.well-known/oauth-protected-resource/nas/mcp\", scope=\"weir:ops weir:read\"";
    let invalid =
        |text: &str| format!("{challenge}, error=\"invalid_token\", error_description=\"{text}\"");
    let cases = [
        (
            json!({ "aud": "https://localhost/lab/mcp" }),
            401,
            invalid("the access token is not for this server"),
        ),
        (
            json!({ "iss": "https://evil.example" }),
            401,
            invalid("the access token is another issuer's"),
        ),
        (
            json!({ "exp": 1 }),
            401,
            invalid("the access token has expired"),
        ),
        (
            json!({ "cnf": { "jkt": "x" } }),
            401,
            invalid("the access token is bound to a key or certificate that was not shown"),
        ),
        (
            json!({ "scope": "weir:op" }),
            403,
            format!(
                "{challenge}, error=\"insufficient_scope\", error_description=\"the access token does not open this server\""
            ),
        ),
    ];
    for (change, status, header) in cases {
        let reply = call_with(&proxy, &issuer.token(&change)).await;
        assert_eq!(reply.status, status, "{change}");
        assert_eq!(
            reply.headers["www-authenticate"],
            header.as_str(),
            "{change}"
        );
    }
    let tampered = issuer.token(&json!({})).replace("ada", "eve");
    let (message, signature) = tampered.rsplit_once('.').unwrap();
    let (head, _) = message.split_once('.').unwrap();
    let forged = URL_SAFE_NO_PAD.encode(json!({ "iss": issuer.url, "sub": "root" }).to_string());
    let unsigned = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
    for token in [
        format!("{head}.{forged}.{signature}"),
        format!("{unsigned}.{forged}."),
        format!("{head}.{}.{signature}", "A".repeat(20_000)),
        "no.token.atall".to_owned(),
    ] {
        let reply = call_with(&proxy, &token).await;
        assert_eq!(reply.status, 401);
        assert_eq!(
            reply.headers["www-authenticate"],
            invalid("the access token is not valid").as_str()
        );
    }
    // Nothing but one header counts.
    let good = issuer.token(&json!({}));
    let twice = proxy
        .request()
        .header("authorization", format!("Bearer {good}"));
    let twice = twice
        .body(Full::new(call("vm_list", &json!({})).into()))
        .unwrap();
    assert_eq!(proxy.send(twice).await.status, 401);
    let query = Request::post(format!("{}?access_token={good}", proxy.url()));
    let query = query.header("content-type", "application/json");
    let reply = proxy
        .send(
            query
                .body(Full::new(call("vm_list", &json!({})).into()))
                .unwrap(),
        )
        .await;
    assert_eq!(reply.status, 401);
    assert_eq!(
        reply.headers["www-authenticate"], challenge,
        "no token, no error"
    );
    for scheme in ["bearer", "BEARER"] {
        let mut request = proxy
            .request()
            .body(Full::new(call("vm_list", &json!({})).into()))
            .unwrap();
        let value = format!("{scheme} {good}").parse().unwrap();
        request.headers_mut().insert("authorization", value);
        assert_eq!(proxy.send(request).await.status, 200, "{scheme}");
    }
    assert!(
        server
            .log()
            .iter()
            .all(|reached| reached.headers["authorization"] == "Bearer upstream-secret")
    );
    let metrics = proxy.admin("/metrics").await;
    for (reason, count) in [
        ("access_audience", 1),
        ("access_issuer", 1),
        ("access_expired", 1),
        ("scope", 1),
        ("access_algorithm", 1),
        ("access_signature", 1),
    ] {
        let line = format!("weir_unauthenticated_total{{reason=\"{reason}\"}} {count}");
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }
    proxy.stop().await;
    let seen: Vec<_> = callers(folder.path());
    let seen: Vec<_> = seen
        .iter()
        .map(|(grant, who)| (grant.as_str(), who.as_str()))
        .collect();
    let ops = ("ops", "ada");
    assert_eq!(
        seen,
        [ops, ("read", "ada"), ops, ops, ("ops", "bob"), ops, ops]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_says_where_tokens_come_from_and_only_where_they_open_something() {
    let (server, issuer) = (Server::start().await, Issuer::start().await);
    let folder = folder_of(&server, &issuer, GRANTS, "");
    let proxy = Proxy::start(folder.path()).await;
    let get = async |path: &str| {
        let url = format!("https://{}{path}", proxy.ready.address);
        proxy
            .send(Request::get(url).body(Full::default()).unwrap())
            .await
    };
    let reply = get("/.well-known/oauth-protected-resource/nas/mcp").await;
    assert_eq!(reply.headers["content-type"], "application/json");
    assert_eq!(
        reply.json(),
        json!({ "resource": "https://localhost/nas/mcp", "resource_name": "nas, behind Weir", "authorization_servers": [issuer.url],
            "bearer_methods_supported": ["header"], "scopes_supported": ["weir:ops", "weir:read"] })
    );
    let whole = get("/.well-known/oauth-protected-resource").await.json();
    assert_eq!(whole["resource"], "https://localhost");
    for path in ["/lab/mcp", "/nas", "/nas/mcp/x", "x", "/../nas/mcp"] {
        let reply = get(&format!("/.well-known/oauth-protected-resource{path}")).await;
        assert_eq!(reply.status, 404, "{path}");
    }
    // Without a grant that a token opens, nobody is told of an issuer.
    let hash = hex::encode(Sha256::digest(TOKEN));
    let other = format!("[[grant]]\nname = \"old\"\ntoken = {{ sha256 = \"{hash}\" }}\n");
    let text = std::fs::read_to_string(folder.path().join("weir.toml")).unwrap();
    let (before, _) = text.split_once("[[grant]]").unwrap();
    let other = other.replace("[[grant]]", "[[grant]]\nserver = \"nas\"");
    let text = format!("{before}{other}{}", issuer.config(""));
    std::fs::write(folder.path().join("weir.toml"), text).unwrap();
    let config = weir_proxy::Config::load(&folder.path().join("weir.toml")).unwrap();
    proxy.ready.reloader.reload(config).await.unwrap();
    assert_eq!(
        get("/.well-known/oauth-protected-resource/nas/mcp")
            .await
            .status,
        404
    );
    assert_eq!(
        get("/.well-known/oauth-protected-resource").await.status,
        404
    );
    let reply = call_with(&proxy, "wrong").await;
    let challenge = reply.headers["www-authenticate"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(!challenge.contains("resource_metadata"), "{challenge}");
    assert_eq!(call_with(&proxy, TOKEN).await.status, 200);
    assert_eq!(
        call_with(&proxy, &issuer.token(&json!({}))).await.status,
        403
    );
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_read_again_when_they_are_new_and_not_for_whoever_makes_up_a_name() {
    let (server, issuer) = (Server::start().await, Issuer::start().await);
    let folder = folder_of(&server, &issuer, GRANTS, "");
    let proxy = Proxy::start(folder.path()).await;
    let old = issuer.token(&json!({}));
    assert_eq!(call_with(&proxy, &old).await.status, 200);
    let reads = issuer.reads.load(Ordering::SeqCst);
    assert!(reads <= 2, "{reads}");
    for n in 0..200 {
        let head = URL_SAFE_NO_PAD
            .encode(json!({ "alg": "ES256", "kid": format!("made-up-{n}") }).to_string());
        let (_, rest) = old.split_once('.').unwrap();
        assert_eq!(
            call_with(&proxy, &format!("{head}.{rest}")).await.status,
            401
        );
    }
    let more = issuer.reads.load(Ordering::SeqCst) - reads;
    assert!(more <= 1, "200 strangers had the keys read {more} times");
    assert_eq!(call_with(&proxy, &old).await.status, 200);
    // A rotated key is known once they are read again, and the one before opens nothing.
    issuer.rotate("two");
    let new = issuer.token(&json!({}));
    let mut tries = 0;
    while call_with(&proxy, &new).await.status != 200 {
        tries += 1;
        assert!(tries < 800, "the new key is not read");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert_eq!(call_with(&proxy, &old).await.status, 401);
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuer_that_is_away_is_believed_for_a_while_and_then_nobody_is() {
    let (server, issuer) = (Server::start().await, Issuer::start().await);
    let hash = hex::encode(Sha256::digest(TOKEN));
    let grants = format!("{GRANTS}[[grant]]\nname = \"old\"\ntoken = {{ sha256 = \"{hash}\" }}\n");
    let folder = folder_of(
        &server,
        &issuer,
        &grants,
        "refresh = \"1s\"\nstale_max = \"4s\"",
    );
    issuer.is_down.store(true, Ordering::SeqCst);
    let proxy = Proxy::start(folder.path()).await;
    let token = issuer.token(&json!({}));
    let reply = call_with(&proxy, &token).await;
    assert_eq!(reply.status, 503, "it is not the token's fault");
    assert!(
        reply.headers.contains_key("retry-after")
            && !reply.headers.contains_key("www-authenticate")
    );
    assert_eq!(call_with(&proxy, TOKEN).await.status, 200);
    issuer.is_down.store(false, Ordering::SeqCst);
    has_keys(&proxy).await;
    assert_eq!(call_with(&proxy, &token).await.status, 200);
    issuer.is_down.store(true, Ordering::SeqCst);
    assert_eq!(call_with(&proxy, &token).await.status, 200, "for a while");
    let mut last = StatusCode::OK;
    for _ in 0..400 {
        last = call_with(&proxy, &token).await.status;
        if last != 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert_eq!(last, 503);
    let health: Value = serde_json::from_str(&proxy.admin("/healthz").await).unwrap();
    assert!(
        health["oauth"]["fault"]
            .as_str()
            .unwrap()
            .contains("status 404"),
        "{health}"
    );
    issuer.is_down.store(false, Ordering::SeqCst);
    let mut tries = 0;
    while call_with(&proxy, &token).await.status != 200 {
        tries += 1;
        assert!(tries < 800, "it does not come back");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuer_that_lies_is_not_believed() {
    let (server, issuer) = (Server::start().await, Issuer::start().await);
    let folder = folder_of(&server, &issuer, GRANTS, "");
    let many = json!({ "keys": vec![json!({ "kty": "oct" }); 10_000] });
    let jwks = format!("{}/jwks", issuer.url);
    let far = json!({ "issuer": issuer.url, "jwks_uri": "http://keys.example/jwks" });
    for (lie, why) in [
        (
            json!({ "issuer": "https://evil.example", "jwks_uri": jwks }),
            "it is the metadata of `https://evil.example`",
        ),
        (far, "`jwks_uri` is no https address"),
        (many, "not the metadata"),
        (
            json!({ "keys": [], "issuer": issuer.url, "jwks_uri": jwks }),
            "no key that verifies",
        ),
        (
            json!({ "keys": vec![0; 101], "issuer": issuer.url, "jwks_uri": jwks }),
            "101 keys",
        ),
        (
            json!({ "pad": "x".repeat(600_000) }),
            "length limit exceeded",
        ),
    ] {
        *issuer.lie.lock().unwrap() = Some(lie);
        let proxy = Proxy::start(folder.path()).await;
        let token = issuer.token(&json!({}));
        assert_eq!(call_with(&proxy, &token).await.status, 503);
        let health = proxy.admin("/healthz").await;
        assert!(health.contains(why), "{why}: {health}");
        proxy.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_ends_with_its_token() {
    let (server, issuer) = (Server::start().await, Issuer::start().await);
    let folder = folder_of(&server, &issuer, GRANTS, "");
    let proxy = Proxy::start(folder.path()).await;
    let agent = Agent::new(&proxy, None);
    let soon_over = issuer.token(&json!({ "exp": jsonwebtoken::get_current_timestamp() + 2 }));
    ends(agent.listen(Some(&soon_over)).await).await;
    assert_eq!(agent.call(Some(&soon_over)).await, 401);
    // A grant whose scope was exchanged ends them too.
    let token = issuer.token(&json!({}));
    let stream = agent.listen(Some(&token)).await;
    let path = folder.path().join("weir.toml");
    let text = std::fs::read_to_string(&path)
        .unwrap()
        .replace("weir:ops", "weir:admin");
    std::fs::write(&path, text).unwrap();
    let config = weir_proxy::Config::load(&path).unwrap();
    proxy.ready.reloader.reload(config).await.unwrap();
    ends(stream).await;
    assert_eq!(agent.call(Some(&token)).await, 403);
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_bound_to_a_certificate_is_worth_nothing_without_it() {
    let (server, issuer) = (Server::start().await, Issuer::start().await);
    let ca = Ca::new("clients");
    let grants = format!(
        "{GRANTS}[[grant]]\nname = \"both\"\noauth = {{ scope = \"weir:both\" }}\ncertificate = \"CN=ops\"\n{}",
        issuer.config("")
    );
    let folder = folder_with(&server, "client_ca = \"clients.pem\"", &grants);
    std::fs::write(folder.path().join("clients.pem"), &ca.pem).unwrap();
    let proxy = Proxy::start(folder.path()).await;
    let (own, other) = (ca.issue("ops"), ca.issue("ops2"));
    let bound =
        issuer.token(&json!({ "cnf": { "x5t#S256": URL_SAFE_NO_PAD.encode(own.sha256()) } }));
    assert_eq!(Agent::new(&proxy, Some(&own)).call(Some(&bound)).await, 200);
    assert_eq!(
        Agent::new(&proxy, Some(&other)).call(Some(&bound)).await,
        401
    );
    assert_eq!(Agent::new(&proxy, None).call(Some(&bound)).await, 401);
    // A grant that asks for both is not opened by one.
    let both = issuer.token(&json!({ "scope": "weir:both" }));
    assert_eq!(Agent::new(&proxy, Some(&own)).call(Some(&both)).await, 200);
    assert_eq!(
        Agent::new(&proxy, Some(&other)).call(Some(&both)).await,
        401
    );
    assert_eq!(Agent::new(&proxy, None).call(Some(&both)).await, 401);
    assert_eq!(Agent::new(&proxy, Some(&own)).call(None).await, 401);
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_turned_away_over_http2_hears_it() {
    let (server, issuer) = (Server::start().await, Issuer::start().await);
    let folder = folder_of(&server, &issuer, GRANTS, "");
    let proxy = Proxy::start(folder.path()).await;
    for n in 0..100 {
        let request = Request::post(proxy.url()).header("content-type", "application/json");
        let body = Full::new(call("vm_list", &json!({ "pad": "x".repeat(n * 400) })).into());
        let response = proxy.open(request.body(body).unwrap()).await;
        assert_eq!(response.version(), http::Version::HTTP_2);
        assert_eq!(response.status(), 401, "{n}");
        assert!(response.headers().contains_key("www-authenticate"));
    }
    proxy.stop().await;
}

/// What every kind of caller gets of a session that another opened.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_never_sees_the_session_of_another() {
    let (server, issuer) = (Server::start().await, Issuer::start().await);
    let ca = Ca::new("clients");
    let hash = |token: &str| hex::encode(Sha256::digest(token));
    let (one, two) = (ca.issue("one"), ca.issue("two"));
    let grants = format!(
        "{GRANTS}[[grant]]\nname = \"tok-a\"\ntoken = {{ sha256 = \"{}\" }}\n[[grant]]\nname = \"tok-b\"\ntoken = {{ sha256 = \"{}\" }}\n\
         [[grant]]\nname = \"cert\"\ncertificate = \"CN=ops\"\n[[grant]]\nname = \"pins\"\ncertificate = {{ sha256 = [\"{}\", \"{}\"] }}\n{}",
        hash("a"),
        hash("b"),
        hex::encode(one.sha256()),
        hex::encode(two.sha256()),
        issuer.config("")
    );
    let folder = folder_with(&server, "client_ca = \"clients.pem\"", &grants);
    std::fs::write(folder.path().join("clients.pem"), &ca.pem).unwrap();
    let proxy = Proxy::start(folder.path()).await;
    let ops = ca.issue("ops");
    let nobody = None;
    let callers = [
        ("token a", nobody, Some("a".to_owned())),
        ("token b", nobody, Some("b".to_owned())),
        ("certificate", Some(&ops), None),
        ("certificate one of a grant of two", Some(&one), None),
        ("certificate two of a grant of two", Some(&two), None),
        ("ada", nobody, Some(issuer.token(&json!({})))),
        (
            "bob of the same grant",
            nobody,
            Some(issuer.token(&json!({ "sub": "bob" }))),
        ),
        (
            "ada through another client",
            nobody,
            Some(issuer.token(&json!({ "client_id": "other" }))),
        ),
        (
            "ada in another grant",
            nobody,
            Some(issuer.token(&json!({ "scope": "weir:read" }))),
        ),
    ];
    let agents: Vec<_> = callers
        .iter()
        .map(|(_, shown, _)| Agent::new(&proxy, *shown))
        .collect();
    let hello = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": { "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "x", "version": "1" } } });
    for (n, (what, _, token)) in callers.iter().enumerate() {
        let request = agents[n]
            .request(token.as_deref())
            .header("x-request-id", format!("session-{n}"));
        let request = request.body(Full::new(hello.to_string().into())).unwrap();
        assert_eq!(agents[n].send(request).await.unwrap(), 200, "{what}");
    }
    for (n, (what, _, token)) in callers.iter().enumerate() {
        for (other, (whose, _, _)) in callers.iter().enumerate() {
            let id = format!("session-{other}");
            let own = n == other;
            let post = || {
                let post = agents[n].request(token.as_deref());
                let post = post.header("mcp-session-id", &id);
                let body = Full::new(call("vm_list", &json!({})).into());
                post.body(body).unwrap()
            };
            let status = agents[n].send_in_time(post).await;
            assert_eq!(
                status,
                if own { 200 } else { 404 },
                "{what} in the session of {whose}"
            );
            if own {
                continue;
            }
            for method in ["GET", "DELETE"] {
                let bare = || {
                    let bare = agents[n].request(token.as_deref()).method(method);
                    let bare = bare.header("mcp-session-id", &id);
                    bare.body(Full::default()).unwrap()
                };
                let status = agents[n].send_in_time(bare).await;
                assert_eq!(status, 404, "{method} by {what} in the session of {whose}");
            }
            // Nor can it take the id for its own.
            let request = agents[n]
                .request(token.as_deref())
                .header("x-request-id", &id);
            let request = request.body(Full::new(hello.to_string().into())).unwrap();
            assert!(
                !agents[n].is_given_a_session(request).await,
                "{what} takes the session of {whose}"
            );
        }
    }
    // Every session is still its owner's.
    for (n, (what, _, token)) in callers.iter().enumerate() {
        let post = agents[n]
            .request(token.as_deref())
            .header("mcp-session-id", format!("session-{n}"));
        let post = post
            .body(Full::new(call("vm_list", &json!({})).into()))
            .unwrap();
        assert_eq!(agents[n].send(post).await.unwrap(), 200, "{what}");
    }
    proxy.stop().await;
    // Without an id of the protocol, sessions are told apart as well: all of these came from one address and one client.
    let derived = sessions(folder.path());
    assert_eq!(derived.len(), callers.len(), "{derived:?}");
}

/// The sessions of the rows that were no `tools/call`: those that Weir derived.
fn sessions(folder: &Path) -> std::collections::BTreeSet<String> {
    crate::rig::rows(folder)
        .into_iter()
        .filter(|row| row.method == "initialize")
        .map(|row| row.session)
        .collect()
}
