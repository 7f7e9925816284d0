#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
use serde_json::{Value, json};

use super::*;

/// Keys of an issuer, and the set that it publishes.
struct Signer {
    key: EncodingKey,
    algorithm: Algorithm,
    public: Value,
}

impl Signer {
    fn new(algorithm: Algorithm, id: &str) -> Self {
        let kind = if algorithm == Algorithm::ES384 {
            &PKCS_ECDSA_P384_SHA384
        } else if algorithm == Algorithm::EdDSA {
            &PKCS_ED25519
        } else {
            &PKCS_ECDSA_P256_SHA256
        };
        let der = KeyPair::generate_for(kind).unwrap().serialize_der();
        let key = if algorithm == Algorithm::EdDSA {
            EncodingKey::from_ed_der(&der)
        } else {
            EncodingKey::from_ec_der(&der)
        };
        // A key's length tells Ed25519 from the rest; rcgen writes the public half too.
        let mut public = if algorithm == Algorithm::EdDSA {
            let pair = KeyPair::try_from(der.as_slice()).unwrap();
            let x = URL_SAFE_NO_PAD.encode(rcgen::PublicKeyData::der_bytes(&pair));
            json!({ "kty": "OKP", "crv": "Ed25519", "x": x })
        } else {
            serde_json::to_value(Jwk::from_encoding_key(&key, algorithm).unwrap()).unwrap()
        };
        public
            .as_object_mut()
            .unwrap()
            .insert("kid".into(), id.into());
        Self {
            key,
            algorithm,
            public,
        }
    }

    fn sign(&self, head: &Value, claims: &Value) -> String {
        sign_with(self.algorithm, &self.key, head, claims)
    }
}

/// Signs whatever head there is: a library's own would not write these.
fn sign_with(algorithm: Algorithm, key: &EncodingKey, head: &Value, claims: &Value) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", encode(head), encode(claims));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, algorithm).unwrap();
    format!("{message}.{signature}")
}

fn set(signers: &[&Signer]) -> KeySet {
    let keys: Vec<_> = signers.iter().map(|signer| &signer.public).collect();
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

fn config() -> OauthConfig {
    OauthConfig {
        issuer: "https://login.example".into(),
        resource: "https://weir.example".into(),
        audience: vec!["weir".into()],
        jwks: None,
        ca: None,
        leeway: Duration::from_secs(5),
        refresh: Duration::from_mins(5),
        stale_max: Duration::from_hours(1),
    }
}

fn now() -> u64 {
    jsonwebtoken::get_current_timestamp()
}

fn claims() -> Value {
    json!({ "iss": "https://login.example", "aud": "https://weir.example/nas/mcp", "exp": now() + 60, "sub": "ada", "client_id": "agent", "scope": "weir:read weir:ops" })
}

fn with(change: &Value) -> Value {
    let mut claims = claims();
    for (name, value) in change.as_object().unwrap() {
        let members = claims.as_object_mut().unwrap();
        if value.is_null() {
            members.remove(name);
        } else {
            members.insert(name.clone(), value.clone());
        }
    }
    claims
}

fn said(token: &str, keys: &KeySet) -> Result<Access, Unaccepted> {
    let head = Head::read(token)?;
    accept(token, &head, keys, &config(), "nas")
}

const HEAD: fn() -> Value = || json!({ "alg": "ES256", "kid": "one", "typ": "at+jwt" });

#[test]
fn a_token_for_this_server_says_who_and_what() {
    let signer = Signer::new(Algorithm::ES256, "one");
    let access = said(&signer.sign(&HEAD(), &claims()), &set(&[&signer])).unwrap();
    assert_eq!(&*access.principal(), "ada");
    assert_eq!(access.scopes, ["weir:read", "weir:ops"]);
    let name = |scopes: &[&str], subject: Option<&str>, client: Option<&str>| AccessName {
        scopes: scopes.iter().map(|&scope| scope.to_owned()).collect(),
        subject: subject.map(str::to_owned),
        client: client.map(str::to_owned),
    };
    assert!(access.is_named(&name(&["weir:ops"], None, None)));
    assert!(access.is_named(&name(
        &["weir:ops", "weir:read"],
        Some("ada"),
        Some("agent")
    )));
    assert!(!access.is_named(&name(&["weir:op"], None, None)));
    assert!(!access.is_named(&name(&["weir:ops", "weir:admin"], None, None)));
    assert!(!access.is_named(&name(&["weir:ops"], Some("bob"), None)));
    assert!(!access.is_named(&name(&["weir:ops"], None, Some("other"))));
}

#[test]
fn every_kind_of_key_verifies_what_it_signed_and_nothing_else() {
    let signers = [
        Signer::new(Algorithm::ES256, "one"),
        Signer::new(Algorithm::ES384, "two"),
        Signer::new(Algorithm::EdDSA, "three"),
    ];
    let keys = set(&[&signers[0], &signers[1], &signers[2]]);
    let names = [("ES256", "one"), ("ES384", "two"), ("EdDSA", "three")];
    for (signer, (algorithm, id)) in signers.iter().zip(names) {
        let head = json!({ "alg": algorithm, "kid": id });
        assert!(said(&signer.sign(&head, &claims()), &keys).is_ok(), "{id}");
        // Without a name there is no choice among keys of one kind here.
        let head = json!({ "alg": algorithm });
        assert!(said(&signer.sign(&head, &claims()), &keys).is_ok(), "{id}");
        for (_, other) in names.into_iter().filter(|(_, other)| *other != id) {
            let head = json!({ "alg": algorithm, "kid": other });
            let token = signer.sign(&head, &claims());
            assert_eq!(said(&token, &keys), Err(Unaccepted::Key), "{id} as {other}");
        }
    }
    let second = Signer::new(Algorithm::ES256, "four");
    let token = second.sign(&json!({ "alg": "ES256" }), &claims());
    let keys = set(&[&signers[0], &second]);
    assert_eq!(said(&token, &keys), Err(Unaccepted::Key), "which of two?");
    // The same name for two keys: either may have signed.
    let twin = Signer::new(Algorithm::ES256, "one");
    let keys = set(&[&signers[0], &twin]);
    assert!(said(&twin.sign(&HEAD(), &claims()), &keys).is_ok());
    assert!(said(&signers[0].sign(&HEAD(), &claims()), &keys).is_ok());
}

#[test]
fn claims_that_do_not_fit_are_told_apart() {
    let signer = Signer::new(Algorithm::ES256, "one");
    let keys = set(&[&signer]);
    let cases = [
        (
            json!({ "aud": "https://weir.example/lab/mcp" }),
            Unaccepted::Audience,
        ),
        (
            json!({ "aud": "https://weir.example/nas/mcp/" }),
            Unaccepted::Audience,
        ),
        (json!({ "aud": ["other"] }), Unaccepted::Audience),
        (json!({ "aud": null }), Unaccepted::Malformed),
        (
            json!({ "iss": "https://login.example/" }),
            Unaccepted::Issuer,
        ),
        (
            json!({ "iss": ["https://login.example"] }),
            Unaccepted::Malformed,
        ),
        (json!({ "iss": null }), Unaccepted::Malformed),
        (json!({ "exp": now() - 10 }), Unaccepted::Expired),
        (json!({ "exp": null }), Unaccepted::Malformed),
        (json!({ "exp": "9999999999" }), Unaccepted::Malformed),
        (json!({ "exp": -1 }), Unaccepted::Malformed),
        (json!({ "nbf": now() + 60 }), Unaccepted::TooEarly),
        (
            json!({ "sub": null, "client_id": null }),
            Unaccepted::Malformed,
        ),
        (json!({ "sub": "a\u{0}b" }), Unaccepted::Malformed),
        (json!({ "sub": "a".repeat(257) }), Unaccepted::Malformed),
        (json!({ "sub": 7 }), Unaccepted::Malformed),
        (json!({ "cnf": { "jkt": "abc" } }), Unaccepted::Bound),
        (json!({ "cnf": {} }), Unaccepted::Bound),
    ];
    for (change, why) in cases {
        let token = signer.sign(&HEAD(), &with(&change));
        assert_eq!(said(&token, &keys), Err(why), "{change}");
    }
    for change in [
        json!({ "aud": ["other", "https://weir.example"] }),
        json!({ "aud": "weir" }),
        json!({ "exp": now() - 2 }),
        json!({ "exp": now() as f64 + 60.5 }),
        json!({ "sub": null }),
        json!({ "client_id": null, "azp": "agent" }),
        json!({ "scope": null, "scp": ["weir:ops"] }),
        json!({ "cnf": { "x5t#S256": URL_SAFE_NO_PAD.encode([7; 32]) } }),
    ] {
        let token = signer.sign(&HEAD(), &with(&change));
        assert!(said(&token, &keys).is_ok(), "{change}");
    }
}

#[test]
fn what_a_head_says_never_chooses_how_it_is_verified() {
    let signer = Signer::new(Algorithm::ES256, "one");
    let stranger = Signer::new(Algorithm::ES256, "one");
    let keys = set(&[&signer]);
    let good = signer.sign(&HEAD(), &claims());
    let (message, _) = good.rsplit_once('.').unwrap();
    let (_, payload) = message.split_once('.').unwrap();
    let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    // No signature, under every spelling.
    for none in ["none", "None", "NONE", ""] {
        let token = format!(
            "{}.{payload}.",
            encode(json!({ "alg": none, "kid": "one" }))
        );
        assert_eq!(said(&token, &keys), Err(Unaccepted::Algorithm), "{none}");
    }
    assert_eq!(
        said(&format!("{message}."), &keys),
        Err(Unaccepted::Algorithm)
    );
    // The public key as a secret.
    for secret in [signer.public.to_string(), "x".to_owned()] {
        let secret = EncodingKey::from_secret(secret.as_bytes()).unwrap();
        let head = json!({ "alg": "HS256", "kid": "one" });
        let token = sign_with(Algorithm::HS256, &secret, &head, &claims());
        assert_eq!(said(&token, &keys), Err(Unaccepted::Algorithm));
    }
    // A key of its own, or where to find one.
    for (name, value) in [
        ("jwk", stranger.public.clone()),
        ("jku", json!("https://evil.example/jwks")),
        ("x5u", json!("https://evil.example/chain")),
    ] {
        let head = json!({ "alg": "ES256", "kid": "one", name: value });
        let token = stranger.sign(&head, &claims());
        let refused = said(&token, &keys).unwrap_err();
        assert!(
            matches!(refused, Unaccepted::Signature | Unaccepted::Malformed),
            "{name}: {refused:?}"
        );
    }
    // A name that is a path, a query or a header.
    for id in [
        "../../one",
        "one' OR '1'='1",
        "one\r\nX: y",
        "",
        "ONE",
        "one\0",
    ] {
        let token = signer.sign(&json!({ "alg": "ES256", "kid": id }), &claims());
        assert_eq!(said(&token, &keys), Err(Unaccepted::Key), "{id:?}");
    }
    let long = json!({ "alg": "ES256", "kid": "a".repeat(1000) });
    assert_eq!(
        said(&signer.sign(&long, &claims()), &keys),
        Err(Unaccepted::Malformed)
    );
    for head in [
        json!({ "alg": "ES256", "kid": "one", "crit": ["exp"] }),
        json!({ "alg": "ES256", "kid": "one", "crit": ["b64"], "b64": false }),
        json!({ "alg": "ES256", "kid": "one", "typ": "dpop+jwt" }),
        json!({ "alg": "ES256", "kid": "one", "typ": "logout+jwt" }),
    ] {
        assert_eq!(
            said(&signer.sign(&head, &claims()), &keys),
            Err(Unaccepted::Kind),
            "{head}"
        );
    }
}

#[test]
fn what_is_no_token_is_none() {
    let signer = Signer::new(Algorithm::ES256, "one");
    let keys = set(&[&signer]);
    let good = signer.sign(&HEAD(), &claims());
    let (message, signature) = good.rsplit_once('.').unwrap();
    let (head, payload) = message.split_once('.').unwrap();
    // Every byte that is changed breaks it.
    for at in (0..good.len()).step_by(7) {
        let mut bytes = good.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        assert!(
            said(&String::from_utf8(bytes).unwrap(), &keys).is_err(),
            "{at}"
        );
    }
    let twice = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","alg":"ES256","kid":"one"}"#);
    for token in [
        "a.b.c".to_owned(),
        "..".to_owned(),
        format!("{head}.{payload}"),
        format!("{good}.{signature}"),
        format!("{twice}.{payload}.{signature}"),
        format!("{head}=.{payload}.{signature}"),
        format!("{good}{}", "A".repeat(TOKEN_BYTES_MAX)),
    ] {
        assert_eq!(
            said(&token, &keys),
            Err(Unaccepted::Malformed),
            "{}",
            token.len()
        );
    }
    // A claim that is said twice is read in no way.
    let doubled = claims().to_string().replacen('{', r#"{"iss":"x","#, 1);
    let message = format!("{head}.{}", URL_SAFE_NO_PAD.encode(doubled));
    let sealed = jsonwebtoken::crypto::sign(message.as_bytes(), &signer.key, signer.algorithm);
    let token = format!("{message}.{}", sealed.unwrap());
    assert_eq!(said(&token, &keys), Err(Unaccepted::Malformed));
}

#[test]
fn a_set_of_keys_is_believed_as_far_as_its_keys_can_be_used() {
    let signer = Signer::new(Algorithm::ES256, "one");
    let parse = |keys: Vec<Value>| KeySet::parse(json!({ "keys": keys }).to_string().as_bytes());
    let changed = |name: &str, value: Value| {
        let mut key = signer.public.clone();
        key.as_object_mut().unwrap().insert(name.into(), value);
        key
    };
    let small = json!({ "kty": "RSA", "kid": "one", "alg": "RS256", "e": "AQAB", "n": URL_SAFE_NO_PAD.encode([0xff; 128]) });
    for useless in [
        json!({ "kty": "oct", "kid": "one", "k": "c2VjcmV0" }),
        json!({ "kty": "new", "kid": "one" }),
        json!("not a key"),
        small,
        changed("use", json!("enc")),
        changed("key_ops", json!(["encrypt"])),
        changed("alg", json!("HS256")),
        changed("alg", json!("RS256")),
        changed("crv", json!("P-521")),
    ] {
        let error = parse(vec![useless.clone()]).err();
        assert_eq!(
            error.as_deref(),
            Some("no key that verifies a signature"),
            "{useless}"
        );
        let keys = parse(vec![useless, signer.public.clone()]).unwrap();
        assert!(said(&signer.sign(&HEAD(), &claims()), &keys).is_ok());
    }
    let many = parse(vec![signer.public.clone(); 10_000]).err().unwrap();
    assert!(many.contains("at most 100"), "{many}");
    for document in ["", "[]", "{}", r#"{"keys":{}}"#, "<html>"] {
        assert!(KeySet::parse(document.as_bytes()).is_err(), "{document}");
    }
}

#[test]
fn the_head_of_the_library_is_not_needed() {
    // What an issuer's own library writes is read as well.
    let signer = Signer::new(Algorithm::ES256, "one");
    let mut head = Header::new(Algorithm::ES256);
    head.kid = Some("one".into());
    let token = jsonwebtoken::encode(&head, &claims(), &signer.key).unwrap();
    assert!(said(&token, &set(&[&signer])).is_ok());
}
