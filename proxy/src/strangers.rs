//! Who was turned away, and why: counted each time, and one event per address and minute, so that strangers cannot fill the
//! record.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use weir_recorder::{Event, EventKind};

use crate::gate::Gate;
use crate::oauth::Unaccepted;

/// Addresses of strangers that are told apart at once.
const ADDRESSES_MAX: usize = 1024;

/// Why a request or a connection opened nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TurnedAway {
    /// It showed nothing that could open a grant.
    Nothing,
    /// A bearer token that nobody has, or two of them.
    Token,
    /// The token of a grant that also asks for a client certificate, without it.
    TokenAlone,
    /// A client certificate that no CA vouches for, or that is revoked or not valid now.
    Certificate,
    /// A client certificate that was good when its connection began, and is not any more.
    CertificateLapsed,
    /// A good client certificate that no grant names.
    CertificateUnnamed,
    /// An access token that is not accepted.
    Access(Unaccepted),
    /// A good access token that opens no grant here.
    Scope,
    /// What was shown opens another server.
    OtherServer,
    /// Bytes that are no HTTP request: nobody knows whose they are.
    NoRequest,
}

impl TurnedAway {
    /// The label in metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing_shown",
            Self::Token => "unknown_token",
            Self::TokenAlone => "token_without_certificate",
            Self::Certificate => "certificate",
            Self::CertificateLapsed => "certificate_lapsed",
            Self::CertificateUnnamed => "certificate_unnamed",
            Self::Access(why) => why.as_str(),
            Self::Scope => "scope",
            Self::OtherServer => "other_server",
            Self::NoRequest => "no_request",
        }
    }

    /// The text of the event.
    fn text(self) -> &'static str {
        match self {
            Self::Nothing | Self::Token => "a request without a valid token was turned away",
            Self::TokenAlone => {
                "a grant's token came without the client certificate that the grant asks for"
            }
            Self::Certificate => "a client certificate was turned away",
            Self::CertificateLapsed => {
                "a client certificate was turned away that had become invalid"
            }
            Self::CertificateUnnamed => "a client certificate that opens no grant was turned away",
            Self::Access(_) => "an access token was turned away",
            Self::Scope => "an access token that opens no grant was turned away",
            Self::OtherServer => "a caller was turned away at a server that is not its own",
            Self::NoRequest => "bytes that are no HTTP request were turned away",
        }
    }
}

impl Gate {
    /// Counts a stranger, and writes it down if this minute has none of that address yet.
    pub(crate) fn note_stranger(&self, address: IpAddr, why: TurnedAway) {
        self.telemetry.unauthenticated(why.as_str());
        tracing::debug!(%address, why = why.as_str(), "a caller was turned away");
        let minute = self.ledger.clock().now().0.div_euclid(60_000_000);
        if let Some(count) = self.strangers.note(address, minute) {
            self.tell_stranger(address, count, why.text());
        }
    }

    /// Writes down the strangers that were only counted, once their minute is over.
    pub(crate) fn tell_strangers(&self) {
        self.tell_before(self.ledger.clock().now().0.div_euclid(60_000_000));
    }

    /// Writes down every stranger that was only counted: nobody will ask again.
    pub(crate) fn tell_last_strangers(&self) {
        self.tell_before(i64::MAX);
    }

    fn tell_before(&self, minute: i64) {
        for (address, count) in self.strangers.untold(minute) {
            self.tell_stranger(address, count, "requests were turned away");
        }
    }

    fn tell_stranger(&self, address: IpAddr, count: i64, text: &str) {
        let address = address.to_canonical().to_string();
        let event = Event {
            address: Some(address.as_str()),
            count: Some(count),
            text: Some(text),
            ..Event::of(EventKind::Unauthenticated)
        };
        drop(self.ledger.event(&event));
    }
}

/// Strangers by address, so that each is one event a minute however often it knocks.
#[derive(Debug, Default)]
pub(crate) struct Strangers(Mutex<HashMap<IpAddr, (i64, i64)>>);

impl Strangers {
    /// Notes a stranger; the count to write down, if this minute has none of that address yet.
    fn note(&self, address: IpAddr, minute: i64) -> Option<i64> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= ADDRESSES_MAX && !seen.contains_key(&address) {
            seen.retain(|_, (last, _)| *last >= minute);
            if seen.len() >= ADDRESSES_MAX {
                return None;
            }
        }
        let (last, count) = seen.entry(address).or_insert((i64::MIN, 0));
        *count += 1;
        if *last >= minute {
            return None;
        }
        *last = minute;
        Some(std::mem::take(count))
    }

    /// Those that were noted but not written down, of minutes before this one.
    fn untold(&self, minute: i64) -> Vec<(IpAddr, i64)> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let over = seen
            .iter_mut()
            .filter(|(_, (last, count))| *last < minute && *count > 0);
        over.map(|(address, (_, count))| (*address, std::mem::take(count)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_stranger_is_one_event_a_minute() {
        let strangers = Strangers::default();
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        assert_eq!(strangers.note(address, 1), Some(1));
        assert_eq!(strangers.note(address, 1), None);
        assert_eq!(strangers.note(address, 1), None);
        assert_eq!(strangers.note(address, 2), Some(3));
        assert_eq!(strangers.note(address, 2), None);
        assert_eq!(strangers.untold(2), []);
        assert_eq!(strangers.untold(3), [(address, 1)]);
        assert_eq!(strangers.untold(i64::MAX), []);
    }
}
