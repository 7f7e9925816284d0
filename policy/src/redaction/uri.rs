//! Secrets in a URI: the password of its user, and values of keys in its query and fragment.

use super::{KeyedDigest, replaced_text};

/// What separates the parts behind the path.
const MARKS: [char; 4] = ['?', '#', '&', ';'];

/// The URI with its secrets replaced; none if it has none.
pub(super) fn redact(
    uri: &str,
    is_secret: impl Fn(&str) -> bool,
    digest: &KeyedDigest<'_>,
) -> Option<String> {
    let mark = |text: &str| replaced_text(text, digest);
    let at = uri.find(['?', '#']).unwrap_or(uri.len());
    let (head, tail) = uri.split_at(at);
    let mut out = String::with_capacity(uri.len());
    let mut changed = false;
    match user_password(head) {
        Some((before, password, after)) => {
            changed = true;
            out.extend([before, &mark(password), after]);
        }
        None => out.push_str(head),
    }
    for part in tail.split_inclusive(MARKS) {
        let pair = part.strip_suffix(MARKS).unwrap_or(part);
        let end = part.get(pair.len()..).unwrap_or_default();
        match pair.split_once('=') {
            Some((key, value)) if !value.is_empty() && is_secret(&percent_decoded(key)) => {
                changed = true;
                out.extend([key, "=", &mark(value)]);
            }
            Some(_) | None => out.push_str(pair),
        }
        out.push_str(end);
    }
    changed.then_some(out)
}

/// `user:password@` of an authority, if there is one: what stands before, between and after.
fn user_password(uri: &str) -> Option<(&str, &str, &str)> {
    let (scheme, rest) = uri.split_once("://")?;
    let authority = rest.split('/').next()?;
    let (user, _) = authority.rsplit_once('@')?;
    let (name, password) = user.split_once(':')?;
    let start = scheme.len() + "://".len() + name.len() + ":".len();
    let end = start + password.len();
    Some((uri.get(..start)?, password, uri.get(end..)?))
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let mut escaped = [0];
        rest = match after.split_at_checked(2) {
            Some((digits, after))
                if *first == b'%' && hex::decode_to_slice(digits, &mut escaped).is_ok() =>
            {
                bytes.extend(escaped);
                after
            }
            _ => {
                bytes.push(*first);
                after
            }
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::redact;

    #[test]
    fn only_passwords_and_secret_values_are_replaced() {
        let mark = format!("weir:redacted:{}", "00".repeat(16));
        for (uri, expected) in [
            ("https://nas/a?id=7", None),
            ("https://ops@nas/a", None),
            ("https://ops:s3cret@nas/a", Some("https://ops:{}@nas/a")),
            ("https://ops:a:b@c@nas:443", Some("https://ops:{}@nas:443")),
            (
                "x://h/?a=1&token=s3cret;b#Token=t",
                Some("x://h/?a=1&token={};b#Token={}"),
            ),
            ("x://h/?%74oken=s3cret", Some("x://h/?%74oken={}")),
            ("x://h/p?token=", None),
            ("mailto:a:b@c", None),
        ] {
            let redacted = redact(uri, |key| key.eq_ignore_ascii_case("token"), &|_| [0; 16]);
            assert_eq!(
                redacted,
                expected.map(|text| text.replace("{}", &mark)),
                "{uri}"
            );
        }
    }
}
