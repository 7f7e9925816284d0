//! Hostile messages, one file each, with a line on what it attacks.
//!
//! A file is a head of `key: value` lines, an empty line, and the message: every byte up to the last
//! line feed. The head says what it `attacks`, how it `expects` to be refused, and its harmless `twin`. With `bytes: escaped`, `\xNN` in the message stands for that byte.

/// One message that must never be let through, whatever the policy allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hostile {
    /// The file's name without its ending: `042-second-params`.
    pub name: &'static str,
    /// What it attacks.
    pub attacks: &'static str,
    /// How it is refused by a server with the `truenas` profile under a policy that allows everything:
    /// a JSON-RPC code and a flaw (`-32600 duplicate_key`), or a rule (`(arguments)`).
    pub expects: &'static str,
    /// Its harmless twin: what an honest client would send that looks most like it. It must pass.
    pub twin: &'static str,
    /// The bytes of the message.
    pub body: Vec<u8>,
}

/// Every hostile message of the corpus.
pub fn hostile() -> impl Iterator<Item = Hostile> {
    FILES.iter().map(|(name, text)| Hostile::read(name, text))
}

impl Hostile {
    fn read(name: &'static str, text: &'static str) -> Self {
        let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
        let field = |key: &str| {
            let value = |line: &'static str| line.strip_prefix(key)?.strip_prefix(": ");
            head.lines().find_map(value).unwrap_or_default()
        };
        let body = body.strip_suffix('\n').unwrap_or(body);
        let body = if field("bytes") == "escaped" {
            unescape(body)
        } else {
            body.as_bytes().to_vec()
        };
        Self {
            name,
            attacks: field("attacks"),
            expects: field("expects"),
            twin: field("twin"),
            body,
        }
    }
}

/// `text` with each `\xNN` replaced by the byte it names.
fn unescape(text: &str) -> Vec<u8> {
    let mut parts = text.split("\\x");
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let byte = part
            .get(..2)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let rest = if let Some(byte) = byte {
            bytes.push(byte);
            part.get(2..).unwrap_or_default()
        } else {
            bytes.extend_from_slice(b"\\x");
            part
        };
        bytes.extend_from_slice(rest.as_bytes());
    }
    bytes
}

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../hostile/", $name, ".txt")))),*]
    };
}

const FILES: &[(&str, &str)] = files![
    "001-latin-1",
    "002-overlong-utf-8",
    "003-utf-8-surrogate",
    "004-byte-order-mark",
    "005-utf-16",
    "006-utf-16-without-mark",
    "007-empty",
    "008-not-json",
    "009-cut-off",
    "010-two-messages",
    "011-two-lines",
    "012-trailing-garbage",
    "013-trailing-nul",
    "014-nan",
    "015-infinity",
    "016-overflow",
    "017-overflow-by-length",
    "018-leading-zero",
    "019-hex-number",
    "020-plus-sign",
    "021-bare-point",
    "022-comment",
    "023-trailing-comma",
    "024-single-quotes",
    "025-control-character",
    "026-lone-high-surrogate",
    "027-lone-low-surrogate",
    "028-surrogate-in-key",
    "029-unknown-escape",
    "030-short-escape",
    "031-deep-arrays",
    "032-deep-objects",
    "033-deep-unclosed",
    "034-batch",
    "035-batch-of-one",
    "036-empty-batch",
    "037-a-string",
    "038-null",
    "039-empty-object",
    "040-second-method",
    "041-second-method-escaped",
    "042-second-params",
    "043-second-id",
    "044-second-unknown",
    "045-method-in-capitals",
    "046-params-in-capitals",
    "047-long-s",
    "048-missing-version",
    "049-version-1",
    "050-version-as-number",
    "051-request-with-result",
    "052-request-with-error",
    "053-request-with-null-result",
    "054-method-as-list",
    "055-no-method",
    "056-call-without-id",
    "057-read-without-id",
    "058-null-id",
    "059-fractional-id",
    "060-integer-id-with-exponent",
    "061-boolean-id",
    "062-object-id",
    "063-params-as-list",
    "064-params-null",
    "065-name-twice",
    "066-name-twice-escaped",
    "067-name-in-capitals",
    "068-arguments-in-capitals",
    "069-meta-in-capitals",
    "070-argument-twice",
    "071-argument-twice-escaped",
    "072-argument-twice-deep",
    "073-argument-twice-in-a-crowd",
    "074-meta-twice",
    "075-arguments-as-list",
    "076-arguments-as-string",
    "077-arguments-as-number",
    "078-name-missing",
    "079-name-as-list",
    "080-name-empty",
    "081-name-with-nul",
    "082-name-with-line-feed",
    "083-name-as-resource",
    "084-name-as-prompt",
    "085-name-as-method",
    "086-uri-missing",
    "087-uri-as-object",
    "088-prompt-arguments-as-list",
    "089-operation-null",
    "090-operation-empty",
    "091-operation-with-nul",
    "092-operation-as-resource",
    "093-operation-as-list",
    "094-operation-arguments-as-list",
    "095-operation-arguments-as-string",
    "096-action-in-capitals",
    "097-dispatcher-unknown-argument",
    "098-operation-unknown",
    "099-operation-in-capitals",
    "100-operation-is-the-dispatcher",
    "101-path-slash-fragment",
    "102-path-slash-fragment-flat",
    "103-path-query",
    "104-path-dot-segments",
    "105-path-dot-dot-app",
    "106-path-escaped-slash",
    "107-dataset-climbs",
    "108-dataset-query",
    "109-interface-backslash",
    "110-id-tab",
    "111-id-fraction",
    "112-id-beyond-doubles",
    "113-id-almost-seven",
    "114-id-as-string",
    "115-id-as-list",
    "116-id-null",
    "117-confirm-yes",
    "118-force-one",
    "119-unknown-parameter",
    "120-unknown-nested",
    "121-enum",
    "122-hatch-fragment",
    "123-hatch-fragment-flat",
    "124-hatch-dot-segments",
    "125-hatch-percent-dots",
    "126-hatch-percent-letter",
    "127-hatch-backslash",
    "128-hatch-tab",
    "129-hatch-line-feed",
    "130-hatch-carriage-return",
    "131-hatch-space",
    "132-hatch-absolute",
    "133-hatch-relative",
    "134-hatch-full-width",
    "135-hatch-octal",
    "136-hatch-other-case",
    "137-hatch-lower-method",
    "138-hatch-other-method",
    "139-hatch-unknown-path",
    "140-hatch-unknown-path-flat",
    "141-hatch-version-prefix",
    "142-hatch-prefix-twice",
    "143-hatch-body-duplicate",
    "144-hatch-body-not-json",
    "145-hatch-body-nan",
    "146-hatch-body-list",
    "147-hatch-body-object",
    "148-hatch-body-second-id",
    "149-hatch-body-unknown",
    "150-hatch-body-mistyped",
    "151-hatch-body-bare-object",
    "152-hatch-body-lifted-twice",
    "153-hatch-body-deep",
    "154-prototype-in-arguments",
    "155-prototype-escaped",
    "156-prototype-in-parameters",
    "157-prototype-in-envelope",
    "158-prototype-deep",
    "159-hatch-body-prototype",
    "160-capital-true",
    "161-undefined",
    "162-next-line-as-space",
    "163-no-break-space",
    "164-line-separator",
    "165-form-feed",
    "166-record-separator",
    "167-concatenated-keys",
    "168-version-twice",
    "169-arguments-twice",
    "170-id-in-capitals",
    "171-negative-zero-id",
    "172-name-with-delete",
    "173-uri-with-line-feed",
    "174-hatch-double-encoded",
    "175-hatch-semicolon",
    "176-hatch-null-byte",
    "177-hatch-protocol-relative",
    "178-hatch-userinfo",
    "179-hatch-method-override",
    "180-operation-twice",
    "181-operation-with-space",
    "182-integer-written-large",
    "183-negative-zero",
    "184-prototype-in-meta",
    "185-hatch-prefix-with-slashes",
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_hostile_file_is_embedded_and_says_what_it_attacks() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/hostile");
        let files: BTreeSet<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let embedded: BTreeSet<String> = hostile().map(|h| format!("{}.txt", h.name)).collect();
        assert_eq!(files, embedded);
        for message in hostile() {
            assert!(!message.attacks.is_empty(), "{}", message.name);
            assert!(!message.expects.is_empty(), "{}", message.name);
            assert!(!message.twin.is_empty(), "{}", message.name);
        }
    }

    #[test]
    fn no_two_hostile_messages_are_the_same() {
        let bodies: BTreeSet<Vec<u8>> = hostile().map(|message| message.body).collect();
        assert_eq!(bodies.len(), hostile().count());
    }

    #[test]
    fn escaped_bytes_are_those_bytes() {
        assert_eq!(unescape(r"a\xff\x00b"), b"a\xff\x00b");
        assert_eq!(unescape(r"\xzz"), br"\xzz");
    }
}
