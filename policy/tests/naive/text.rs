//! Globs and networks, the slow way.

use std::net::IpAddr;

pub(crate) fn is_glob(key: &str) -> bool {
    key.chars().any(|c| "*?[{".contains(c))
}

/// Whether a key stands for a name: prefixed names only by a key with the same prefix.
pub(crate) fn reaches(key: &str, name: &str) -> bool {
    let prefixes = ["resource:", "prompt:", "method:"];
    prefixes
        .iter()
        .all(|p| !name.starts_with(p) || key.starts_with(p))
        && glob(key, name)
}

/// Tries everything. Braces are spelled out first.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    if let Some((before, rest)) = pattern.split_once('{') {
        let (choices, after) = rest.split_once('}').unwrap();
        return choices
            .split(',')
            .any(|choice| glob(&format!("{before}{choice}{after}"), text));
    }
    let Some(first) = pattern.chars().next() else {
        return text.is_empty();
    };
    let rest = &pattern[first.len_utf8()..];
    let mut tail = text.chars();
    let head = tail.next();
    match first {
        '*' => glob(rest, text) || (head.is_some() && glob(pattern, tail.as_str())),
        '?' => head.is_some() && glob(rest, tail.as_str()),
        '[' => {
            let (class, after) = rest.split_once(']').unwrap();
            let (negated, class) = class
                .strip_prefix('!')
                .map_or((false, class), |class| (true, class));
            let class: Vec<char> = class.chars().collect();
            let is_in = |c: char| match class[..] {
                [low, '-', high] => (low..=high).contains(&c),
                _ => class.contains(&c),
            };
            head.is_some_and(|c| is_in(c) != negated) && glob(after, tail.as_str())
        }
        '\\' => {
            let escaped = rest.chars().next().unwrap();
            head == Some(escaped) && glob(&rest[escaped.len_utf8()..], tail.as_str())
        }
        c => head == Some(c) && glob(rest, tail.as_str()),
    }
}

/// Whether an address lies in `network`, bit by bit; IPv4 inside IPv6 is IPv4.
pub(crate) fn inside(network: &str, address: IpAddr) -> bool {
    let (base, length) = network.split_once('/').unwrap();
    let bits = |address: IpAddr| match address.to_canonical() {
        IpAddr::V4(v4) => (32, u128::from(u32::from(v4)) << 96),
        IpAddr::V6(v6) => (128, u128::from(v6)),
    };
    let ((family, bits_of_base), (other, address)) = (bits(base.parse().unwrap()), bits(address));
    let mapped = if base.contains(':') && family == 32 {
        96
    } else {
        0
    };
    let length = length.parse::<u32>().unwrap() - mapped;
    family == other && (length == 0 || (bits_of_base ^ address) >> (128 - length) == 0)
}

pub(crate) fn escape(segment: &str) -> String {
    segment.replace('~', "~0").replace('/', "~1")
}

/// A second rule with the same id gets `#2`.
pub(crate) fn unique(ids: &mut Vec<String>, id: String) -> String {
    let id = (1..)
        .map(|n| {
            if n == 1 {
                id.clone()
            } else {
                format!("{id}#{n}")
            }
        })
        .find(|id| !ids.contains(id))
        .unwrap();
    ids.push(id.clone());
    id
}
