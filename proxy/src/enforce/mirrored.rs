//! Headers in which a modern client says again what its message says: `Mcp-Name`, `Mcp-Param-*`.
//!
//! A server may go by such a header instead of the body, so one that says what the message does not is refused (DESIGN 5.6).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use weir_policy::{Number, Value};

const PARAMETER: &str = "mcp-param-";

/// Whether every `Mcp-Param-*` header stands alone and says what some argument says. Which argument it stands for only the
/// tool's definition tells, and a definition can be that of yesterday; that the value is among those that were judged holds
/// whatever it says.
pub(super) fn parameters_agree(headers: &HeaderMap, arguments: Option<&Value<'_>>) -> bool {
    let names = headers.keys();
    names
        .filter(|name| name.as_str().starts_with(PARAMETER))
        .all(|name| {
            let mut values = headers.get_all(name).iter();
            let (Some(value), None) = (values.next(), values.next()) else {
                return false;
            };
            let said = value.to_str().ok().and_then(decoded);
            said.is_some_and(|said| arguments.is_some_and(|arguments| holds(arguments, &said)))
        })
}

/// Whether a text, a number or a truth value in `value` is written like this.
fn holds(value: &Value<'_>, said: &str) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(truth) => said == if *truth { "true" } else { "false" },
        Value::Number(Number::Integer(integer)) => said == integer.to_string(),
        Value::Number(Number::Decimal(text)) => {
            said == text || (said.parse::<f64>().ok()).is_some_and(|f| text.parse() == Ok(f))
        }
        Value::String(text) => text == said,
        Value::Array(elements) => elements.iter().any(|element| holds(element, said)),
        Value::Object(object) => object.iter().any(|(_, member)| holds(member, said)),
    }
}

/// A header value that may be wrapped because it is not ASCII: `=?base64?…?=`.
pub(super) fn decoded(value: &str) -> Option<String> {
    match value
        .strip_prefix("=?base64?")
        .and_then(|rest| rest.strip_suffix("?="))
    {
        Some(wrapped) => String::from_utf8(STANDARD.decode(wrapped).ok()?).ok(),
        None => Some(value.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn agree(pairs: &[(&'static str, &str)], arguments: &str) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        parameters_agree(&headers, Some(&Value::parse(arguments).unwrap()))
    }

    #[test]
    fn a_parameter_said_again_must_be_one_that_was_judged() {
        let arguments =
            r#"{"region":"eu","n":7,"f":2.50,"b":true,"deep":{"name":"Zürich"},"none":null}"#;
        for said in ["eu", "7", "2.5", "2.50", "true", "=?base64?WsO8cmljaA==?="] {
            assert!(agree(&[("mcp-param-x", said)], arguments), "{said}");
        }
        for said in ["us", "7.0", "8", "false", "null", "", "EU", "=?base64?!?="] {
            assert!(!agree(&[("mcp-param-x", said)], arguments), "{said}");
        }
        assert!(!agree(
            &[("mcp-param-x", "eu"), ("mcp-param-x", "eu")],
            arguments
        ));
        assert!(agree(&[("mcp-method", "whatever")], arguments));
        let headers = HeaderMap::from_iter([(
            http::HeaderName::from_static("mcp-param-x"),
            http::HeaderValue::from_static("eu"),
        )]);
        assert!(!parameters_agree(&headers, None));
    }
}
