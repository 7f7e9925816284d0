//! JSON pointers (RFC 6901), compiled.

use crate::Value;

/// A place inside a JSON value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pointer(Vec<String>);

impl Pointer {
    /// Compiles a pointer: empty, or segments that each begin with `/`; `~1` is `/`, `~0` is `~`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self(Vec::new()));
        }
        let segments = text.strip_prefix('/')?.split('/').map(unescape);
        segments.collect::<Option<Vec<_>>>().map(Self)
    }

    /// The value there, if there is one.
    pub(super) fn find<'v>(&self, value: &'v Value<'v>) -> Option<&'v Value<'v>> {
        self.0.iter().try_fold(value, |value, segment| match value {
            Value::Object(object) => object.get(segment),
            Value::Array(elements) => elements.get(segment.parse::<usize>().ok()?),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        })
    }

    /// The member's name, where the pointer names a member of the top object.
    pub(super) fn member(&self) -> Option<&str> {
        match self.0.as_slice() {
            [name] => Some(name),
            _ => None,
        }
    }

    /// Whether the pointer names the whole value.
    pub(super) fn is_root(&self) -> bool {
        self.0.is_empty()
    }
}

fn unescape(segment: &str) -> Option<String> {
    let mut rest = segment.split('~');
    let mut name = rest.next()?.to_owned();
    for part in rest {
        let (escaped, part) = match (part.strip_prefix('0'), part.strip_prefix('1')) {
            (Some(part), _) => ('~', part),
            (_, Some(part)) => ('/', part),
            _ => return None,
        };
        name.push(escaped);
        name.push_str(part);
    }
    Some(name)
}
