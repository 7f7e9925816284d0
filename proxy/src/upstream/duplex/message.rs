//! Messages as lines: an id of our own put into the judged bytes, and the client's put back into the server's.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

/// What a server wrote, as far as its way to a client depends on it.
#[derive(Debug)]
pub(super) enum Spoken {
    /// The answer to a request, by the id we gave it; `marks` is where that id stands.
    Answer {
        own: u64,
        marks: Vec<Range<usize>>,
        is_error: bool,
    },
    /// A request to the client.
    Request,
    /// A notification.
    Notification(Concerns),
}

/// What a notification is about.
#[derive(Debug)]
pub(super) enum Concerns {
    /// The progress of the request that carried this token, which stands at `mark`.
    Progress {
        token: serde_json::Value,
        mark: Range<usize>,
    },
    /// A subscription, named by the id we gave to the request that opened it.
    Subscription { own: u64, marks: Vec<Range<usize>> },
    /// The end of a request: a subscription of the client, or a request of the server's own.
    Cancelled { own: Option<u64> },
    /// Anything else.
    Session,
}

impl Spoken {
    /// Reads one line; `None` if it is no JSON-RPC message, as what some servers print besides.
    pub(super) fn read(line: &[u8]) -> Option<Self> {
        let envelope: Envelope<'_> = serde_json::from_slice(line).ok()?;
        let params = envelope.params.and_then(details);
        match (envelope.method, envelope.id) {
            (Some(_), Some(_)) => Some(Self::Request),
            (Some(method), None) => Some(Self::Notification(Concerns::read(
                line,
                &method,
                params.as_ref(),
            ))),
            (None, Some(id)) if envelope.result.is_some() || envelope.error.is_some() => {
                let own = id.get().parse().ok()?;
                let subscription = envelope
                    .result
                    .and_then(details)
                    .and_then(|result| result.subscription());
                let mut marks = vec![place(line, id)?];
                marks.extend(
                    subscription
                        .filter(|mark| mark.get() == id.get())
                        .and_then(|mark| place(line, mark)),
                );
                Some(Self::Answer {
                    own,
                    marks,
                    is_error: envelope.error.is_some(),
                })
            }
            (None, _) => None,
        }
    }
}

impl Concerns {
    fn read(line: &[u8], method: &str, params: Option<&Details<'_>>) -> Self {
        let Some(params) = params else {
            return Self::Session;
        };
        if let Some(mark) = params.subscription()
            && let (Ok(own), Some(mark)) = (mark.get().parse(), place(line, mark))
        {
            return Self::Subscription {
                own,
                marks: vec![mark],
            };
        }
        match (method, params.progress_token, params.request_id) {
            ("notifications/progress", Some(token), _) => {
                let read = serde_json::from_str(token.get()).ok();
                match (read, place(line, token)) {
                    (Some(token), Some(mark)) => Self::Progress { token, mark },
                    (_, _) => Self::Session,
                }
            }
            ("notifications/cancelled", _, Some(id)) => Self::Cancelled {
                own: id.get().parse().ok(),
            },
            _ => Self::Session,
        }
    }
}

/// The token under which a client's request wants to hear of its progress, and where it stands.
pub(super) fn progress_token(message: &[u8]) -> Option<(String, Range<usize>)> {
    let envelope: Envelope<'_> = serde_json::from_slice(message).ok()?;
    let token = details(envelope.params?)?.meta?.progress_token?;
    Some((token.get().to_owned(), place(message, token)?))
}

/// The id that a client's `notifications/cancelled` names, and where it stands.
pub(super) fn cancelled_id(message: &[u8]) -> Option<(String, Range<usize>)> {
    let envelope: Envelope<'_> = serde_json::from_slice(message).ok()?;
    let id = details(envelope.params?)?.request_id?;
    Some((id.get().to_owned(), place(message, id)?))
}

/// Whether two ids as they stand are the same id: `"a"` may be written `"\u0061"`.
pub(super) fn same_id(one: &str, other: &str) -> bool {
    let read = |id| serde_json::from_str::<serde_json::Value>(id).ok();
    one == other
        || read(one)
            .zip(read(other))
            .is_some_and(|(one, other)| one == other)
}

/// `message` with `text` in each of `places`, which do not overlap.
pub(super) fn splice(message: &[u8], places: &[Range<usize>], text: &str) -> Option<Vec<u8>> {
    let mut places: Vec<_> = places.iter().collect();
    places.sort_unstable_by_key(|place| place.start);
    let mut spliced = Vec::with_capacity(message.len() + text.len());
    let mut from = 0;
    for place in places {
        spliced.extend_from_slice(message.get(from..place.start)?);
        spliced.extend_from_slice(text.as_bytes());
        from = place.end;
    }
    spliced.extend_from_slice(message.get(from..)?);
    Some(spliced)
}

/// One message as one line. In a message that was parsed strictly a raw CR or LF stands between tokens only (within
/// strings they must be escaped), so a space in its place means the same. CR too: some servers end a line there.
pub(crate) fn line(mut message: Vec<u8>) -> Bytes {
    for byte in &mut message {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    message.push(b'\n');
    message.into()
}

#[derive(Deserialize)]
struct Envelope<'m> {
    #[serde(borrow, default)]
    id: Option<&'m RawValue>,
    #[serde(borrow, default)]
    method: Option<Cow<'m, str>>,
    #[serde(borrow, default)]
    params: Option<&'m RawValue>,
    #[serde(borrow, default)]
    result: Option<&'m RawValue>,
    #[serde(borrow, default)]
    error: Option<&'m RawValue>,
}

#[derive(Deserialize)]
struct Details<'m> {
    #[serde(borrow, default, rename = "progressToken")]
    progress_token: Option<&'m RawValue>,
    #[serde(borrow, default, rename = "requestId")]
    request_id: Option<&'m RawValue>,
    #[serde(borrow, default, rename = "_meta")]
    meta: Option<Meta<'m>>,
}

#[derive(Deserialize)]
struct Meta<'m> {
    #[serde(borrow, default, rename = "progressToken")]
    progress_token: Option<&'m RawValue>,
    #[serde(borrow, default, rename = "io.modelcontextprotocol/subscriptionId")]
    subscription: Option<&'m RawValue>,
}

impl<'m> Details<'m> {
    fn subscription(&self) -> Option<&'m RawValue> {
        self.meta.as_ref()?.subscription
    }
}

fn details(value: &RawValue) -> Option<Details<'_>> {
    serde_json::from_str(value.get()).ok()
}

/// Where `part`, which was borrowed from `whole`, stands in it.
fn place(whole: &[u8], part: &RawValue) -> Option<Range<usize>> {
    let start = part
        .get()
        .as_ptr()
        .addr()
        .checked_sub(whole.as_ptr().addr())?;
    let end = start.checked_add(part.get().len())?;
    (whole.get(start..end)? == part.get().as_bytes()).then_some(start..end)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use super::*;

    fn restored(message: &str, id: &str) -> String {
        let marks = match Spoken::read(message.as_bytes()).unwrap() {
            Spoken::Answer { marks, .. }
            | Spoken::Notification(Concerns::Subscription { marks, .. }) => marks,
            other @ (Spoken::Request | Spoken::Notification(_)) => panic!("{other:?}"),
        };
        String::from_utf8(splice(message.as_bytes(), &marks, id).unwrap()).unwrap()
    }

    #[test]
    fn only_the_id_of_the_envelope_is_replaced() {
        assert_eq!(
            restored(
                r#"{"result":{"id":7,"n":1e400},"id" : 7 ,"jsonrpc":"2.0"}"#,
                "\"a\\u0062\""
            ),
            r#"{"result":{"id":7,"n":1e400},"id" : "a\u0062" ,"jsonrpc":"2.0"}"#
        );
    }

    #[test]
    fn a_subscription_is_named_to_the_client_as_the_client_named_it() {
        assert_eq!(
            restored(
                r#"{"method":"notifications/x","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":7}}}"#,
                "\"s\""
            ),
            r#"{"method":"notifications/x","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":"s"}}}"#
        );
        assert_eq!(
            restored(
                r#"{"id":7,"result":{"_meta":{"io.modelcontextprotocol/subscriptionId":7}}}"#,
                "12"
            ),
            r#"{"id":12,"result":{"_meta":{"io.modelcontextprotocol/subscriptionId":12}}}"#
        );
    }

    #[test]
    fn what_a_server_says_is_told_apart() {
        let read = |text: &str| Spoken::read(text.as_bytes());
        assert!(matches!(
            read(r#"{"id":"x","method":"ping"}"#),
            Some(Spoken::Request)
        ));
        assert!(matches!(
            read(r#"{"id":3,"error":{}}"#),
            Some(Spoken::Answer {
                own: 3,
                is_error: true,
                ..
            })
        ));
        assert!(matches!(
            read(r#"{"method":"notifications/progress","params":{"progressToken":"t"}}"#),
            Some(Spoken::Notification(Concerns::Progress { token, .. })) if token == "t"
        ));
        assert!(matches!(
            read(r#"{"method":"notifications/cancelled","params":{"requestId":4}}"#),
            Some(Spoken::Notification(Concerns::Cancelled { own: Some(4) }))
        ));
        assert!(matches!(
            read(r#"{"method":"notifications/message"}"#),
            Some(Spoken::Notification(Concerns::Session))
        ));
        for noise in [
            "",
            "listening on stdio",
            "[]",
            "{}",
            r#"{"id":null,"error":{}}"#,
            r#"{"id":1}"#,
            r#"{"id":1,"id":2,"result":1}"#,
        ] {
            assert!(read(noise).is_none(), "{noise}");
        }
    }

    #[test]
    fn a_message_over_several_lines_becomes_one_that_means_the_same() {
        let message = "{\r\n\"a\":\n\t\"x\\n\\r\u{2028}\"\r}";
        let line = line(message.as_bytes().to_vec());
        assert_eq!(
            line.iter()
                .filter(|byte| matches!(byte, b'\n' | b'\r'))
                .count(),
            1
        );
        let read = |text: &[u8]| serde_json::from_slice::<serde_json::Value>(text).unwrap();
        assert_eq!(read(&line), read(message.as_bytes()));
    }

    #[test]
    fn an_id_is_the_same_however_it_is_written() {
        assert!(same_id("\"a\"", "\"\\u0061\""));
        assert!(same_id("7", "7"));
        assert!(!same_id("7", "\"7\""));
    }

    #[test]
    fn what_a_client_asks_about_its_own_requests_is_found() {
        let call = br#"{"id":1,"method":"tools/call","params":{"name":"x","_meta":{"progressToken":"t"}}}"#;
        let (token, place) = progress_token(call).unwrap();
        assert_eq!(token, "\"t\"");
        assert_eq!(call.get(place).unwrap(), b"\"t\"");
        let cancel = br#"{"method":"notifications/cancelled","params":{"requestId": "r" }}"#;
        let (id, place) = cancelled_id(cancel).unwrap();
        assert_eq!(id, "\"r\"");
        assert_eq!(
            splice(cancel, &[place], "9").unwrap(),
            br#"{"method":"notifications/cancelled","params":{"requestId": 9 }}"#
        );
    }
}
