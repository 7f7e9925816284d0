//! What a client is shown of a server: `hide` applied to the answers of `tools/list`, `resources/list` and
//! `prompts/list`.
//!
//! An answer that needs no change passes byte for byte. In one that does, only the hidden entries go and only the
//! caching hints change; every other member, its order and its spelling stay, unknown ones and cursors included. A key
//! that stands twice is filtered twice, so that it does not matter which one the client believes.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The longest a client may go on using a list: a policy that hides a tool must bite before a client's cache ends.
pub const TTL_MS_MAX: u64 = 60_000;

/// A method that answers with a list a policy may hide entries of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listing {
    /// `tools/list`: names stand as they are.
    Tools,
    /// `resources/list`: names are `resource:<uri>`.
    Resources,
    /// `resources/templates/list`: names are `resource:<uriTemplate>`.
    ResourceTemplates,
    /// `prompts/list`: names are `prompt:<name>`.
    Prompts,
}

impl Listing {
    /// All of them: a resumed stream may carry the answer to any.
    pub const ALL: [Self; 4] = [
        Self::Tools,
        Self::Resources,
        Self::ResourceTemplates,
        Self::Prompts,
    ];

    /// The listing that `method` asks for.
    pub fn of_method(method: &str) -> Option<Self> {
        match method {
            "tools/list" => Some(Self::Tools),
            "resources/list" => Some(Self::Resources),
            "resources/templates/list" => Some(Self::ResourceTemplates),
            "prompts/list" => Some(Self::Prompts),
            _ => None,
        }
    }

    /// One message of the server without the entries whose name `hides` says yes to, see [`filter`].
    pub fn filter(
        self,
        message: &Bytes,
        hides: &dyn Fn(&str) -> bool,
    ) -> Result<Bytes, Unfilterable> {
        filter(message, &[self], hides)
    }

    fn member(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Resources => "resources",
            Self::ResourceTemplates => "resourceTemplates",
            Self::Prompts => "prompts",
        }
    }

    /// The key of an entry that names it.
    fn key(self) -> &'static str {
        match self {
            Self::Resources => "uri",
            Self::ResourceTemplates => "uriTemplate",
            Self::Tools | Self::Prompts => "name",
        }
    }

    /// What stands before the name where a policy speaks of it.
    fn prefix(self) -> &'static str {
        match self {
            Self::Tools => "",
            Self::Resources | Self::ResourceTemplates => "resource:",
            Self::Prompts => "prompt:",
        }
    }
}

/// A list that cannot be filtered with certainty, so it is withheld.
#[derive(Debug, thiserror::Error)]
#[error("the server's list cannot be read: {0}")]
pub struct Unfilterable(#[from] serde_json::Error);

/// The message without the entries that `hides` names: itself, if there is nothing to change.
///
/// `hides` is asked with the name policy would see (`vm_stop`, `resource:file:///x`). An entry without a readable name
/// is kept only if nothing is hidden. Messages without a result, errors among them, pass unchanged.
pub fn filter(
    message: &Bytes,
    listings: &[Listing],
    hides: &dyn Fn(&str) -> bool,
) -> Result<Bytes, Unfilterable> {
    let envelope: Members<'_> = serde_json::from_slice(message)?;
    let mut changed = false;
    let written = rewrite(&envelope, |key, value| match key {
        "result" => Ok(filter_result(value, listings, hides)?.inspect(|_| changed = true)),
        _ => Ok(None),
    })?;
    Ok(if changed {
        written.into()
    } else {
        message.clone()
    })
}

/// The tools that an answer to `tools/list` defines: name, and the definition as it stands.
pub fn tools(message: &[u8]) -> Result<Vec<(String, String)>, Unfilterable> {
    let envelope: Members<'_> = serde_json::from_slice(message)?;
    let mut defined = Vec::new();
    for result in envelope.all("result") {
        let Some(result) = object(result)? else {
            continue;
        };
        for tools in result.all("tools") {
            for tool in array(tools)?.into_iter().flatten() {
                let names = names(tool, Listing::Tools)?;
                defined.extend(names.into_iter().map(|name| (name, tool.get().to_owned())));
            }
        }
    }
    Ok(defined)
}

/// A result with what must change in it changed, or `None`.
fn filter_result(
    result: &RawValue,
    listings: &[Listing],
    hides: &dyn Fn(&str) -> bool,
) -> Result<Option<String>, Unfilterable> {
    let Some(members) = object(result)? else {
        return Ok(None);
    };
    let Some(_) = listings
        .iter()
        .find(|listing| members.all(listing.member()).next().is_some())
    else {
        return Ok(None);
    };
    let mut changed = false;
    let written = rewrite(&members, |key, value| {
        let replaced = match key {
            "cacheScope" if is_public(value) => Some("\"private\"".to_owned()),
            "ttlMs" if outlives_policy(value) => Some(TTL_MS_MAX.to_string()),
            _ => match listings.iter().find(|listing| listing.member() == key) {
                Some(&listing) => filter_entries(value, listing, hides)?,
                None => None,
            },
        };
        changed |= replaced.is_some();
        Ok(replaced)
    })?;
    Ok(changed.then_some(written))
}

/// A list without its hidden entries, or `None` if it has none.
fn filter_entries(
    list: &RawValue,
    listing: Listing,
    hides: &dyn Fn(&str) -> bool,
) -> Result<Option<String>, Unfilterable> {
    let Some(entries) = array(list)? else {
        return Ok(None);
    };
    let mut shown = Vec::with_capacity(entries.len());
    let mut nameless = Vec::new();
    for entry in &entries {
        let names = names(entry, listing)?;
        if names.is_empty() {
            nameless.push(shown.len());
        }
        if !names
            .iter()
            .any(|name| hides(&format!("{}{name}", listing.prefix())))
        {
            shown.push(entry.get());
        }
    }
    if shown.len() == entries.len() {
        return Ok(None);
    }
    for at in nameless.into_iter().rev() {
        shown.remove(at);
    }
    Ok(Some(format!("[{}]", shown.join(","))))
}

/// Every name an entry gives itself; more than one if the key stands more than once.
fn names(entry: &RawValue, listing: Listing) -> Result<Vec<String>, Unfilterable> {
    let Some(members) = object(entry)? else {
        return Ok(Vec::new());
    };
    Ok(members
        .all(listing.key())
        .filter_map(|name| serde_json::from_str(name.get()).ok())
        .collect())
}

fn is_public(value: &RawValue) -> bool {
    serde_json::from_str::<Cow<'_, str>>(value.get()).is_ok_and(|scope| scope == "public")
}

fn outlives_policy(value: &RawValue) -> bool {
    serde_json::from_str::<f64>(value.get()).is_ok_and(|ttl| ttl > TTL_MS_MAX as f64)
}

/// The object again, member by member, with those replaced for which `replace` gives something.
fn rewrite(
    members: &Members<'_>,
    mut replace: impl FnMut(&str, &RawValue) -> Result<Option<String>, Unfilterable>,
) -> Result<String, Unfilterable> {
    let mut written = String::from("{");
    for (at, (key, value)) in members.0.iter().enumerate() {
        if at > 0 {
            written.push(',');
        }
        written.push_str(&serde_json::to_string(key)?);
        written.push(':');
        match replace(key, value)? {
            Some(replaced) => written.push_str(&replaced),
            None => written.push_str(value.get()),
        }
    }
    written.push('}');
    Ok(written)
}

fn object(value: &RawValue) -> Result<Option<Members<'_>>, Unfilterable> {
    Ok(if value.get().starts_with('{') {
        Some(serde_json::from_str(value.get())?)
    } else {
        None
    })
}

fn array(value: &RawValue) -> Result<Option<Vec<&RawValue>>, Unfilterable> {
    Ok(if value.get().starts_with('[') {
        Some(serde_json::from_str(value.get())?)
    } else {
        None
    })
}

/// The members of an object in order, duplicates included, values as they stand.
struct Members<'m>(Vec<(Cow<'m, str>, &'m RawValue)>);

impl<'m> Members<'m> {
    fn all(&self, key: &str) -> impl Iterator<Item = &'m RawValue> {
        self.0
            .iter()
            .filter(move |(name, _)| name == key)
            .map(|(_, value)| *value)
    }
}

impl<'de: 'm, 'm> Deserialize<'de> for Members<'m> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some((Key(key), value)) = map.next_entry()? {
                    members.push((key, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// A key, borrowed unless it held an escape.
#[derive(Deserialize)]
struct Key<'k>(#[serde(borrow)] Cow<'k, str>);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::*;

    fn tools(message: &str, hidden: &[&str]) -> String {
        let filtered = Listing::Tools
            .filter(&Bytes::copy_from_slice(message.as_bytes()), &|name| {
                hidden.contains(&name)
            })
            .unwrap();
        String::from_utf8(filtered.to_vec()).unwrap()
    }

    #[test]
    fn nothing_hidden_passes_byte_for_byte() {
        for message in [
            " {\"jsonrpc\" : \"2.0\", \"id\":1.0e0,\n\"result\":{\"tools\":[ {\"name\":\"a\"} ], \"n\":12345678901234567890123 }}",
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"cacheScope":"public","content":[]}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":[]}"#,
        ] {
            assert_eq!(tools(message, &["b"]), message);
        }
    }

    #[test]
    fn a_hidden_tool_goes_and_everything_else_stays_as_it_stood() {
        let message = r#"{"id":1,"result":{"z":1.50,"tools":[{"name":"vm_list","x":1e400},{"name":"vm_delete"},{"description":"\u00e4","name":"vm_stop"}],"nextCursor":"a\/b"},"jsonrpc":"2.0"}"#;
        assert_eq!(
            tools(message, &["vm_delete"]),
            r#"{"id":1,"result":{"z":1.50,"tools":[{"name":"vm_list","x":1e400},{"description":"\u00e4","name":"vm_stop"}],"nextCursor":"a\/b"},"jsonrpc":"2.0"}"#
        );
    }

    #[test]
    fn an_escaped_or_repeated_name_hides_nothing_from_the_filter() {
        let message = r#"{"result":{"tools":[{"n\u0061me":"vm_d\u0065lete"},{"name":"vm_delete","name":"x"},{"name":"y","name":"vm_delete"}],"t\u006fols":[{"name":"vm_delete"}]},"result":{"tools":[{"name":"vm_delete"}]}}"#;
        assert_eq!(
            tools(message, &["vm_delete"]),
            r#"{"result":{"tools":[],"tools":[]},"result":{"tools":[]}}"#
        );
    }

    #[test]
    fn an_entry_without_a_name_does_not_survive_hiding() {
        let message =
            r#"{"result":{"tools":[7,{"name":"a"},{"name":{"b":1}},{"name":"hidden"},{}]}}"#;
        assert_eq!(
            tools(message, &["hidden"]),
            r#"{"result":{"tools":[{"name":"a"}]}}"#
        );
        assert_eq!(tools(message, &[]), message);
    }

    #[test]
    fn hiding_everything_leaves_an_empty_page_with_its_cursor() {
        let message =
            Bytes::from_static(br#"{"result":{"tools":[{"name":"a"}],"nextCursor":"2"}}"#);
        let filtered = Listing::Tools.filter(&message, &|_| true).unwrap();
        assert_eq!(
            filtered.as_ref(),
            br#"{"result":{"tools":[],"nextCursor":"2"}}"#
        );
    }

    #[test]
    fn what_one_grant_sees_is_cached_for_it_alone_and_not_for_long() {
        let message = r#"{"result":{"tools":[],"cacheScope":"public","ttlMs":3600000}}"#;
        assert_eq!(
            tools(message, &[]),
            r#"{"result":{"tools":[],"cacheScope":"private","ttlMs":60000}}"#
        );
        let message = r#"{"result":{"tools":[],"cacheScope":"private","ttlMs":500}}"#;
        assert_eq!(tools(message, &[]), message);
    }

    #[test]
    fn resources_and_prompts_are_asked_for_with_their_prefix() {
        let resources = Bytes::from_static(
            br#"{"result":{"resources":[{"uri":"truenas://vms","name":"a"},{"uri":"truenas://pools"}]}}"#,
        );
        let hides = |name: &str| name == "resource:truenas://vms" || name == "prompt:p";
        assert_eq!(
            filter(&resources, &Listing::ALL, &hides).unwrap().as_ref(),
            br#"{"result":{"resources":[{"uri":"truenas://pools"}]}}"#
        );
        let prompts = Bytes::from_static(br#"{"result":{"prompts":[{"name":"p"},{"name":"q"}]}}"#);
        assert_eq!(
            filter(&prompts, &Listing::ALL, &hides).unwrap().as_ref(),
            br#"{"result":{"prompts":[{"name":"q"}]}}"#
        );
    }

    #[test]
    fn bytes_that_cannot_be_read_are_an_error_not_a_pass() {
        for message in [
            "",
            "[]",
            "{",
            "{\"result\":{\"tools\":[{\"name\":\"a\"}]}} x",
            "\u{feff}{}",
        ] {
            let bytes = Bytes::copy_from_slice(message.as_bytes());
            assert!(
                Listing::Tools.filter(&bytes, &|_| true).is_err(),
                "{message:?}"
            );
        }
    }

    #[test]
    fn a_tool_is_told_as_it_stands() {
        let told =
            super::tools(br#"{"result":{"tools":[{"name":"a","d": 1}, {"name":"b"}]}}"#).unwrap();
        let pairs: Vec<_> = told.iter().map(|(name, text)| (&**name, &**text)).collect();
        assert_eq!(
            pairs,
            [("a", r#"{"name":"a","d": 1}"#), ("b", r#"{"name":"b"}"#)]
        );
    }
}
