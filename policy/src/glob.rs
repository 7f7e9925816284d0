//! Globs: `*` any run, `?` one character, `[a-z]`, `[!a]`, `{a,b}`, `\` escapes; case-sensitive (DESIGN 5.8).

use regex::{Regex, RegexBuilder};

/// Names that a glob reaches only if it begins with the same prefix.
const PREFIXES: [&str; 3] = ["resource:", "prompt:", "method:"];

/// A compiled glob over Unicode text. Matching takes linear time.
#[derive(Debug, Clone)]
pub struct Glob {
    source: Box<str>,
    matcher: Matcher,
}

impl PartialEq for Glob {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

#[derive(Debug, Clone)]
enum Matcher {
    Prefix(Box<str>),
    Regex(Regex),
}

impl Glob {
    /// Compiles `source`; the error is a text for the author.
    pub fn compile(source: &str) -> Result<Self, String> {
        let matcher = match source.strip_suffix('*') {
            Some(prefix) if !prefix.contains(['*', '?', '[', '{', '\\']) => {
                Matcher::Prefix(prefix.into())
            }
            Some(_) | None => {
                let pattern = translate(source)?;
                let regex = RegexBuilder::new(&pattern)
                    .dot_matches_new_line(true)
                    .build();
                Matcher::Regex(regex.map_err(|_| "the glob is too large".to_owned())?)
            }
        };
        Ok(Self {
            source: source.into(),
            matcher,
        })
    }

    /// The same as a regex in which `.` matches a line feed too.
    pub(crate) fn pattern(&self) -> Result<String, String> {
        translate(&self.source)
    }

    /// The glob as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether a name is a glob, and does not only stand for itself.
    pub fn is_glob(name: &str) -> bool {
        is_glob(name)
    }

    /// Whether the whole of `text` matches.
    pub fn matches(&self, text: &str) -> bool {
        match &self.matcher {
            Matcher::Prefix(prefix) => text.starts_with(&**prefix),
            Matcher::Regex(regex) => regex.is_match(text),
        }
    }

    /// Whether the glob, as a key of a policy, stands for the tool `name`: names of resources, prompts
    /// and methods are reached only by a glob with the same prefix.
    pub(crate) fn reaches(&self, name: &str) -> bool {
        let prefix = PREFIXES.iter().find(|prefix| name.starts_with(**prefix));
        prefix.is_none_or(|prefix| self.source.starts_with(prefix)) && self.matches(name)
    }
}

/// Whether a key of a policy is a glob.
pub(crate) fn is_glob(key: &str) -> bool {
    key.contains(['*', '?', '[', '{'])
}

/// The same as a regex, anchored at both ends.
fn translate(source: &str) -> Result<String, String> {
    let mut pattern = String::from("\\A(?:");
    let mut depth = 0_usize;
    let mut rest = source.chars();
    while let Some(c) = rest.next() {
        match c {
            '*' => pattern.push_str(".*"),
            '?' => pattern.push('.'),
            '[' => class(&mut rest, &mut pattern)?,
            '{' => {
                depth += 1;
                pattern.push_str("(?:");
            }
            '}' if depth > 0 => {
                depth -= 1;
                pattern.push(')');
            }
            ',' if depth > 0 => pattern.push('|'),
            '\\' => literal(
                rest.next()
                    .ok_or("a `\\` ends the glob: it escapes the character after it")?,
                &mut pattern,
            ),
            c => literal(c, &mut pattern),
        }
    }
    if depth > 0 {
        return Err("a `{` of the glob is not closed".to_owned());
    }
    pattern.push_str(")\\z");
    Ok(pattern)
}

fn class(rest: &mut std::str::Chars<'_>, pattern: &mut String) -> Result<(), String> {
    let open = || "a `[` of the glob is not closed".to_owned();
    pattern.push('[');
    if rest.as_str().starts_with('!') {
        rest.next();
        pattern.push('^');
    }
    let mut first = true;
    loop {
        let c = rest.next().ok_or_else(open)?;
        if c == ']' && !first {
            pattern.push(']');
            return Ok(());
        }
        first = false;
        let low = if c == '\\' {
            rest.next().ok_or_else(open)?
        } else {
            c
        };
        let mut ahead = rest.clone();
        let high = match (ahead.next(), ahead.next()) {
            (Some('-'), Some(next)) if next != ']' => {
                *rest = ahead;
                if next == '\\' {
                    rest.next().ok_or_else(open)?
                } else {
                    next
                }
            }
            _ => low,
        };
        if high < low {
            return Err(format!("the range `{low}-{high}` of the glob is empty"));
        }
        literal(low, pattern);
        pattern.push('-');
        literal(high, pattern);
    }
}

fn literal(c: char, pattern: &mut String) {
    if c.is_ascii_alphanumeric() || c == '_' {
        pattern.push(c);
    } else {
        pattern.extend(["\\x{", &format!("{:x}", u32::from(c)), "}"]);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn each_form_matches_what_it_should() {
        for (glob, yes, no) in [
            ("*", &["", "a", "a/b", "ä\n"][..], &[][..]),
            ("vm_*", &["vm_", "vm_stop"], &["vm", "xvm_stop", "VM_stop"]),
            ("*_stop", &["vm_stop", "_stop"], &["vm_stops"]),
            ("vm_?top", &["vm_stop", "vm_ätop"], &["vm_top", "vm_sstop"]),
            ("v[a-c]", &["va", "vc"], &["vd", "v-", "v"]),
            ("v[!a-c]", &["vd", "v!"], &["va"]),
            ("v[]x]", &["v]", "vx"], &["v"]),
            ("v[a-]", &["va", "v-"], &["vb"]),
            ("v[\\]^]", &["v]", "v^"], &["v\\"]),
            (
                "{vm,app}_stop",
                &["vm_stop", "app_stop"],
                &["{vm,app}_stop", "_stop"],
            ),
            ("a{,b{c,d}}", &["a", "abc", "abd"], &["ab"]),
            ("\\*x", &["*x"], &["ax"]),
            ("a.b+", &["a.b+"], &["axb+", "a.bb"]),
            ("a,b}", &["a,b}"], &["a"]),
            ("a/**/b", &["a//b", "a/x/y/b"], &["a/b"]),
            ("truenas://*", &["truenas://vms/1"], &["truenas:/"]),
        ] {
            let compiled = Glob::compile(glob).unwrap();
            for text in yes {
                assert!(compiled.matches(text), "{glob} should match {text}");
            }
            for text in no {
                assert!(!compiled.matches(text), "{glob} should not match {text}");
            }
        }
    }

    #[test]
    fn broken_globs_are_refused() {
        for glob in ["{a", "[a", "[", "[z-a]", "*\\", "[a\\"] {
            assert!(Glob::compile(glob).is_err(), "{glob}");
        }
    }

    #[test]
    fn prefixed_names_are_reached_by_their_prefix_only() {
        assert!(
            !Glob::compile("*")
                .unwrap()
                .reaches("resource:truenas://vms")
        );
        assert!(
            !Glob::compile("r*")
                .unwrap()
                .reaches("resource:truenas://vms")
        );
        assert!(
            Glob::compile("resource:*")
                .unwrap()
                .reaches("resource:truenas://vms")
        );
        assert!(!Glob::compile("resource:*").unwrap().reaches("resource"));
        assert!(Glob::compile("*").unwrap().reaches("vm_stop"));
    }
}
