//! What a record and its anchors hold, read in the one order in which it can be believed.

use std::collections::BTreeSet;
use std::path::Path;

use super::VerifyOptions;
use super::moment::{Moment, NodeMoment};
use super::trust::Trust;
use crate::evidence::anchor::Folder;
use crate::evidence::notes::{self, Found};
use crate::identity::Identity;
use crate::layout::Layout;
use crate::{RecordError, Storage};

/// A record at one moment, with the checkpoints from before and after it.
pub(super) struct Seen {
    pub(super) identity: Identity,
    pub(super) moment: Moment,
    /// Everybody whose log there should be.
    pub(super) nodes: BTreeSet<String>,
    anchored: Vec<Found>,
    before: Vec<Found>,
    after: Vec<Found>,
    nothing: NodeMoment,
}

impl Seen {
    pub(super) fn of(
        storage: &dyn Storage,
        layout: &Layout,
        options: &VerifyOptions<'_>,
    ) -> Result<Self, RecordError> {
        let not_a_record = || RecordError::NotARecord {
            path: layout.root().to_owned(),
        };
        let identity = Identity::read(storage, layout)?.ok_or_else(not_a_record)?;
        // In this order: what the anchor has seen was signed before, and what is signed is there by the time it is looked at.
        let anchored = options.anchored(storage, None)?;
        let checkpoints = layout.checkpoints();
        let own = Folder::new(storage, &checkpoints);
        let before = notes::read(&own, None)?;
        let mut moment = Moment::take(storage, layout)?;
        moment.add(&options.unsealed);
        let after = notes::read(&own, None)?;
        let mut nodes: BTreeSet<String> = moment.nodes.keys().cloned().collect();
        nodes.extend(before.iter().map(|note| note.node.clone()));
        nodes.insert(identity.node.clone());
        Ok(Self {
            identity,
            moment,
            nodes,
            anchored,
            before,
            after,
            nothing: NodeMoment::default(),
        })
    }

    /// What is there of a node's log, and whose signatures on it are believed.
    pub(super) fn log(&self, node: &str, options: &VerifyOptions<'_>) -> (&NodeMoment, Trust<'_>) {
        let of = |found: &&Found| found.node == node;
        let trust = Trust::new(
            node,
            &options.keys,
            self.before.iter().filter(of),
            self.after.iter().filter(of),
            self.anchored.iter().filter(of),
        );
        (self.moment.nodes.get(node).unwrap_or(&self.nothing), trust)
    }

    /// What is said of each file that is none of a record's.
    pub(super) fn strangers(&self) -> impl Iterator<Item = String> {
        let says = |path: &Path| format!("`{}` is no file of this record", path.display());
        self.moment.strangers.iter().map(move |path| says(path))
    }
}
