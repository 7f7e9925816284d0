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
redact = ["/password"]
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
weir.toml:3:13: `client_ca` in `[listen]` is not available yet: grants are opened by `token` for now
weir.toml:5:14: `durability` is \"sync\" or \"interval\", not `maybe`
weir.toml:6:13: `bytes_max` in `[record]` is not available yet: watch `/healthz` for the disk left
weir.toml:9:7: `ftp://nas.local/mcp` is not an http or https address
weir.toml:10:37: environment variable `NAS_TOKEN` is not set
weir.toml:11:10: `redact` in `[[server]]` is not available yet: arguments are recorded as they came
weir.toml:13:8: `ops agent` cannot name a grant: use up to 64 letters, digits, `-`, `_` and `.`, beginning with a letter or digit
weir.toml:14:10: no [[server]] is named `truenos`: did you mean `truenas`?
weir.toml:15:20: `sha256` must be 64 hexadecimal digits: `weir token new` makes a token and prints its `sha256`
weir.toml:16:10: cannot read `missing.json`: no such file
weir.toml:17:10: `shadow` in `[[grant]]` is not available yet: replay the record under the candidate instead";
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
        "has the token of another grant",
    ] {
        assert!(told.contains(part), "{told}");
    }
}
