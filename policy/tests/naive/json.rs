//! JSON as the generator makes it: numbers are the text they will be written as.

#[derive(Clone, PartialEq)]
pub(crate) enum J {
    Null,
    Bool(bool),
    Num(String),
    Str(String),
    Arr(Vec<J>),
    Obj(Vec<(String, J)>),
}

impl std::fmt::Debug for J {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.write())
    }
}

impl J {
    pub(crate) fn str(text: &str) -> Self {
        Self::Str(text.into())
    }

    pub(crate) fn obj<const N: usize>(members: [(&str, J); N]) -> Self {
        Self::Obj(
            members
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect(),
        )
    }

    pub(crate) fn get(&self, key: &str) -> Option<&J> {
        self.members()
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, value)| value)
    }

    pub(crate) fn members(&self) -> &[(String, J)] {
        if let Self::Obj(members) = self {
            members
        } else {
            &[]
        }
    }

    pub(crate) fn items(&self) -> &[J] {
        if let Self::Arr(items) = self {
            items
        } else {
            &[]
        }
    }

    pub(crate) fn text(&self) -> &str {
        if let Self::Str(text) | Self::Num(text) = self {
            text
        } else {
            ""
        }
    }

    pub(crate) fn write(&self) -> String {
        let join = |parts: Vec<String>| parts.join(",");
        match self {
            Self::Null => "null".into(),
            Self::Bool(b) => b.to_string(),
            Self::Num(text) => text.clone(),
            Self::Str(text) => serde_json::Value::from(text.as_str()).to_string(),
            Self::Arr(items) => format!("[{}]", join(items.iter().map(J::write).collect())),
            Self::Obj(members) => {
                let member = |(key, value): &(String, J)| {
                    format!("{}:{}", J::str(key).write(), value.write())
                };
                format!("{{{}}}", join(members.iter().map(member).collect()))
            }
        }
    }
}

/// Numbers as whole multiples of 10^-12: enough for every number that the generator makes.
pub(crate) const SCALE: i128 = 1_000_000_000_000;

pub(crate) fn number(text: &str) -> i128 {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let shift = exponent.parse::<i32>().unwrap() - fraction.len() as i32 + 12;
    let digits: i128 = format!("{whole}{fraction}").parse().unwrap();
    let power = 10_i128.pow(shift.unsigned_abs());
    if shift < 0 {
        assert_eq!(digits % power, 0, "{text} is too fine for this scale");
        digits / power
    } else {
        digits.checked_mul(power).unwrap()
    }
}

pub(crate) fn kind(value: &J) -> &'static str {
    match value {
        J::Null => "null",
        J::Bool(_) => "boolean",
        J::Num(_) => "number",
        J::Str(_) => "string",
        J::Arr(_) => "array",
        J::Obj(_) => "object",
    }
}

/// The same text for equal values, and different texts for different ones.
pub(crate) fn canonical(value: &J) -> String {
    match value {
        J::Num(text) => format!("#{}", number(text)),
        J::Arr(items) => format!(
            "[{}]",
            items
                .iter()
                .map(|item| canonical(item) + ",")
                .collect::<String>()
        ),
        J::Obj(members) => {
            let mut members: Vec<_> = members
                .iter()
                .map(|(key, value)| format!("{key:?}:{},", canonical(value)))
                .collect();
            members.sort();
            format!("{{{}}}", members.concat())
        }
        other => other.write(),
    }
}
