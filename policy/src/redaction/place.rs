//! JSON pointers whose segments may be `*`, and where a reader stands.

use std::borrow::Cow;

use crate::key::escape;

/// A pointer, compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place(Vec<Segment>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    /// `*`: every member and every element.
    Every,
    /// A member, or the element where it is an index.
    Name(String),
}

/// One step from the top to where a reader stands.
#[derive(Debug, Clone)]
pub(super) enum At<'t> {
    Key(Cow<'t, str>),
    Index(usize),
}

impl Place {
    /// Reads a pointer with at least one segment.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let segments = text.strip_prefix('/')?.split('/').map(|segment| {
            if segment == "*" {
                return Some(Segment::Every);
            }
            let name = segment.replace("~1", "/").replace("~0", "~");
            // What was escaped wrongly does not come back.
            (escape(&name) == segment).then_some(Segment::Name(name))
        });
        segments.collect::<Option<_>>().map(Self)
    }

    /// Whether its last segment is this name, or any.
    pub(super) fn ends_in(&self, last: &str) -> bool {
        match self.0.last() {
            Some(Segment::Name(name)) => name == last,
            Some(Segment::Every) | None => true,
        }
    }

    /// Whether it is where these steps lead.
    pub(super) fn is_at(&self, path: &[At<'_>]) -> bool {
        let leads = |(segment, at): (&Segment, &At<'_>)| match (segment, at) {
            (Segment::Every, _) => true,
            (Segment::Name(name), At::Key(key)) => name == key,
            (Segment::Name(name), At::Index(index)) => *name == index.to_string(),
        };
        self.0.len() == path.len() && self.0.iter().zip(path).all(leads)
    }
}

/// Where these steps lead, as a JSON pointer.
pub(super) fn pointer(path: &[At<'_>]) -> String {
    let mut pointer = String::new();
    for at in path {
        pointer.push('/');
        match at {
            At::Key(key) => pointer.push_str(&escape(key)),
            At::Index(index) => pointer.push_str(&index.to_string()),
        }
    }
    pointer
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_place_is_where_its_segments_lead() {
        let at = [At::Key("a/b".into()), At::Index(12), At::Key("~".into())];
        assert_eq!(pointer(&at), "/a~1b/12/~0");
        for (text, holds) in [
            ("/a~1b/12/~0", true),
            ("/a~1b/*/~0", true),
            ("/*/*/*", true),
            ("/a~1b/12", false),
            ("/a~1b/1/~0", false),
        ] {
            assert_eq!(Place::parse(text).unwrap().is_at(&at), holds, "{text}");
        }
        for no_place in ["", "a", "a/b", "/~", "/~2"] {
            assert_eq!(Place::parse(no_place), None, "{no_place}");
        }
    }
}
