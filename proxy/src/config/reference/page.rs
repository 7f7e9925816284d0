//! The reference as a page of Markdown.

use super::keys::SECTIONS;
use super::{Form, Key, LeftOut};

const HEAD: &str = "# Reference of weir.toml

Made by `weir config reference` from what the reader knows; a test holds this page to it, and that to what is read. [config.md](config.md) is the guide. `weir config check` tells everything that is
wrong with a file, and `weir config schema` prints a JSON Schema for editors.

Paths are relative to the file. A span of time is written `\"500ms\"`, `\"60s\"`, `\"5m\"`, `\"1h\"`, a size `\"500MB\"`, `\"50GB\"`, `\"2TB\"` (decimal). An unknown key is an error.
";

/// Every section with its keys.
pub fn page() -> String {
    let mut page = HEAD.to_owned();
    for table in SECTIONS {
        let heading = match table.heading {
            "" => "Top level".to_owned(),
            heading => format!("`{heading}`"),
        };
        page.extend([format!("\n## {heading}\n\n{}\n\n", table.text)]);
        page += "| Key | Value | Left out | |\n|---|---|---|---|\n";
        for key in table.keys {
            page.extend(rows(key, ""));
        }
    }
    page
}

/// The row of a key, and those of the keys of its table below it.
fn rows(key: &Key, above: &str) -> Vec<String> {
    let name = format!("{above}{}", key.name);
    let left_out = match key.left_out {
        LeftOut::Never => "needed".to_owned(),
        LeftOut::Told => String::new(),
        LeftOut::Value(value) => format!("`{value}`"),
    };
    let mut rows = vec![format!(
        "| `{name}` | {} | {left_out} | {} |\n",
        key.form.words(),
        key.text
    )];
    if let Form::Table(keys) | Form::Tables(keys) = &key.form {
        let below = format!("{name}.");
        rows.extend(keys.iter().flat_map(|key| self::rows(key, &below)));
    }
    rows
}

impl Form {
    fn words(&self) -> String {
        match self {
            Self::Flag => "`true` or `false`".to_owned(),
            Self::Text => "text".to_owned(),
            Self::Word(words) => {
                let words: Vec<String> = words.iter().map(|word| format!("`\"{word}\"`")).collect();
                words.join(" or ")
            }
            Self::Address => "address and port".to_owned(),
            Self::Url => "address".to_owned(),
            Self::File => "file".to_owned(),
            Self::Path => "path".to_owned(),
            Self::Span => "span of time".to_owned(),
            Self::Size(least) => format!("size, at least {least}MB"),
            Self::Days => "whole days".to_owned(),
            Self::Count(from, to) => format!("{from} to {to}"),
            Self::Bytes(from, to) => format!("bytes, {from} to {to}"),
            Self::Texts => "texts".to_owned(),
            Self::Files => "files".to_owned(),
            Self::Table(_) => "table".to_owned(),
            Self::Tables(_) => "tables".to_owned(),
            Self::Values => "table of values".to_owned(),
            Self::Other(words) => (*words).to_owned(),
        }
    }
}
