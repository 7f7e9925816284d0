//! Results that are too long for their rows: kept in a file each, which the row names by the digest of its bytes.
//!
//! The name stands in the column `result`, and so under the leaf of the call's end: whoever verifies the record knows whether
//! the file is what was kept.

const BEFORE: &str = r#"{"weir/spilled":"sha256:"#;

/// What stands in the column `result` for a result kept in a file; `key` is the id of the record key, if the file is encrypted.
pub(crate) fn name(digest: &str, bytes: usize, key: Option<&str>) -> String {
    let key = key.map_or_else(String::new, |id| format!(r#","key":"{id}""#));
    format!(r#"{{"weir/spilled":"{digest}","bytes":{bytes}{key}}}"#)
}

/// Whether the file that a column `result` names is encrypted.
pub(crate) fn is_encrypted(result: &str) -> bool {
    let named: Option<serde_json::Value> = serde_json::from_str(result).ok();
    named.is_some_and(|named| named.get("key").is_some())
}

/// Whether this text would be taken for the name of a file; a result that looks so must be kept in one itself.
pub fn names_spilled(result: &str) -> bool {
    result.starts_with(BEFORE)
}

/// The digest of the file that a column `result` names, if it names one.
pub fn spilled(result: &str) -> Option<&str> {
    let from = BEFORE.len() - "sha256:".len();
    result
        .strip_prefix(BEFORE)
        .and_then(|rest| rest.find('"'))
        .and_then(|end| result.get(from..BEFORE.len() + end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_back_as_the_digest_in_it() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        let encrypted = name(&digest, 7, Some("k1"));
        assert_eq!(spilled(&encrypted), Some(digest.as_str()));
        assert!(is_encrypted(&encrypted));
        let name = name(&digest, 7, None);
        assert!(!is_encrypted(&name));
        assert_eq!(name, format!(r#"{{"weir/spilled":"{digest}","bytes":7}}"#));
        assert!(names_spilled(&name));
        assert_eq!(spilled(&name), Some(digest.as_str()));
        assert_eq!(spilled(r#"{"content":[]}"#), None);
    }
}
