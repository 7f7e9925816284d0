//! Signed notes (c2sp.org/signed-note): a text, an empty line, and one line for each signature.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::key::{SigningKey, VerifyingKey};

/// Signature lines begin with an em dash and a space.
const DASH: &str = "\u{2014} ";

/// More is no note of ours.
const BYTES_MAX: usize = 1 << 20;
const SIGNATURES_MAX: usize = 100;

/// A text and its signatures, none of them checked yet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Note {
    /// The text that is signed; ends with a newline.
    text: String,
    signatures: Vec<(String, Vec<u8>)>,
}

/// A note is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// It does not have the form of a note.
    #[error("it is no signed note: {0}")]
    Malformed(&'static str),
    /// It carries the name and id of a known key, but that key did not sign it.
    #[error("the signature of `{0}` is false")]
    Forged(String),
}

impl Note {
    /// Signs a text, which ends with a newline, with each of these keys.
    pub fn sign(text: String, keys: &[&SigningKey]) -> Self {
        let signature = |key: &&SigningKey| {
            let mut bytes = key.public().id().to_vec();
            bytes.extend(key.sign(text.as_bytes()));
            (key.public().name().to_owned(), bytes)
        };
        let signatures = keys.iter().map(signature).collect();
        Self { text, signatures }
    }

    /// Reads a note.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        let wrong = NoteError::Malformed;
        if bytes.len() > BYTES_MAX {
            return Err(wrong("it is too long"));
        }
        let note = std::str::from_utf8(bytes).map_err(|_| wrong("it is not UTF-8"))?;
        if note.chars().any(|c| c < ' ' && c != '\n') {
            return Err(wrong("it has control characters"));
        }
        let end = note.rfind("\n\n").ok_or(wrong("it has no empty line"))?;
        let (text, lines) = note.split_at(end + 1);
        let lines = lines.strip_prefix('\n').unwrap_or(lines);
        let lines = lines
            .strip_suffix('\n')
            .ok_or(wrong("its last line does not end"))?;
        let mut signatures = Vec::new();
        for line in lines.split('\n') {
            let signature = line
                .strip_prefix(DASH)
                .and_then(|rest| rest.split_once(' '));
            let (name, base64) = signature.ok_or(wrong("a line is no signature"))?;
            let bytes = STANDARD
                .decode(base64)
                .map_err(|_| wrong("a signature is no base64"))?;
            if name.is_empty() || name.contains(['+', ' ']) || bytes.len() < 5 {
                return Err(wrong("a line is no signature"));
            }
            signatures.push((name.to_owned(), bytes));
        }
        if signatures.len() > SIGNATURES_MAX {
            return Err(wrong("it has too many signatures"));
        }
        let text = text.to_owned();
        Ok(Self { text, signatures })
    }

    /// What is signed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Which of these keys signed it. Signatures of other keys are left alone; a false one of a known key is an error.
    pub fn signed_by<'k>(
        &self,
        keys: &'k [VerifyingKey],
    ) -> Result<Vec<&'k VerifyingKey>, NoteError> {
        let mut signers = Vec::new();
        for (name, bytes) in &self.signatures {
            let Some((id, signature)) = bytes.split_first_chunk::<4>() else {
                continue;
            };
            let known = |key: &&VerifyingKey| key.name() == name && key.id() == *id;
            let Some(key) = keys.iter().find(known) else {
                continue;
            };
            let holds = <&[u8; 64]>::try_from(signature)
                .is_ok_and(|s| key.verifies(self.text.as_bytes(), s));
            if !holds {
                return Err(NoteError::Forged(name.clone()));
            }
            if !signers.contains(&key) {
                signers.push(key);
            }
        }
        Ok(signers)
    }
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}", self.text)?;
        for (name, signature) in &self.signatures {
            writeln!(f, "{DASH}{name} {}", STANDARD.encode(signature))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::super::key::tests::{GO_PRIVATE, GO_PUBLIC};
    use super::*;

    /// The example of the documentation of `golang.org/x/mod/sumdb/note`.
    const GO_TEXT: &str = "If you think cryptography is the answer to your problem,\n\
                           then you don't know what your problem is.\n";
    const GO_SIGNATURE: &str = "\u{2014} PeterNeumann \
        x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    /// The example of c2sp.org/signed-note.
    const SPEC_KEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    const SPEC_NOTE: &str = "This is an example message.\n\n\u{2014} example.com/foo \
        Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

    #[test]
    fn a_note_has_the_bytes_that_go_writes() {
        let key = SigningKey::parse(GO_PRIVATE).unwrap();
        let note = Note::sign(GO_TEXT.into(), &[&key]);
        assert_eq!(note.to_string(), format!("{GO_TEXT}\n{GO_SIGNATURE}"));
        assert_eq!(Note::parse(note.to_string().as_bytes()), Ok(note));
    }

    #[test]
    fn the_example_of_the_specification_holds() {
        let keys = [VerifyingKey::parse(SPEC_KEY).unwrap()];
        let note = Note::parse(SPEC_NOTE.as_bytes()).unwrap();
        assert_eq!(note.text(), "This is an example message.\n");
        assert_eq!(note.signed_by(&keys).unwrap(), [&keys[0]]);
    }

    #[test]
    fn a_byte_changed_anywhere_leaves_no_signed_note() {
        let keys = [VerifyingKey::parse(GO_PUBLIC).unwrap()];
        let good = format!("{GO_TEXT}\n{GO_SIGNATURE}").into_bytes();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            let signed = Note::parse(&bad).and_then(|note| Ok(note.signed_by(&keys)?.len()));
            assert_ne!(signed, Ok(1), "byte {at}");
        }
    }

    #[test]
    fn other_keys_signatures_are_left_alone() {
        let other = SigningKey::from_seed("other", [7; 32]).unwrap();
        let key = SigningKey::parse(GO_PRIVATE).unwrap();
        let note = Note::sign("x\n".into(), &[&other, &key]);
        assert_eq!(
            note.signed_by(&[key.public().clone()]).unwrap(),
            [key.public()]
        );
        assert_eq!(note.signed_by(&[]).unwrap(), [] as [&VerifyingKey; 0]);
    }
}
