//! The path of a request, as an escape hatch is given it, and the templates it is compared with.

use smallvec::SmallVec;

/// A path that URL parsing leaves as it is, cut into segments: query, empty segments and API prefix dropped.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RequestPath<'a>(SmallVec<[&'a str; 8]>);

/// The path would be another one after URL parsing: what was judged would not be what is requested.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UnsafePath;

impl<'a> RequestPath<'a> {
    /// Cuts `text`; `prefix` is dropped once where the path begins with it as it is written: a server that pastes its own in
    /// front of what does not begin so would make another path of `/api//v2.0/vm`.
    pub(super) fn parse(text: &'a str, prefix: &[String]) -> Result<Self, UnsafePath> {
        let (path, query) = text.split_once('?').unwrap_or((text, ""));
        if !path.starts_with('/') || path.bytes().any(|b| !is_kept(b)) || query.bytes().any(is_cut)
        {
            return Err(UnsafePath);
        }
        let path = behind(path, prefix).unwrap_or(path);
        let segments: SmallVec<[&str; 8]> = path.split('/').filter(|s| !s.is_empty()).collect();
        if segments
            .iter()
            .any(|segment| matches!(*segment, "." | ".."))
        {
            return Err(UnsafePath);
        }
        Ok(Self(segments))
    }
}

impl<'a> RequestPath<'a> {
    /// What is between the slashes.
    pub(super) fn segments(&self) -> &[&'a str] {
        &self.0
    }
}

/// What follows the prefix, if `path` begins with it.
fn behind<'a>(path: &'a str, prefix: &[String]) -> Option<&'a str> {
    let mut rest = path;
    for segment in prefix {
        rest = rest.strip_prefix('/')?.strip_prefix(segment.as_str())?;
    }
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

/// Bytes that a URL parser neither strips, nor encodes, nor takes for the end of the path.
fn is_kept(byte: u8) -> bool {
    byte.is_ascii_graphic()
        && !matches!(
            byte,
            b'"' | b'#' | b'%' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'}'
        )
}

/// Bytes that in a query too would be stripped or end it.
fn is_cut(byte: u8) -> bool {
    byte <= b' ' || byte == 0x7f || matches!(byte, b'#' | b'\\')
}

/// The segments of a path that is nothing but its segments, as a prefix in a configuration.
pub(super) fn prefix(text: &str) -> Vec<String> {
    text.split('/')
        .filter(|segment| !segment.is_empty())
        .map(str::to_owned)
        .collect()
}

/// A path with places for values: `/vm/id/{id:integer}/stop`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Fixed(String),
    Integer(String),
    Text(String),
}

impl Part {
    fn fixed(&self) -> Option<&str> {
        match self {
            Self::Fixed(text) => Some(text),
            Self::Integer(_) | Self::Text(_) => None,
        }
    }
}

/// What stood in a template's places.
pub(super) type Captures<'t, 'p> = SmallVec<[(&'t str, Captured<'p>); 2]>;

/// The value in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Captured<'p> {
    Integer(i64),
    Text(&'p str),
}

impl Template {
    /// Compiles a template; none where braces are not around a whole segment or a name stands twice.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let parts = text
            .strip_prefix('/')?
            .split('/')
            .map(part)
            .collect::<Option<Vec<_>>>()?;
        let template = Self(parts);
        let mut names: Vec<&str> = template.names().collect();
        names.sort_unstable();
        names
            .windows(2)
            .all(|pair| matches!(pair, [a, b] if a != b))
            .then_some(template)
    }

    /// The names of the places.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Fixed(_) => None,
            Part::Integer(name) | Part::Text(name) => Some(name.as_str()),
        })
    }

    /// How many segments are fixed: of two templates that match, the one with more is meant.
    pub(super) fn fixed(&self) -> usize {
        self.0
            .iter()
            .filter(|part| matches!(part, Part::Fixed(_)))
            .count()
    }

    /// How many segments there are, and the first and the last one where they are fixed.
    pub(super) fn shape(&self) -> (usize, Option<&str>, Option<&str>) {
        let [first, last] = [self.0.first(), self.0.last()].map(|part| part.and_then(Part::fixed));
        (self.0.len(), first, last)
    }

    /// The values in the places, if `path` has this form.
    pub(super) fn captures<'t, 'p>(&'t self, path: &RequestPath<'p>) -> Option<Captures<'t, 'p>> {
        if path.0.len() != self.0.len() {
            return None;
        }
        let mut captures = Captures::new();
        for (part, segment) in self.0.iter().zip(&path.0) {
            match part {
                Part::Fixed(fixed) if fixed == segment => {}
                Part::Fixed(_) => return None,
                Part::Integer(name) => captures.push((name, Captured::Integer(integer(segment)?))),
                Part::Text(name) => captures.push((name, Captured::Text(segment))),
            }
        }
        Some(captures)
    }
}

fn part(segment: &str) -> Option<Part> {
    let Some(place) = segment.strip_prefix('{') else {
        let fixed = !segment.is_empty() && segment.bytes().all(is_kept);
        return fixed.then(|| Part::Fixed(segment.to_owned()));
    };
    let name = place.strip_suffix('}')?;
    let named = |name: &str| {
        let plain =
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        plain.then(|| name.to_owned())
    };
    match name.split_once(':') {
        None => named(name).map(Part::Text),
        Some((name, "integer")) => named(name).map(Part::Integer),
        Some(_) => None,
    }
}

/// An integer in its only spelling: what reads `007` as 7 is not followed.
fn integer(segment: &str) -> Option<i64> {
    let integer: i64 = segment.parse().ok()?;
    (integer.to_string() == segment).then_some(integer)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn segments(text: &str) -> Option<Vec<&str>> {
        RequestPath::parse(text, &prefix("/api/v2.0"))
            .ok()
            .map(|path| path.0.to_vec())
    }

    #[test]
    fn prefix_query_and_needless_slashes_are_dropped() {
        for text in [
            "/vm/id/7",
            "/vm/id/7/",
            "//vm///id/7",
            "/vm/id/7?x=/stop&y=%20",
            "/api/v2.0/vm/id/7",
            "/api/v2.0//vm/id/7//?",
        ] {
            assert_eq!(segments(text).unwrap(), ["vm", "id", "7"], "{text}");
        }
        assert_eq!(
            segments("/api/v2.0/api/v2.0/vm").unwrap(),
            ["api", "v2.0", "vm"]
        );
        assert_eq!(segments("/").unwrap(), [""; 0]);
        assert_eq!(segments("/api/v2.0").unwrap(), [""; 0]);
        for text in ["/api//v2.0/vm", "//api/v2.0/vm", "/api/v2.0x/vm"] {
            assert_ne!(segments(text).unwrap(), ["vm"], "{text}");
        }
    }

    #[test]
    fn a_path_that_url_parsing_would_change_is_unsafe() {
        for text in [
            "",
            "vm/id/7",
            "https://nas/vm",
            "/vm/./id/7",
            "/vm/../id/7",
            "/vm/id/7#",
            "/vm/id/7%2fstop",
            "/vm/id/%37",
            "/vm\\id\\7",
            "/vm/\tid/7",
            "/vm/id/7\n",
            "/vm/id/7\r",
            "/vm/id/7 ",
            " /vm/id/7",
            "/vm/id/{7}",
            "/vm/id/7?x#y",
            "/vm/id/7?\t",
            "/vm/id/7?a\\b",
            "/vm/id/７",
            "/vm/id/\u{0}7",
            "/vm/id/7\u{7f}",
            "/vm/id/7|\"",
            "/vm/id/7^",
            "/vm/id/`7`",
            "/vm/id/<7>",
        ] {
            assert_eq!(segments(text), None, "{text:?}");
        }
    }

    fn captured<'a>(template: &'a Template, text: &'a str) -> Option<Vec<(&'a str, Captured<'a>)>> {
        let path = RequestPath::parse(text, &[]).unwrap();
        template.captures(&path).map(|captures| captures.to_vec())
    }

    #[test]
    fn a_template_takes_only_integers_in_their_only_spelling() {
        let template = Template::parse("/vm/id/{id:integer}/stop").unwrap();
        assert_eq!(
            captured(&template, "/vm/id/7/stop").unwrap(),
            [("id", Captured::Integer(7))]
        );
        for text in [
            "/vm/id/007/stop",
            "/vm/id/+7/stop",
            "/vm/id/-0/stop",
            "/vm/id/7.0/stop",
            "/vm/id/seven/stop",
            "/vm/id/99999999999999999999/stop",
            "/vm/id/7",
            "/vm/id/7/stop/now",
            "/VM/id/7/stop",
        ] {
            assert_eq!(captured(&template, text), None, "{text}");
        }
    }

    #[test]
    fn templates_that_mean_nothing_are_refused() {
        for text in [
            "",
            "vm",
            "/vm//id",
            "/vm/{}",
            "/vm/{id:number}",
            "/vm/x{id}",
            "/{id}/{id}",
            "/vm/a b",
            "/vm/{id",
        ] {
            assert_eq!(Template::parse(text), None, "{text}");
        }
    }
}
