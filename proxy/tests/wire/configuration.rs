//! `weir.toml`: every problem at once, each with its line and what to do.

use weir_proxy::Config;

fn problems(text: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weir.toml");
    std::fs::write(&path, text).unwrap();
    let problems = Config::load(&path).unwrap_err().to_string();
    problems.replace(&format!("{}/", folder.path().display()), "")
}

#[test]
fn every_problem_is_told_at_once_with_its_line() {
    let told = problems(
        r#"[listen]
adress = "127.0.0.1:8443"
client_ca = "ca.pem"
[record]
durability = "maybe"
bytes_max = 1
[[server]]
name = "truenas"
url = "ftp://nas.local/mcp"
headers = { Authorization = { env = "NAS_TOKEN" } }
redact = ["password"]
redact_keys = ["*"]
audit = { vm_list = "everything" }
[[grant]]
name = "ops agent"
server = "truenos"
token = { sha256 = "abc" }
policy = "missing.json"
shadow = ["candidate.json"]
"#,
    );
    let expected = "\
weir.toml:2:1: unknown key `adress` in `[listen]`: did you mean `address`?
weir.toml:3:13: cannot read `ca.pem`: no such file
weir.toml:3:13: `client_ca` is set, but no [[grant]] asks for a certificate: everybody could call without one: add `certificate` to those that may be used with one only
weir.toml:5:14: `durability` is \"sync\" or \"interval\", not `maybe`
weir.toml:6:13: `bytes_max` in `[record]` must be a string, not integer
weir.toml:9:7: `ftp://nas.local/mcp` is not an http or https address
weir.toml:10:37: environment variable `NAS_TOKEN` is not set
weir.toml:11:11: `password` is no JSON pointer to a value, such as \"/params/password\" or \"/users/*/password\"
weir.toml:12:16: `*` is no key name, such as \"password\" or \"*_token\"
weir.toml:13:21: not an audit level: \"metadata\" (no arguments, no results), \"request\" (arguments) or \"result\" (both)
weir.toml:15:8: `ops agent` cannot name a grant: use up to 64 letters, digits, `-`, `_` and `.`, beginning with a letter or digit
weir.toml:16:10: no [[server]] is named `truenos`: did you mean `truenas`?
weir.toml:17:20: `sha256` must be 64 hexadecimal digits: `weir token new` makes a token and prints its `sha256`
weir.toml:18:10: cannot read `missing.json`: no such file
weir.toml:19:11: cannot read `candidate.json`: no such file";
    assert_eq!(told, expected);
}

#[test]
fn where_recording_is_off_nothing_says_how_it_is_done() {
    let told = problems(
        r#"[record]
recording = "off"
durability = "sync"
outcome = "strict"
[[server]]
name = "nas"
url = "https://nas.local/mcp"
"#,
    );
    let expected = "\
weir.toml:3:14: `durability` says how calls are recorded, and recording is off
weir.toml:4:11: `outcome` says how calls are recorded, and recording is off";
    assert_eq!(told, expected);
}

#[test]
fn a_missing_file_and_broken_toml_are_clear() {
    let missing = Config::load(std::path::Path::new("/nowhere/weir.toml"))
        .unwrap_err()
        .to_string();
    assert_eq!(
        missing,
        "/nowhere/weir.toml: cannot read the configuration: no such file: `weir init` writes one"
    );
    let told = problems("[listen\naddress = 1\n");
    assert!(told.starts_with("weir.toml:1:"), "{told}");
}

#[test]
fn dispatch_and_alias_are_read_as_policy_reads_them() {
    let told = problems(
        r#"[[server]]
name = "nas"
url = "http://127.0.0.1:1/mcp"
[[server.dispatch]]
tool = "truenas"
operaton = "/action"
arguments = "/params"
"#,
    );
    assert!(
        told.contains("weir.toml:6:1:") && told.contains("operaton"),
        "{told}"
    );
}

#[test]
fn the_same_name_or_token_twice_is_a_problem() {
    let zero = "0".repeat(64);
    let told = problems(&format!(
        r#"[[server]]
name = "nas"
url = "http://127.0.0.1:1/mcp"
[[server]]
name = "nas"
command = ["true"]
[[grant]]
name = "a"
server = "nas"
token = {{ sha256 = "{zero}" }}
[[grant]]
name = "a"
server = "nas"
token = {{ sha256 = "{zero}" }}
"#
    ));
    for part in [
        "two servers are named `nas`",
        "two grants are named `a`",
        "is opened by the same as another grant",
    ] {
        assert!(told.contains(part), "{told}");
    }
}

#[test]
fn what_opens_a_grant_is_named_whole_and_once() {
    let told = problems(
        r#"[listen]
client_crl = "weir.toml"
[[server]]
name = "nas"
url = "http://127.0.0.1:1/mcp"
[[grant]]
name = "nothing"
server = "nas"
[[grant]]
name = "part"
server = "nas"
certificate = "ops-agent"
[[grant]]
name = "pattern"
server = "nas"
certificate = { dns = "*.example" }
[[grant]]
name = "two"
server = "nas"
certificate = { dns = "a.example", uri = "spiffe://a" }
[[grant]]
name = "print"
server = "nas"
certificate = { sha256 = ["AA:BB"] }
[[grant]]
name = "anybody"
server = "nas"
oauth = {}
[[grant]]
name = "both"
server = "nas"
token = { sha256 = "0000000000000000000000000000000000000000000000000000000000000000" }
oauth = { scope = "a\"b" }
"#,
    );
    let expected = r#"weir.toml:2:14: `client_crl` needs a `client_ca`: add `client_ca`, whose certificates it takes back
weir.toml:6:1: a grant needs a `token`, a `certificate` or `oauth`: `weir token new` makes a token and prints its `sha256`
weir.toml:12:15: not the subject of a certificate: `ops-agent` is no part of a subject: write the whole of it, as in "CN=ops-agent,O=Example"; `openssl x509 -noout -subject -nameopt RFC2253` prints it
weir.toml:12:15: `certificate` in a grant needs a CA that vouches for it: add `client_ca` to [listen]
weir.toml:16:15: `certificate` in a grant needs a CA that vouches for it: add `client_ca` to [listen]
weir.toml:16:23: `*.example` is no name that a certificate has: it is compared whole: no part of it stands for anything
weir.toml:20:15: `certificate` needs one of `subject`, `uri`, `dns`, `email` and `sha256`: two of them could name two certificates; write two grants
weir.toml:20:15: `certificate` in a grant needs a CA that vouches for it: add `client_ca` to [listen]
weir.toml:24:15: `certificate` in a grant needs a CA that vouches for it: add `client_ca` to [listen]
weir.toml:24:27: a certificate's `sha256` is 64 hexadecimal digits: `openssl x509 -noout -fingerprint -sha256 -in FILE` prints it
weir.toml:28:9: `oauth` needs a `scope`, a `subject` or a `client`: without one, every token of the issuer would open the grant
weir.toml:28:9: `oauth` in a grant needs an issuer: add [oauth] with `issuer` and `resource`
weir.toml:33:9: a grant asks for a `token` or for `oauth`, not for both: a request has room for one; write two grants
weir.toml:33:9: `oauth` in a grant needs an issuer: add [oauth] with `issuer` and `resource`
weir.toml:33:19: `scope` names scopes, with spaces between them: such as "weir:ops"; a token must have them all"#;
    assert_eq!(told, expected);
}

#[test]
fn two_grants_that_the_same_opens_are_a_problem() {
    let grants = |one: &str, other: &str| {
        problems(&format!(
            "[listen]\nclient_ca = \"weir.toml\"\n[[server]]\nname = \"nas\"\nurl = \"http://127.0.0.1:1/mcp\"\n[oauth]\nissuer = \"https://login.example\"\nresource = \"https://localhost\"\n\
             [[grant]]\nname = \"a\"\nserver = \"nas\"\n{one}\n[[grant]]\nname = \"b\"\nserver = \"nas\"\n{other}\n[[grant]]\nname = \"last\"\nserver = \"nos\"\ncertificate = \"CN=x\"\n"
        ))
    };
    let clash = "grant `b` is opened by the same as another grant of `nas`";
    for (one, other) in [
        (
            "certificate = \"CN=ops,O=Example\"",
            "certificate = { subject = \"o=Example, cn=ops\" }",
        ),
        (
            "oauth = { scope = \"a b\" }",
            "oauth = { scope = \"a  b\" }",
        ),
    ] {
        assert!(grants(one, other).contains(clash), "{one}");
    }
    for (one, other) in [
        (
            "certificate = \"CN=ops\"",
            "certificate = \"CN=ops,O=Example\"",
        ),
        (
            "oauth = { scope = \"a\" }",
            "oauth = { scope = \"a\", subject = \"x\" }",
        ),
        (
            "oauth = { scope = \"a\" }",
            "oauth = { scope = \"a\" }\ncertificate = \"CN=ops\"",
        ),
    ] {
        assert!(!grants(one, other).contains(clash), "{one}");
    }
}

#[test]
fn an_issuer_is_named_so_that_nobody_can_take_its_place() {
    let told = problems(
        r#"[listen]
hosts = ["weir.example"]
[oauth]
issuer = "http://login.example"
resource = "https://other.example:8443"
jwks = "https://user@login.example/jwks"
leeway = "1h"
refresh = "5m"
stale_max = "1m"
[[server]]
name = "nas"
url = "http://127.0.0.1:1/mcp"
"#,
    );
    let safe = "whoever could change what comes from there could call as anybody; http is for 127.0.0.1 only";
    let expected = format!(
        "weir.toml:4:10: `http://login.example` is no https address: {safe}
weir.toml:5:12: this host does not answer to `other.example`: add it to `hosts` in [listen]
weir.toml:6:8: `https://user@login.example/jwks` is no https address: {safe}
weir.toml:7:10: `leeway` is at most 5 minutes: tokens that have expired pass for so long
weir.toml:9:13: `stale_max` is at least 300s here"
    );
    assert_eq!(told, expected);
    for resource in [
        "http://localhost",
        "https://localhost/mcp",
        "localhost:8443",
        "https://localhost?x",
        "https://a@localhost",
    ] {
        let told = problems(&format!(
            "[oauth]\nissuer = \"https://login.example\"\nresource = \"{resource}\"\n[[server]]\nname = \"nas\"\nurl = \"http://127.0.0.1:1/mcp\"\n"
        ));
        assert!(
            told.contains("is not how clients name this proxy"),
            "{resource}: {told}"
        );
    }
}

fn object_storage(text: &str) -> String {
    let server = "[[server]]\nname = \"nas\"\nurl = \"http://127.0.0.1:1/mcp\"\n";
    problems(&format!("{text}{server}"))
}

#[test]
fn every_problem_of_object_storage_is_told_with_its_line() {
    let told = object_storage(
        r#"[object_storage]
url = "http://minio.local/records"
endpoint = "http://minio.local:9000"
every = "soon"
prefix = "nas"
credentials = { access_key_id = "id", secret_acces_key = { env = "S3_SECRET" } }
retention = { mode = "forever" }
"#,
    );
    let expected = "\
weir.toml:1:1: there is no access key for the object storage: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write \
`credentials = { access_key_id = { env = \"…\" }, secret_access_key = { env = \"…\" } }`, or `credentials = \"machine\"` for those of \
this machine
weir.toml:2:7: `http://minio.local/records` names no bucket: write it as \"s3://bucket/folder\"
weir.toml:3:12: `http://minio.local:9000` has no TLS and is not on this host: use https, or say `allow_http = true`: arguments and \
results would travel in the clear
weir.toml:4:9: `every` in `[object_storage]` must be a span of time such as \"60s\", not string
weir.toml:5:1: unknown key `prefix` in `[object_storage]`: known here: allow_http, url, endpoint, region, credentials, ca, every, \
stop_wait_max, retention
weir.toml:6:66: environment variable `S3_SECRET` is not set
weir.toml:7:13: `retention` has no `days`: for how long may nobody remove what was shipped?
weir.toml:7:22: `forever` is no mode of retention: `mode` is \"governance\" or \"compliance\"";
    assert_eq!(told, expected);
}

#[test]
fn the_access_key_of_object_storage_comes_from_the_environment_and_shows_itself_to_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weir.toml");
    let text = "[object_storage]\nurl = \"s3://records/nas\"\n[[server]]\nname = \"nas\"\nurl = \"http://127.0.0.1:1/mcp\"\n";
    std::fs::write(&path, text).unwrap();
    let environment = |name: &str| Some(format!("canary-{name}"));
    let config = Config::load_with_environment(&path, &environment).unwrap();
    assert!(!format!("{config:?}").contains("canary"));
    let key = config.object_storage.unwrap().access_key.unwrap();
    assert_eq!(key.id, "canary-AWS_ACCESS_KEY_ID");
    assert_eq!(key.secret, "canary-AWS_SECRET_ACCESS_KEY");
    assert_eq!(
        key.session_token.as_deref(),
        Some("canary-AWS_SESSION_TOKEN")
    );
}

#[test]
fn where_record_keys_come_from_is_told_and_the_keys_show_themselves_to_nobody() {
    let record = |line: &str| {
        let server = "[[server]]\nname = \"nas\"\nurl = \"http://127.0.0.1:1/mcp\"\n";
        format!("[record]\nencryption = {line}\n{server}")
    };
    for (line, expected) in [
        (
            "\"on\"",
            "`encryption` in `[record]` must be a table, not string",
        ),
        (
            "{}",
            "`encryption` says not where its `keys` are: write `encryption = { keys = \"record.keys\" }`",
        ),
        (
            "{ keys = \"absent.keys\" }",
            "cannot read `absent.keys`: no such file",
        ),
        (
            "{ keys = { env = \"NO_KEYS\" } }",
            "environment variable `NO_KEYS` is not set",
        ),
        (
            "{ keys = { env = \"NO_KEYS\" }, key = \"k\" }",
            "unknown key `key`",
        ),
    ] {
        let told = problems(&record(line));
        assert!(
            told.starts_with("weir.toml:2:") && told.contains(expected),
            "{told}"
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weir.toml");
    std::fs::write(&path, record("{ keys = { env = \"KEYS\" } }")).unwrap();
    let environment = |name: &str| Some(format!("canary-{name}"));
    let config = Config::load_with_environment(&path, &environment).unwrap();
    assert!(!format!("{config:?}").contains("canary"));
    std::fs::write(&path, record("\"off\"")).unwrap();
    let config = Config::load(&path).unwrap();
    assert_eq!(
        config.record.encryption,
        weir_proxy::config::Encryption::Off
    );
}

#[test]
fn http2_is_offered_over_tls_alone() {
    for server in [
        "url = \"http://nas.local/mcp\"",
        "url = \"https://nas.local/sse\"\ntransport = \"sse\"",
        "command = [\"nas\"]",
    ] {
        let told = problems(&format!(
            "[[server]]\nname = \"nas\"\nhttp2 = true\n{server}\n"
        ));
        let expected = "`http2` is for a server at an https address: ";
        assert!(told.contains(expected), "{server}: {told}");
    }
}
