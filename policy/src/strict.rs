//! The strict reader: JSON that can be read in only one way, in one pass, borrowed from the text.
//!
//! Servers disagree about duplicate keys, half surrogate pairs, `NaN`, numbers beyond a double and
//! what follows the message (DESIGN 5.6); whatever two of them could read differently is refused here.

use std::borrow::Cow;

use crate::malformed::Flaw;
use crate::short::same;
use crate::{Number, Object, Value};

/// Objects and arrays may be nested this deep.
pub(crate) const DEPTH_MAX: usize = 64;

/// One text may hold this many values: a value costs memory that its two bytes of text do not show.
pub(crate) const VALUES_MAX: usize = 1 << 18;

/// Up to this many members a key is compared with those before it; beyond, all keys are sorted once.
const SCAN_MAX: usize = 16;

/// A cursor over one JSON text.
pub(crate) struct Reader<'a> {
    text: &'a str,
    at: usize,
    values: usize,
    /// The first key that can be read in two ways, if there was one: a duplicate, or `__proto__`. Reading goes on, so
    /// that whether the text is JSON at all is known first and the request's id can still be named.
    pub(crate) doubt: Option<Fault>,
}

/// What was wrong, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) flaw: Flaw,
    pub(crate) at: usize,
}

/// `bytes` as text, if they are UTF-8 without a byte order mark.
pub(crate) fn text(bytes: &[u8]) -> Result<&str, Fault> {
    let text = std::str::from_utf8(bytes).map_err(|error| Fault {
        flaw: Flaw::NotUtf8,
        at: error.valid_up_to(),
    })?;
    if text.starts_with('\u{feff}') {
        return Err(Fault {
            flaw: Flaw::ByteOrderMark,
            at: 0,
        });
    }
    Ok(text)
}

/// The one value that `text` holds.
pub(crate) fn value(text: &str) -> Result<Value<'_>, Fault> {
    let mut reader = Reader::new(text);
    reader.space();
    let value = reader.value(0)?;
    reader.end()?;
    reader.doubt.map_or(Ok(value), Err)
}

impl<'a> Reader<'a> {
    #[inline]
    pub(crate) fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            values: 0,
            doubt: None,
        }
    }

    /// How far the reader is.
    #[inline]
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// The text from `start` to here. Both are places between tokens, so the slice exists.
    #[inline]
    pub(crate) fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    /// The next byte, unread.
    #[inline]
    pub(crate) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Passes white space.
    #[inline]
    pub(crate) fn space(&mut self) {
        // Most texts are written without any: one comparison then.
        while let Some(0..=b' ') = self.peek() {
            let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() else {
                return;
            };
            self.at += 1;
        }
    }

    /// Nothing but white space may follow.
    pub(crate) fn end(&mut self) -> Result<(), Fault> {
        self.space();
        if self.at == self.text.len() {
            Ok(())
        } else {
            self.fault(Flaw::TrailingBytes)
        }
    }

    /// Takes `byte` if it is next.
    #[inline]
    pub(crate) fn take(&mut self, byte: u8) -> bool {
        let next = self.peek() == Some(byte);
        self.at += usize::from(next);
        next
    }

    /// Notes a key that can be read in two ways, here.
    #[cold]
    fn note(&mut self, flaw: Flaw) {
        self.doubt.get_or_insert(Fault { flaw, at: self.at });
    }

    /// `flaw`, here.
    #[cold]
    pub(crate) fn fault<T>(&self, flaw: Flaw) -> Result<T, Fault> {
        Err(Fault { flaw, at: self.at })
    }

    /// A value inside `depth` containers.
    #[inline]
    pub(crate) fn value(&mut self, depth: usize) -> Result<Value<'a>, Fault> {
        let mut value = Value::Null;
        self.read(depth, &mut value)?;
        Ok(value)
    }

    /// Reads a value to where it stays: moving one just after it was written stalls the processor.
    pub(crate) fn read(&mut self, depth: usize, to: &mut Value<'a>) -> Result<(), Fault> {
        self.values += 1;
        if self.values > VALUES_MAX {
            return self.fault(Flaw::TooManyValues);
        }
        match self.peek() {
            Some(b'"') => {
                let string = match self.plain_string() {
                    Some(plain) => Cow::Borrowed(plain),
                    None => self.unescaped()?,
                };
                put(to, Value::String(string));
            }
            Some(b'{') => return self.object(depth, to),
            Some(b'[') => return self.array(depth, to),
            Some(b'-' | b'0'..=b'9') => put(to, Value::Number(self.number()?)),
            Some(b't') => {
                self.word("true")?;
                put(to, Value::Bool(true));
            }
            Some(b'f') => {
                self.word("false")?;
                put(to, Value::Bool(false));
            }
            Some(b'n') => {
                self.word("null")?;
                put(to, Value::Null);
            }
            _ => return self.fault(Flaw::NotJson),
        }
        Ok(())
    }

    #[inline]
    fn word(&mut self, word: &str) -> Result<(), Fault> {
        if self.text.as_bytes().get(self.at..self.at + word.len()) != Some(word.as_bytes()) {
            return self.fault(Flaw::NotJson);
        }
        self.at += word.len();
        Ok(())
    }

    fn array(&mut self, depth: usize, to: &mut Value<'a>) -> Result<(), Fault> {
        self.open(depth)?;
        let mut elements = Vec::new();
        if !self.take(b']') {
            loop {
                elements.push(Value::Null);
                if let Some(element) = elements.last_mut() {
                    self.read(depth + 1, element)?;
                }
                if self.close_element()? {
                    break;
                }
            }
        }
        put(to, Value::Array(elements));
        Ok(())
    }

    fn object(&mut self, depth: usize, to: &mut Value<'a>) -> Result<(), Fault> {
        self.open(depth)?;
        if self.take(b'}') {
            put(to, Value::Object(Object::default()));
            return Ok(());
        }
        let mut object = Object(Vec::with_capacity(4));
        loop {
            let key = self.key()?;
            if object.repeats(&key) {
                self.note(Flaw::DuplicateKey);
            }
            self.read(depth + 1, object.place(key))?;
            if self.close_member()? {
                break;
            }
        }
        if object.repeats_late() {
            self.note(Flaw::DuplicateKey);
        }
        put(to, Value::Object(object));
        Ok(())
    }

    /// Enters a container inside `depth` others.
    #[inline]
    pub(crate) fn open(&mut self, depth: usize) -> Result<(), Fault> {
        if depth >= DEPTH_MAX {
            return self.fault(Flaw::TooDeep);
        }
        self.at += 1;
        self.space();
        Ok(())
    }

    /// A key and its colon; the reader then stands at the value.
    #[inline]
    pub(crate) fn key(&mut self) -> Result<Cow<'a, str>, Fault> {
        if self.peek() != Some(b'"') {
            return self.fault(Flaw::NotJson);
        }
        let key = match self.plain_string() {
            Some(plain) => Cow::Borrowed(plain),
            None => self.unescaped()?,
        };
        // Where a server merges what it was sent, the members of its value become those of the object.
        if same(key.as_bytes(), b"__proto__") {
            self.note(Flaw::PrototypeKey);
        }
        self.space();
        if !self.take(b':') {
            return self.fault(Flaw::NotJson);
        }
        self.space();
        Ok(key)
    }

    /// What follows a member: true at the end of the object, false where another member must follow.
    #[inline]
    pub(crate) fn close_member(&mut self) -> Result<bool, Fault> {
        self.space();
        if self.take(b'}') {
            return Ok(true);
        }
        self.comma()?;
        Ok(false)
    }

    /// What follows an element: true at the end of the array, false where another element must follow.
    #[inline]
    pub(crate) fn close_element(&mut self) -> Result<bool, Fault> {
        self.space();
        if self.take(b']') {
            return Ok(true);
        }
        self.comma()?;
        Ok(false)
    }

    #[inline]
    fn comma(&mut self) -> Result<(), Fault> {
        if !self.take(b',') {
            return self.fault(Flaw::NotJson);
        }
        self.space();
        Ok(())
    }

    /// A string without escapes, from its opening quote. None leaves the reader there, for
    /// [`Reader::unescaped`]. Apart from that one because a text travels in
    /// registers, and nearly every string is plain.
    #[inline]
    fn plain_string(&mut self) -> Option<&'a str> {
        let start = self.at + 1;
        let bytes = self.text.as_bytes();
        let end = match first_end(bytes, start) {
            Some(end) => end,
            None => plain_end(bytes, start),
        };
        if bytes.get(end) != Some(&b'"') {
            return None;
        }
        self.at = end + 1;
        self.text.get(start..end)
    }

    /// A string with escapes, from its opening quote.
    #[cold]
    fn unescaped(&mut self) -> Result<Cow<'a, str>, Fault> {
        let mut unescaped = String::new();
        self.at += 1;
        loop {
            let start = self.at;
            self.at = plain_end(self.text.as_bytes(), start);
            unescaped.push_str(self.since(start));
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Cow::Owned(unescaped));
                }
                Some(b'\\') => unescaped.push(self.escape()?),
                _ => return self.fault(Flaw::NotJson),
            }
        }
    }

    /// The character that an escape stands for.
    fn escape(&mut self) -> Result<char, Fault> {
        self.at += 1;
        let letter = self.peek();
        self.at += 1;
        Ok(match letter {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.code_point(),
            _ => return self.fault(Flaw::NotJson),
        })
    }

    fn code_point(&mut self) -> Result<char, Fault> {
        let first = self.hex4()?;
        if !(0xd800..0xe000).contains(&first) {
            return char::from_u32(first).map_or_else(|| self.fault(Flaw::NotJson), Ok);
        }
        if first >= 0xdc00 || !self.take(b'\\') || !self.take(b'u') {
            return self.fault(Flaw::LoneSurrogate);
        }
        let second = self.hex4()?;
        if !(0xdc00..0xe000).contains(&second) {
            return self.fault(Flaw::LoneSurrogate);
        }
        let point = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        char::from_u32(point).map_or_else(|| self.fault(Flaw::LoneSurrogate), Ok)
    }

    fn hex4(&mut self) -> Result<u32, Fault> {
        let mut point = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|b| char::from(b).to_digit(16));
            let Some(digit) = digit else {
                return self.fault(Flaw::NotJson);
            };
            point = point * 16 + digit;
            self.at += 1;
        }
        Ok(point)
    }

    fn number(&mut self) -> Result<Number<'a>, Fault> {
        let start = self.at;
        let negative = self.take(b'-');
        let leading_zero = self.peek() == Some(b'0');
        let (whole, magnitude) = self.digits();
        if whole == 0 || (whole > 1 && leading_zero) {
            return self.fault(Flaw::NotJson);
        }
        let mut integer = true;
        if self.take(b'.') {
            integer = false;
            if self.digits().0 == 0 {
                return self.fault(Flaw::NotJson);
            }
        }
        let mut exponent = false;
        if let Some(b'e' | b'E') = self.peek() {
            (integer, exponent) = (false, true);
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            if self.digits().0 == 0 {
                return self.fault(Flaw::NotJson);
            }
        }
        let text = self.since(start);
        // Eighteen digits fit whatever they are; `-0` keeps its sign as text.
        if integer && whole <= 18 && !(negative && magnitude == 0) {
            return Ok(Number::Integer(if negative {
                -magnitude
            } else {
                magnitude
            }));
        }
        if integer
            && whole == 19
            && let Ok(integer) = text.parse()
        {
            return Ok(Number::Integer(integer));
        }
        if (exponent || whole > 300) && !text.parse::<f64>().is_ok_and(f64::is_finite) {
            return self.fault(Flaw::NumberOverflow);
        }
        Ok(Number::Decimal(Cow::Borrowed(text)))
    }

    /// Passes digits: how many, and the number they make if they are at most eighteen.
    #[inline]
    fn digits(&mut self) -> (usize, i64) {
        let (start, mut magnitude) = (self.at, 0_i64);
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            magnitude = magnitude
                .wrapping_mul(10)
                .wrapping_add(i64::from(digit - b'0'));
            self.at += 1;
        }
        (self.at - start, magnitude)
    }
}

/// Writes a value to its place, which holds `null` until then: nothing has to be dropped.
#[inline]
fn put<'a>(to: &mut Value<'a>, value: Value<'a>) {
    if matches!(to, Value::Null) {
        std::mem::forget(std::mem::replace(to, value));
    } else {
        *to = value;
    }
}

/// As [`plain_end`], if that is within eight bytes, as it is for most keys.
#[inline]
fn first_end(bytes: &[u8], at: usize) -> Option<usize> {
    let eight = bytes.get(at..)?.first_chunk()?;
    let ends = ends_run(u64::from_le_bytes(*eight));
    (ends != 0).then(|| at + ends.trailing_zeros() as usize / 8)
}

/// Where the characters from `at` on end that stand for themselves, eight bytes at a time.
#[inline(never)]
fn plain_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(eight) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let ends = ends_run(u64::from_le_bytes(*eight));
        if ends != 0 {
            return at + ends.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    let run = rest
        .iter()
        .position(|b| matches!(b, b'"' | b'\\' | 0..=0x1f));
    at + run.unwrap_or(rest.len())
}

/// The high bit of each byte that ends a run of plain characters: a quote, a backslash, a control
/// character. Bits above the lowest one that is set may be wrong; only the lowest is used.
#[inline]
fn ends_run(eight: u64) -> u64 {
    const ONES: u64 = u64::MAX / 0xff;
    const HIGHS: u64 = ONES << 7;
    let below = |bytes: u64, limit: u64| bytes.wrapping_sub(ONES * limit) & !bytes;
    let quote = below(eight ^ (ONES * 0x22), 1);
    let backslash = below(eight ^ (ONES * 0x5c), 1);
    let control = below(eight, 0x20);
    (quote | backslash | control) & HIGHS
}

/// Finding duplicate keys while an object is built. Small objects are scanned; the keys of large ones
/// are sorted once, not hashed, so that the worst case stays the same whatever keys the caller picks.
impl<'a> Object<'a> {
    /// A new member's place, for its value.
    #[inline]
    pub(crate) fn place(&mut self, key: Cow<'a, str>) -> &mut Value<'a> {
        &mut self.0.push_mut((key, Value::Null)).1
    }

    /// Whether `key` is already there; only asked while the object is small.
    #[inline]
    pub(crate) fn repeats(&self, key: &str) -> bool {
        self.0.len() < SCAN_MAX
            && self
                .0
                .iter()
                .any(|(k, _)| same(k.as_bytes(), key.as_bytes()))
    }

    /// Whether an object that outgrew the scan has a key twice.
    #[inline]
    pub(crate) fn repeats_late(&self) -> bool {
        self.0.len() > SCAN_MAX && self.has_duplicate()
    }

    /// Whether a key stands twice.
    pub(crate) fn has_duplicate(&self) -> bool {
        let mut keys: Vec<&str> = self.0.iter().map(|(key, _)| key.as_ref()).collect();
        keys.sort_unstable();
        keys.windows(2).any(|pair| matches!(pair, [a, b] if a == b))
    }
}
