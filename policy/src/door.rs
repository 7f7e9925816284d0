//! The one door from bytes: parse, resolve, evaluate, settle.

use crate::{Context, Counters, Judgement, Malformed, Message, Micros, Policy, Resolver, judge};

/// What became of a body.
#[derive(Debug, Clone)]
#[must_use]
pub enum Ruling {
    /// It could be read in two ways, or not at all.
    Malformed(Malformed),
    /// An answer, or a method that every revision of the protocol lets pass: no policy is asked.
    Unjudged,
    /// It was judged.
    Judged(Judgement),
}

impl Ruling {
    /// Whether the body may be forwarded.
    pub fn is_allow(&self) -> bool {
        match self {
            Self::Malformed(_) => false,
            Self::Unjudged => true,
            Self::Judged(judgement) => judgement.decision.is_allow(),
        }
    }
}

/// Judges one message from its bytes, with the same steps in the same order as the live proxy takes
/// them one by one.
///
/// ```
/// use weir_policy::{Context, Counters, Micros, Ruling, Policy, Resolver, judge_bytes};
///
/// let policy = Policy::load(br#"{"version": "1", "default": "deny", "tools": {"vm_list": {}}}"#, "p.json")?;
/// let context = Context {
///     node: "n", server: "nas", grant: "ops", session: "s", client_name: "", client_version: "",
///     received_at: Micros(0),
/// };
/// let mut judge = |body: &str| {
///     let counters = &mut Counters::new(1_000);
///     judge_bytes(body.as_bytes(), &Resolver::plain(), Some(&policy), &context, counters, Micros(0))
/// };
/// let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"vm_list"}}"#;
/// assert!(judge(call).is_allow());
/// assert!(!judge(&call.replace("vm_list", "vm_delete")).is_allow());
/// assert!(matches!(judge(&call.replace("vm_list", "vm\\u0000")), Ruling::Malformed(_)));
/// # Ok::<(), weir_policy::Problems>(())
/// ```
pub fn judge_bytes(
    body: &[u8],
    resolver: &Resolver,
    policy: Option<&Policy>,
    context: &Context<'_>,
    counters: &mut Counters,
    decided_at: Micros,
) -> Ruling {
    let message = match Message::parse(body) {
        Ok(message) => message,
        Err(malformed) => return Ruling::Malformed(malformed),
    };
    let ask = match message.ask() {
        Ok(Some(ask)) => ask,
        Ok(None) => return Ruling::Unjudged,
        Err(malformed) => return Ruling::Malformed(malformed),
    };
    Ruling::Judged(match resolver.resolve(&ask) {
        Ok(resolution) => judge(policy, &resolution, context, counters, decided_at),
        Err(decision) => Judgement {
            decision,
            reservation: None,
        },
    })
}
