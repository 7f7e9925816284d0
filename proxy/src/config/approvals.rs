//! `approvers` in `[admin]`, and `[approvals]`: who may answer where a policy asks a person, and for how long and how many it asks.

use std::time::Duration;

use super::GrantConfig;
use super::credential::needed_token;
use super::read::read_name;
use super::section::Section;

/// A person who may answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApproverConfig {
    /// Stands in the record as who answered.
    pub name: String,
    /// SHA-256 of the bearer token.
    pub token_sha256: [u8; 32],
}

/// Bounds of what waits for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalsConfig {
    /// A policy may ask for less time, and gets no more.
    pub wait_max: Duration,
    /// Calls that wait at once.
    pub held_max: usize,
    /// Calls of one grant that wait at once.
    pub held_per_grant_max: usize,
    /// How often a client that waits hears that it still does.
    pub keep_alive: Duration,
}

impl Default for ApprovalsConfig {
    fn default() -> Self {
        Self {
            wait_max: Duration::from_mins(15),
            held_max: 64,
            held_per_grant_max: 8,
            keep_alive: Duration::from_secs(5),
        }
    }
}

/// The longest that a call may wait: beyond it, no client does.
const WAIT_MAX: Duration = Duration::from_hours(24);

pub(super) fn read_approvals(section: Option<&Section<'_, '_>>) -> ApprovalsConfig {
    let default = ApprovalsConfig::default();
    let Some(section) = section else {
        return default;
    };
    let count = |key, default: usize| section.number(key, 1..10_000, default as u64) as usize;
    let approvals = ApprovalsConfig {
        wait_max: section.duration("wait_max", default.wait_max),
        held_max: count("held_max", default.held_max),
        held_per_grant_max: count("held_per_grant_max", default.held_per_grant_max),
        keep_alive: section.duration("keep_alive", default.keep_alive),
    };
    if approvals.wait_max > WAIT_MAX {
        section.problem(
            "`wait_max` of `[approvals]` is more than a day",
            Some("write at most \"24h\""),
        );
    }
    section.finish();
    approvals
}

pub(super) fn read_approvers(admin: &Section<'_, '_>) -> Vec<ApproverConfig> {
    let mut approvers: Vec<ApproverConfig> = Vec::new();
    for section in admin.tables("approvers") {
        let found = section.needed_string("name", "it stands in the record as who answered");
        let name = read_name(&section, "approver", &found).unwrap_or_default();
        let token_sha256 = needed_token(&section, "an approver");
        let taken =
            |other: &ApproverConfig| other.name == name || other.token_sha256 == token_sha256;
        if approvers.iter().any(taken) {
            section.problem(
                format!("approver `{name}` has the name or the token of another"),
                Some("each person has a name and a token of their own: `weir token new`"),
            );
        }
        section.finish();
        approvers.push(ApproverConfig { name, token_sha256 });
    }
    approvers
}

/// An agent must not be able to approve what it asks for.
pub(super) fn apart(root: &Section<'_, '_>, approvers: &[ApproverConfig], grants: &[GrantConfig]) {
    for approver in approvers {
        let same =
            |grant: &&GrantConfig| grant.credential.token_sha256 == Some(approver.token_sha256);
        if let Some(grant) = grants.iter().find(same) {
            root.problem(
                format!(
                    "approver `{}` has the token of grant `{}`: its agent could approve its own calls",
                    approver.name, grant.name
                ),
                Some("make the approver a token of its own: `weir token new`"),
            );
        }
    }
}
