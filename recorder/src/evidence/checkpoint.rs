//! What a note of a log says (c2sp.org/tlog-checkpoint), and the extension lines that Weir adds.
//!
//! ```text
//! weir/nas-1                                                         the log: `weir/` and the node
//! 1204                                                               how many entries it has
//! kn6b…=                                                             root of the tree over them
//! time 2026-11-22T12:00:00.000000Z                                   of the last entry
//! range cn2a…=                                                       roots of the largest whole subtrees, left to right, 32 bytes each
//! policy sha256:54c0…                                                judged calls since the checkpoint before; any number of lines
//! segment sha256:89ae… calls/date=2026-11-22/nas-1-…parquet          sealed with this checkpoint; any number of lines
//! key weir/nas-1+6f2a01bc+AcZ…                                       signs from now on
//! ```
//!
//! The root follows from `range`; a checkpoint where it does not is none. So the log can go on from its last checkpoint without
//! its rows.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use super::key::VerifyingKey;
use super::merkle::{CompactRange, Hash};

/// A sealed file as its checkpoint names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SealedFile {
    /// SHA-256 of its bytes.
    pub(crate) digest: Hash,
    /// Its path in the record's folder.
    pub(crate) path: String,
}

/// A statement of what a log held at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub(crate) origin: String,
    pub(crate) tree: CompactRange,
    /// Time of the last entry, in microseconds since the epoch.
    pub(crate) at: Option<i64>,
    pub(crate) policies: Vec<String>,
    pub(crate) segments: Vec<SealedFile>,
    pub(crate) next_key: Option<VerifyingKey>,
}

impl Checkpoint {
    /// How many entries it speaks of.
    pub(crate) fn size(&self) -> u64 {
        self.tree.size()
    }

    /// The digests of the policies that it names.
    pub(crate) fn named(&self) -> &[String] {
        &self.policies
    }

    /// The text to sign.
    pub(crate) fn to_text(&self) -> String {
        let (size, root) = (self.tree.size(), STANDARD.encode(self.tree.root()));
        let mut lines = vec![self.origin.clone(), size.to_string(), root];
        lines.extend(self.at.and_then(time).map(|time| format!("time {time}")));
        if size > 0 {
            let peaks = self.tree.peaks().concat();
            lines.push(format!("range {}", STANDARD.encode(peaks)));
        }
        lines.extend(
            self.policies
                .iter()
                .map(|digest| format!("policy {digest}")),
        );
        lines.extend(self.segments.iter().map(|file| {
            let digest = hex::encode(file.digest);
            format!("segment sha256:{digest} {}", file.path)
        }));
        lines.extend(self.next_key.iter().map(|key| format!("key {key}")));
        lines.join("\n") + "\n"
    }

    /// Reads the text of a note. Extension lines that it does not know are none of its business.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let body = text
            .strip_suffix('\n')
            .ok_or("its last line does not end")?;
        let mut lines = body.split('\n');
        let origin = lines.next().filter(|line| !line.is_empty());
        let origin = origin.ok_or("it names no log")?.to_owned();
        let size = lines.next().and_then(number).ok_or("it has no size")?;
        let root: Hash = lines.next().and_then(hash).ok_or("it has no root")?;
        let (mut at, mut peaks, mut next_key) = (None, Vec::new(), None);
        let (mut policies, mut segments) = (Vec::new(), Vec::new());
        for line in lines {
            match line.split_once(' ') {
                Some(("time", time)) => {
                    let time: Timestamp = time.parse().map_err(|_| "its time is no time")?;
                    at = Some(time.as_microsecond());
                }
                Some(("range", range)) => {
                    let bytes = STANDARD
                        .decode(range)
                        .map_err(|_| "its range is no base64")?;
                    let (whole, rest) = bytes.as_chunks::<32>();
                    if !rest.is_empty() {
                        return Err("its range is no list of hashes");
                    }
                    peaks = whole.to_vec();
                }
                Some(("policy", digest)) => policies.push(digest.to_owned()),
                Some(("segment", file)) => {
                    segments.push(sealed_file(file).ok_or("it names a segment without a digest")?);
                }
                Some(("key", key)) => {
                    let key = VerifyingKey::parse(key).map_err(|_| "the key it names is no key")?;
                    next_key = Some(key);
                }
                _ if line.is_empty() => return Err("it has an empty line"),
                _ => {}
            }
        }
        let tree = CompactRange::from_peaks(size, peaks).filter(|tree| tree.root() == root);
        Ok(Self {
            origin,
            tree: tree.ok_or("its root does not follow from its range")?,
            at,
            policies,
            segments,
            next_key,
        })
    }
}

/// A time as people read it.
pub(crate) fn time(micros: i64) -> Option<String> {
    let time = Timestamp::from_microsecond(micros).ok()?;
    Some(time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string())
}

/// A decimal number without leading zeros.
fn number(line: &str) -> Option<u64> {
    let number: u64 = line.parse().ok()?;
    (number.to_string() == line).then_some(number)
}

fn hash(base64: &str) -> Option<Hash> {
    STANDARD.decode(base64).ok()?.try_into().ok()
}

fn sealed_file(text: &str) -> Option<SealedFile> {
    let (digest, path) = text.strip_prefix("sha256:")?.split_once(' ')?;
    let mut bytes = [0; 32];
    hex::decode_to_slice(digest, &mut bytes).ok()?;
    Some(SealedFile {
        digest: bytes,
        path: path.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::super::merkle::leaf_hash;
    use super::*;

    fn checkpoint(leaves: u8) -> Checkpoint {
        let mut tree = CompactRange::default();
        (0..leaves).for_each(|leaf| tree.push(leaf_hash(&[leaf])));
        Checkpoint {
            origin: "weir/n1".into(),
            tree,
            at: Some(1_795_348_800_000_001),
            policies: vec!["sha256:00".into()],
            segments: vec![SealedFile {
                digest: [9; 32],
                path: "calls/date=2026-11-22/n1-0-3.parquet".into(),
            }],
            next_key: Some(VerifyingKey::parse(super::super::key::tests::GO_PUBLIC).unwrap()),
        }
    }

    #[test]
    fn a_checkpoint_is_read_back_as_written() {
        for leaves in 0..20 {
            let written = checkpoint(leaves);
            assert_eq!(Checkpoint::parse(&written.to_text()), Ok(written));
        }
    }

    /// The body of the example of c2sp.org/tlog-checkpoint has no range, so no log of ours can go on from it.
    #[test]
    fn a_checkpoint_whose_root_does_not_follow_from_its_range_is_none() {
        let text =
            "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
        assert!(Checkpoint::parse(text).is_err());
        let (three, four) = (checkpoint(3).to_text(), checkpoint(4).to_text());
        assert!(Checkpoint::parse(&three.replacen("\n3\n", "\n4\n", 1)).is_err());
        assert!(Checkpoint::parse(&four.replacen("\n4\n", "\n04\n", 1)).is_err());
    }

    #[test]
    fn lines_of_others_are_left_alone_and_empty_ones_are_not() {
        let text = checkpoint(2).to_text();
        assert!(Checkpoint::parse(&format!("{text}something else\n")).is_ok());
        assert!(Checkpoint::parse(&format!("{text}\n")).is_err());
    }

    #[test]
    fn times_are_written_to_the_microsecond() {
        assert_eq!(
            time(1_795_348_800_000_001).unwrap(),
            "2026-11-22T12:00:00.000001Z"
        );
    }
}
