//! Names of keys, as far as they tell a secret.

/// A name without case and punctuation, open at either end or at none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyName {
    plain: String,
    open_before: bool,
    open_after: bool,
}

impl KeyName {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (open_before, rest) = match text.strip_prefix('*') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (open_after, rest) = match rest.strip_suffix('*') {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let plain = plain(rest);
        (!plain.is_empty() && !plain.contains('*')).then_some(Self {
            plain,
            open_before,
            open_after,
        })
    }

    /// Whether it is the name of a key, given without case and punctuation.
    pub(super) fn matches(&self, key: &str) -> bool {
        match (self.open_before, self.open_after) {
            (false, false) => key == self.plain,
            (true, false) => key.ends_with(&self.plain),
            (false, true) => key.starts_with(&self.plain),
            (true, true) => key.contains(&self.plain),
        }
    }

    /// Whether it stands anywhere in a text without case and punctuation.
    pub(super) fn is_in(&self, text: &str) -> bool {
        text.contains(&self.plain)
    }
}

/// A name without case and without what writers put between its words.
pub(super) fn plain(key: &str) -> String {
    let mut plain = String::with_capacity(key.len());
    for c in key.chars() {
        match c {
            '_' | '-' | '.' | ' ' => {}
            c if c.is_ascii() => plain.push(c.to_ascii_lowercase()),
            c => plain.extend(c.to_lowercase()),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn case_and_punctuation_do_not_count_and_a_star_stands_for_anything() {
        for (name, key, holds) in [
            ("password", "PassWord", true),
            ("password", "old_password", false),
            ("*password", "old_password", true),
            ("*password", "ssh_password_enabled", false),
            ("*_token", "accessToken", true),
            ("*_token", "max_tokens", false),
            ("api-key", "API_Key", true),
            ("x*", "X-Secret", true),
            ("*secret*", "a_secretary", true),
        ] {
            assert_eq!(
                KeyName::parse(name).unwrap().matches(&plain(key)),
                holds,
                "{name} {key}"
            );
        }
        for nothing in ["", "*", "**", "__", "a*b"] {
            assert_eq!(KeyName::parse(nothing), None, "{nothing}");
        }
    }
}
