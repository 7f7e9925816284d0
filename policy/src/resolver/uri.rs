//! The other spellings of a resource's URI, by which a server may know it.
//!
//! Servers hand a URI to a parser before they look it up: it trims spaces, lowers the scheme, removes dot segments and settles
//! percent-encoding, so that ` TRUENAS://x/../vms` reads `truenas://vms`. A rule that names the one must see the other.

use smallvec::SmallVec;

/// Schemes whose authority a URL parser settles too (WHATWG URL, "special scheme"), with their default ports.
const SPECIAL: [(&str, &str); 5] = [
    ("http", "80"),
    ("https", "443"),
    ("ws", "80"),
    ("wss", "443"),
    ("ftp", "21"),
];

/// What `uri` is written as by parsers, encoded and decoded, where that is not what it is.
pub(super) fn spellings(uri: &str) -> SmallVec<[String; 2]> {
    let mut spellings = SmallVec::new();
    for escape in [encoded, decoded] {
        let spelling = spelled(uri.trim_matches(' '), escape);
        // Parsers do not agree on the slash that alone makes a path.
        let bare = spelling.strip_suffix('/').filter(|bare| is_authority(bare));
        for spelling in [Some(spelling.as_str()), bare].into_iter().flatten() {
            if spelling != uri && !spellings.iter().any(|known| known == spelling) {
                spellings.push(spelling.to_owned());
            }
        }
    }
    spellings
}

/// Whether this is a scheme and an authority, and nothing else.
fn is_authority(uri: &str) -> bool {
    (uri.split_once("://"))
        .is_some_and(|(_, rest)| !rest.is_empty() && !rest.contains(['/', '?', '#']))
}

fn spelled(uri: &str, escape: fn(&str) -> String) -> String {
    let is_scheme = |scheme: &&str| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && (scheme.bytes()).all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    };
    let parts = uri.split_once(':').filter(|(scheme, _)| is_scheme(scheme));
    let Some((scheme, rest)) = parts else {
        return escape(uri);
    };
    let scheme = scheme.to_ascii_lowercase();
    let special = SPECIAL.iter().find(|(name, _)| *name == scheme);
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    let (path, tail) = rest.split_at_checked(end).unwrap_or((rest, ""));
    let path = if special.is_some() || scheme == "file" {
        path.replace('\\', "/")
    } else {
        path.to_owned()
    };
    let hierarchical = match special {
        Some(_) => Some(path.trim_start_matches('/')),
        None => path.strip_prefix("//"),
    };
    let tail = escape(tail);
    let Some(hierarchical) = hierarchical else {
        let path = match path.strip_prefix('/') {
            Some(path) => format!("/{}", without_dots(path, escape)),
            None => escape(&path),
        };
        return format!("{scheme}:{path}{tail}");
    };
    let cut = hierarchical.find('/').unwrap_or(hierarchical.len());
    let (authority, path) = hierarchical
        .split_at_checked(cut)
        .unwrap_or((hierarchical, ""));
    let authority = settled(authority, special.map(|(_, port)| *port));
    let path = match (path.strip_prefix('/'), special) {
        (Some(path), _) => format!("/{}", without_dots(path, escape)),
        (None, Some(_)) => "/".to_owned(),
        (None, None) => String::new(),
    };
    format!("{scheme}://{}{path}{tail}", escape(&authority))
}

/// An authority without what is empty in it, its port without zeros in front; where the scheme is special, in small letters and
/// without its default port.
fn settled(authority: &str, special: Option<&str>) -> String {
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let user = user.strip_suffix(':').unwrap_or(user);
    let at = if user.is_empty() { "" } else { "@" };
    let (host, port) = match host.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => (host, port),
        _ => (host, ""),
    };
    let host = match special {
        Some(_) => host.to_ascii_lowercase(),
        None => host.to_owned(),
    };
    let zeros = port.len() - port.trim_start_matches('0').len();
    let port = port
        .get(zeros.min(port.len().saturating_sub(1))..)
        .unwrap_or_default();
    if port.is_empty() || special == Some(port) {
        format!("{user}{at}{host}")
    } else {
        format!("{user}{at}{host}:{port}")
    }
}

/// A path without `.` and `..`, however they are written.
fn without_dots(path: &str, escape: fn(&str) -> String) -> String {
    let mut kept: Vec<String> = Vec::new();
    let mut parts = path.split('/').peekable();
    while let Some(part) = parts.next() {
        let plain = decoded(part);
        if plain != "." && plain != ".." {
            kept.push(escape(part));
            continue;
        }
        if plain == ".." {
            kept.pop();
        }
        if parts.peek().is_none() {
            kept.push(String::new());
        }
    }
    kept.join("/")
}

/// What needs no escape decoded, what does encoded.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut bytes = text.as_bytes().iter();
    while let Some(&byte) = bytes.next() {
        let escaped = (byte == b'%').then(|| hex(bytes.as_slice())).flatten();
        match escaped {
            Some(byte) => {
                bytes.nth(1);
                let plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
                put(byte, plain, &mut out);
            }
            None => put(
                byte,
                byte.is_ascii_graphic() && !b"\"<>^`{}".contains(&byte),
                &mut out,
            ),
        }
    }
    out
}

fn put(byte: u8, plain: bool, out: &mut String) {
    if plain {
        out.push(char::from(byte));
    } else {
        out.extend([format!("%{byte:02X}")]);
    }
}

/// Every escape decoded, as long as text comes of it.
fn decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes().iter();
    while let Some(&byte) = bytes.next() {
        let escaped = (byte == b'%').then(|| hex(bytes.as_slice())).flatten();
        if escaped.is_some() {
            bytes.nth(1);
        }
        out.push(escaped.unwrap_or(byte));
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

/// The byte that the first two digits name.
fn hex(digits: &[u8]) -> Option<u8> {
    let digits = std::str::from_utf8(digits.get(..2)?).ok()?;
    u8::from_str_radix(digits, 16)
        .ok()
        .filter(|_| !digits.starts_with('+'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_as_a_parser_writes_it_has_no_other_spelling() {
        for uri in [
            "truenas://vms",
            "file:///etc/hosts",
            "https://nas.local/x?y=z#w",
            "note:Shopping",
            "memo://Insights/A.b",
            "no scheme".trim_end_matches(" scheme"),
        ] {
            assert!(spellings(uri).is_empty(), "{uri} {:?}", spellings(uri));
        }
    }

    #[test]
    fn every_spelling_of_a_resource_leads_to_it() {
        for (uri, resource) in [
            ("TRUENAS://vms", "truenas://vms"),
            ("truenas://vms/", "truenas://vms"),
            ("truenas://vms/..", "truenas://vms"),
            ("truenas://@vms", "truenas://vms"),
            ("truenas://:@vms", "truenas://vms"),
            ("truenas://vms:", "truenas://vms"),
            ("truenas://vms:080/x", "truenas://vms:80/x"),
            ("truenas:/x/../vms", "truenas:/vms"),
            ("https://nas.local/", "https://nas.local"),
            (" truenas://vms ", "truenas://vms"),
            ("truenas://%76ms", "truenas://vms"),
            ("truenas://nas/x/../vms", "truenas://nas/vms"),
            ("truenas://nas/x/%2E./vms", "truenas://nas/vms"),
            ("truenas://nas/./vms", "truenas://nas/vms"),
            ("truenas://vm/%37", "truenas://vm/7"),
            ("HTTPS://NAS.local:443", "https://nas.local/"),
            ("https:\\\\nas.local\\x", "https://nas.local/x"),
            ("file:///a/../etc/hosts", "file:///etc/hosts"),
            ("file:///My%20Docs/x", "file:///My Docs/x"),
            ("file:///My Docs/x", "file:///My%20Docs/x"),
            ("note:\u{fc}", "note:%C3%BC"),
            ("note:%C3%BC", "note:\u{fc}"),
            ("note:%c3%bc", "note:%C3%BC"),
            ("Note:x%2", "note:x%2"),
        ] {
            let found = spellings(uri);
            assert!(
                found.iter().any(|spelling| spelling == resource),
                "{uri}: {found:?}"
            );
        }
    }
}
