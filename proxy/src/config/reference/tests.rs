#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "tests"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::keys::SECTIONS;
use super::{Form, Key, LeftOut, page, schema};
use crate::config::Config;
use crate::config::section::asked_here;

/// What has every table in it, right or wrong: all of it is asked for.
const EVERYTHING: &str = r#"
[listen]
tls = {}
[record]
seal = {}
compact = {}
retain = {}
results = {}
encryption = {}
[object_storage]
retention = {}
[admin]
approvers = [{ name = "anna", token = {} }]
[approvals]
[oauth]
[telemetry]
[limits]
[[server]]
name = "nas"
url = "http://127.0.0.1:1/mcp"
[[grant]]
name = "ops"
server = "nas"
token = {}
oauth = {}
limits = {}
"#;

/// Keys that are asked for only to say that there are none.
const NOT_YET: [(&str, &str); 1] = [("`[[server]]`", "outcome")];

/// Tables that are told in one row.
const IN_WORDS: [&str; 1] = ["`encryption` of `[record]`"];

fn read(text: &str) -> Result<Config, String> {
    Config::read(text, Path::new("/nowhere/weir.toml"), &|_| None)
        .map_err(|problems| problems.to_string())
}

/// Every table by the name that the reader has for it, and its keys.
fn tables() -> BTreeMap<String, BTreeSet<&'static str>> {
    fn note(
        name: &str,
        keys: &'static [Key],
        tables: &mut BTreeMap<String, BTreeSet<&'static str>>,
    ) {
        let names = keys.iter().map(|key| key.name);
        tables.entry(name.to_owned()).or_default().extend(names);
        for key in keys {
            match &key.form {
                Form::Table(keys) => note(&format!("`{}` of {name}", key.name), keys, tables),
                Form::Tables(keys) => note(&format!("`[[{}]]`", key.name), keys, tables),
                _ => {}
            }
        }
    }
    let mut tables = BTreeMap::new();
    for table in SECTIONS {
        let name = match table.heading {
            "" => String::new(),
            heading => format!("`{heading}`"),
        };
        note(&name, table.keys, &mut tables);
    }
    let top = tables.get_mut("").unwrap();
    top.extend(
        SECTIONS
            .iter()
            .map(|table| table.heading.trim_matches(['[', ']']))
            .filter(|name| !name.is_empty()),
    );
    tables
}

#[test]
fn every_key_that_is_read_is_told_and_none_else() {
    drop(read(EVERYTHING));
    let mut asked = asked_here();
    for (table, key) in NOT_YET {
        assert!(asked.get_mut(table).unwrap().remove(key), "{table} {key}");
    }
    asked.retain(|table, _| !IN_WORDS.contains(&table.as_str()));
    assert_eq!(asked, tables());
}

/// A file that loads, with this line in this table.
fn with(heading: &str, line: &str) -> String {
    let server = "name = \"nas\"\nurl = \"http://127.0.0.1:1/mcp\"\n";
    let line = format!("{line}\n");
    let of = |own: &str| {
        if heading == own {
            line.clone()
        } else {
            String::new()
        }
    };
    let has = |name: &str| line.starts_with(&format!("{name} "));
    let own = match heading {
        "[object_storage]" => {
            format!(
                "[object_storage]\nurl = \"s3://b/f\"\ncredentials = {{ access_key_id = \"a\", secret_access_key = \"b\" }}\n{line}"
            )
        }
        "[oauth]" => {
            format!(
                "[oauth]\nissuer = \"https://login.example\"\nresource = \"https://localhost:8443\"\n{line}"
            )
        }
        "[telemetry]" => format!("[telemetry]\notlp = \"http://127.0.0.1:4318\"\n{line}"),
        "" | "[[server]]" | "[[grant]]" => String::new(),
        heading => format!("{heading}\n{line}"),
    };
    let state = of("");
    let server = if has("url") {
        server.replace("url", "# url")
    } else if has("share") {
        server.replace("url = \"http://127.0.0.1:1/mcp\"", "command = [\"true\"]")
    } else {
        server.to_owned()
    };
    format!(
        "{state}{own}[[server]]\n{server}{}[[grant]]\nname = \"ops\"\nserver = \"nas\"\ntoken = {{ sha256 = \"{}\" }}\n{}",
        of("[[server]]"),
        "0".repeat(64),
        of("[[grant]]"),
    )
}

/// Looks at one key of a table.
type Check<'c> = &'c mut dyn FnMut(&str, &Key, &dyn Fn(&str) -> String);

/// Every key, and how a line of its table gives it this value.
fn each(check: Check<'_>) {
    for table in SECTIONS {
        for key in table.keys {
            let line = |value: &str| format!("{} = {value}", key.name);
            check(table.heading, key, &line);
            let Form::Table(keys) = &key.form else {
                continue;
            };
            for inner in *keys {
                let line = |value: &str| format!("{} = {{ {} = {value} }}", key.name, inner.name);
                check(table.heading, inner, &line);
            }
        }
    }
}

#[test]
fn what_is_said_to_hold_where_a_key_is_left_out_does() {
    let mut checked = 0;
    each(&mut |heading, key, line| {
        let LeftOut::Value(value) = key.left_out else {
            return;
        };
        let without = read(&with(heading, "")).unwrap();
        let told = read(&with(heading, &line(value)));
        let told = told.unwrap_or_else(|problems| panic!("{}: {problems}", line(value)));
        assert_eq!(
            format!("{told:?}"),
            format!("{without:?}"),
            "{}",
            line(value)
        );
        checked += 1;
    });
    assert!(checked > 50, "{checked}");
}

#[test]
fn bounds_are_where_they_are_said_to_be() {
    let mut checked = 0;
    each(&mut |heading, key, line| {
        let refused = |value: String| {
            let problems = read(&with(heading, &line(&value)))
                .err()
                .unwrap_or_default();
            problems.contains(&format!("`{}` in", key.name)) && problems.contains("must be")
                || problems.contains(&format!("for `{}`", key.name))
                || problems.contains("says not what is to be kept")
        };
        match key.form {
            Form::Count(from, to) | Form::Bytes(from, to) => {
                for fine in [from, to] {
                    assert!(!refused(fine.to_string()), "{} = {fine}", key.name);
                }
                assert!(refused((to + 1).to_string()), "{} = {to} + 1", key.name);
                if from > 0 {
                    assert!(refused((from - 1).to_string()), "{} = {from} - 1", key.name);
                }
                assert!(refused("\"1\"".to_owned()), "{} is no text", key.name);
                checked += 1;
            }
            Form::Size(least) => {
                let size = |megabytes: u64| format!("\"{megabytes}MB\"");
                assert!(!refused(size(least)), "{} = {least}", key.name);
                assert!(refused(size(least - 1)), "{} = {least} - 1", key.name);
                checked += 1;
            }
            Form::Span => {
                assert!(
                    refused("\"0s\"".to_owned()),
                    "{} is longer than nothing",
                    key.name
                );
                assert!(refused("5".to_owned()), "{} has a unit", key.name);
                checked += 1;
            }
            _ => {}
        }
    });
    assert!(checked > 35, "{checked}");
}

#[test]
fn words_are_those_that_are_taken() {
    let mut checked = 0;
    each(&mut |heading, key, line| {
        let Form::Word(words) = key.form else { return };
        let unknown = read(&with(heading, &line("\"nonsense\""))).unwrap_err();
        assert!(unknown.contains("nonsense"), "{unknown}");
        for word in words {
            let problems = read(&with(heading, &line(&format!("\"{word}\"")))).err();
            let problems = problems.unwrap_or_default();
            assert!(!problems.contains(&format!("not `{word}`")), "{problems}");
        }
        checked += 1;
    });
    assert!(checked > 4, "{checked}");
}

#[test]
fn the_page_and_the_schema_have_every_key() {
    let (page, schema) = (page(), schema());
    for table in SECTIONS {
        assert!(page.contains(table.heading), "{}", table.heading);
        for key in table.keys {
            assert!(
                page.contains(&format!("| `{}` |", key.name)),
                "{}",
                key.name
            );
            assert!(
                !key.text.is_empty() && !key.text.contains(['\n', '|']),
                "{}",
                key.name
            );
        }
    }
    let limits = &schema["properties"]["limits"]["properties"];
    assert_eq!(limits["connections_max"]["default"], 1024);
    assert_eq!(limits["connections_max"]["maximum"], 1_000_000);
    let grant = &schema["properties"]["grant"]["items"];
    assert_eq!(grant["required"], serde_json::json!(["name", "server"]));
    assert_eq!(grant["additionalProperties"], false);
}
