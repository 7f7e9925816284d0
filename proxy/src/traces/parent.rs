//! W3C trace context: `traceparent`, as it comes and as it goes on.

/// Where a message stands in its caller's trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Traceparent {
    pub(crate) trace_id: [u8; 16],
    pub(crate) span_id: [u8; 8],
    pub(crate) is_sampled: bool,
}

impl Traceparent {
    /// `00-<trace id>-<span id>-<flags>`; a later version may have more behind it. Ids of zeroes are none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let mut field = || parts.next();
        let (version, trace, span, flags) = (field()?, field()?, field()?, field()?);
        let mut version_byte = [0; 1];
        let (mut trace_id, mut span_id, mut flag_byte) = ([0; 16], [0; 8], [0; 1]);
        decode(version, &mut version_byte)?;
        decode(trace, &mut trace_id)?;
        decode(span, &mut span_id)?;
        decode(flags, &mut flag_byte)?;
        let is_whole = match version_byte {
            [0xff] => false,
            [0] => parts.next().is_none(),
            _ => true,
        };
        let is_some = trace_id != [0; 16] && span_id != [0; 8];
        (is_whole && is_some).then_some(Self {
            trace_id,
            span_id,
            is_sampled: flag_byte[0] & 1 == 1,
        })
    }
}

impl std::fmt::Display for Traceparent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (trace, span) = (hex::encode(self.trace_id), hex::encode(self.span_id));
        write!(f, "00-{trace}-{span}-{:02x}", u8::from(self.is_sampled))
    }
}

fn decode(text: &str, into: &mut [u8]) -> Option<()> {
    let is_lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
    hex::decode_to_slice(text, into).ok().filter(|()| is_lower)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_traceparent_is_read_and_written_as_w3c_has_it() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let parent = Traceparent::parse(text).unwrap();
        assert_eq!(parent.trace_id[0], 0x0a);
        assert!(parent.is_sampled);
        assert_eq!(parent.to_string(), text);
        let unsampled = text.replace("-01", "-00");
        assert!(!Traceparent::parse(&unsampled).unwrap().is_sampled);
        let later = format!("{}-more", text.replacen("00", "01", 1));
        assert_eq!(Traceparent::parse(&later), Some(parent));
    }

    #[test]
    fn what_is_no_traceparent_is_none() {
        let trace = "0af7651916cd43dd8448eb211c80319c";
        for text in [
            "",
            "00-zz-00",
            &format!("00-{trace}-b7ad6b7169203331"),
            &format!("00-{trace}-b7ad6b7169203331-01-more"),
            &format!("ff-{trace}-b7ad6b7169203331-01"),
            &format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)),
            &format!("00-{trace}-{}-01", "0".repeat(16)),
            &format!("00-{}-b7ad6b7169203331-01", trace.to_uppercase()),
        ] {
            assert_eq!(Traceparent::parse(text), None, "{text}");
        }
    }
}
