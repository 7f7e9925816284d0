//! What replay reads of a record, and its columns as typed arrays.

use arrow::array::{
    Array, ArrayRef, AsArray as _, BooleanArray, FixedSizeBinaryArray, Int32Array, Int64Array,
    ListArray, PrimitiveArray, RecordBatch, StringArray,
};
use arrow::datatypes::{ArrowPrimitiveType, Int32Type, TimestampMicrosecondType};
use weir_policy::{Micros, Needs};

use crate::ReplayError;

/// What is read of every row: what tells kinds of calls apart, and where a row stands.
pub(crate) const OF_EVERY_ROW: [&str; 14] = [
    "seq",
    "decided_at",
    "direction",
    "server",
    "grant",
    "wire_tool",
    "tool",
    "verdict",
    "reason",
    "rule",
    "policy_digest",
    "resolver_digest",
    "engine",
    "via",
];

/// What is read besides of rows that have to be looked at: a column left out is a tenth of a replay saved.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Further {
    /// What the rules of any policy read.
    pub(crate) needs: Needs,
    /// Whether any reservation was returned, and so its place and time count.
    pub(crate) returns: bool,
}

impl Further {
    /// The columns, for rows whose arguments are asked for, or for others.
    pub(crate) fn names(self, arguments: bool) -> Vec<&'static str> {
        let optional: [(bool, &[&'static str]); 4] = [
            (arguments, &["arguments", "redacted"]),
            (self.needs.client, &["client_name", "client_version"]),
            (self.needs.time, &["received_at"]),
            (self.returns, &["given_back", "finish_seq", "finished_at"]),
        ];
        let read = optional.into_iter().filter(|(asked, _)| *asked);
        let optional = read.flat_map(|(_, names)| names.iter().copied());
        ["call_id", "session"].into_iter().chain(optional).collect()
    }
}

/// A column of words.
#[derive(Debug, Clone)]
pub(crate) struct Words {
    pub(crate) keys: Int32Array,
    pub(crate) values: StringArray,
}

impl Words {
    pub(crate) fn of(batch: &RecordBatch, name: &'static str) -> Result<Self, ReplayError> {
        Self::of_array(column(batch, name)?, name)
    }

    pub(crate) fn of_array(array: &ArrayRef, name: &'static str) -> Result<Self, ReplayError> {
        let wrong = ReplayError::Column {
            column: name,
            problem: "not a dictionary of words",
        };
        let dictionary = array.as_dictionary_opt::<Int32Type>();
        let values = dictionary.and_then(|d| d.values().as_string_opt::<i32>());
        match (dictionary, values) {
            (Some(dictionary), Some(values)) => Ok(Self {
                keys: dictionary.keys().clone(),
                values: values.clone(),
            }),
            _ => Err(wrong),
        }
    }

    /// The word in `row`; null is the empty word.
    pub(crate) fn at(&self, row: usize) -> &str {
        if row >= self.keys.len() || self.keys.is_null(row) {
            return "";
        }
        let key = self.keys.value(row) as usize;
        if key < self.values.len() && self.values.is_valid(key) {
            self.values.value(key)
        } else {
            ""
        }
    }
}

/// The column `via`: how a call was resolved, step by step.
#[derive(Debug, Clone)]
pub(crate) struct Steps {
    pub(crate) lists: ListArray,
    pub(crate) words: Words,
}

impl Steps {
    pub(crate) fn of(batch: &RecordBatch) -> Result<Self, ReplayError> {
        let lists = column(batch, "via")?.as_list_opt::<i32>();
        let lists = lists.ok_or(ReplayError::Column {
            column: "via",
            problem: "not a list of words",
        })?;
        Ok(Self {
            words: Words::of_array(lists.values(), "via")?,
            lists: lists.clone(),
        })
    }

    /// Where the steps of `row` stand among the words.
    pub(crate) fn range(&self, row: usize) -> std::ops::Range<usize> {
        match self.lists.value_offsets().get(row..=row + 1) {
            Some(&[start, end]) if self.lists.is_valid(row) => start as usize..end as usize,
            _ => 0..0,
        }
    }

    pub(crate) fn at(&self, row: usize) -> impl Iterator<Item = &str> {
        self.range(row).map(|step| self.words.at(step))
    }
}

/// What rows hold that have to be looked at.
#[derive(Debug)]
pub(crate) struct Details {
    call_id: FixedSizeBinaryArray,
    session: Words,
    client: Option<(Words, Words)>,
    received_at: Option<PrimitiveArray<TimestampMicrosecondType>>,
    arguments: Option<StringArray>,
    redacted: Option<ListArray>,
    returns: Option<Returns>,
}

#[derive(Debug)]
struct Returns {
    given_back: BooleanArray,
    finish_seq: Int64Array,
    finished_at: PrimitiveArray<TimestampMicrosecondType>,
}

impl Returns {
    fn of(batch: &RecordBatch) -> Result<Self, ReplayError> {
        let given_back = column(batch, "given_back")?.as_boolean_opt();
        let given_back = given_back.ok_or(ReplayError::Column {
            column: "given_back",
            problem: "not a column of truths",
        })?;
        Ok(Self {
            given_back: given_back.clone(),
            finish_seq: numbers(batch, "finish_seq")?,
            finished_at: numbers(batch, "finished_at")?,
        })
    }
}

impl Details {
    pub(crate) fn of(batch: &RecordBatch) -> Result<Self, ReplayError> {
        let has = |name: &str| batch.column_by_name(name).is_some();
        let wrong = |column, problem| ReplayError::Column { column, problem };
        let id = column(batch, "call_id")?.as_fixed_size_binary_opt();
        let client = has("client_name").then(|| {
            let name = Words::of(batch, "client_name")?;
            Words::of(batch, "client_version").map(|version| (name, version))
        });
        let returns = has("given_back").then(|| Returns::of(batch));
        let texts = batch.column_by_name("arguments");
        let lists = batch.column_by_name("redacted");
        Ok(Self {
            call_id: id.ok_or(wrong("call_id", "not a column of ids"))?.clone(),
            session: Words::of(batch, "session")?,
            client: client.transpose()?,
            received_at: has("received_at")
                .then(|| numbers(batch, "received_at"))
                .transpose()?,
            arguments: texts.and_then(|c| c.as_string_opt::<i32>().cloned()),
            redacted: lists.and_then(|c| c.as_list_opt::<i32>().cloned()),
            returns: returns.transpose()?,
        })
    }

    /// The id of a call.
    pub(crate) fn call_id(&self, row: usize) -> [u8; 16] {
        let ids = Some(&self.call_id).filter(|ids| row < ids.len());
        let id = ids.and_then(|ids| ids.value(row).try_into().ok());
        id.unwrap_or_default()
    }

    /// The session of a call.
    pub(crate) fn session(&self, row: usize) -> &str {
        self.session.at(row)
    }

    /// Name and version of the client, where anybody asks for them.
    pub(crate) fn client(&self, row: usize) -> (&str, &str) {
        let client = self.client.as_ref();
        client.map_or(("", ""), |(name, version)| (name.at(row), version.at(row)))
    }

    /// When a call came, where anybody asks for it.
    pub(crate) fn received_at(&self, row: usize) -> Micros {
        let at = self.received_at.as_ref();
        Micros(
            at.and_then(|column| number(column, row))
                .unwrap_or_default(),
        )
    }

    /// The wire arguments of a call, if they were read and are there.
    pub(crate) fn arguments(&self, row: usize) -> Option<&str> {
        let column = self.arguments.as_ref()?;
        (row < column.len() && column.is_valid(row)).then(|| column.value(row))
    }

    /// Whether arguments were read at all.
    pub(crate) fn has_arguments(&self) -> bool {
        self.arguments.is_some()
    }

    /// Where values in the arguments of `row` were replaced.
    pub(crate) fn redacted(&self, row: usize) -> Vec<String> {
        let list = self.redacted.as_ref().filter(|_| self.is_redacted(row));
        let pointers = list.map(|lists| lists.value(row));
        let pointers = pointers
            .as_ref()
            .and_then(|list| list.as_string_opt::<i32>());
        let pointers = pointers.into_iter().flatten().flatten();
        pointers.map(str::to_owned).collect()
    }

    /// Whether values in the arguments of `row` were replaced.
    pub(crate) fn is_redacted(&self, row: usize) -> bool {
        self.redacted.as_ref().is_some_and(|lists| {
            row < lists.len() && lists.is_valid(row) && lists.value_length(row) > 0
        })
    }

    /// Where and when the reservation of a call was given back, if it was.
    pub(crate) fn given_back(&self, row: usize, decided_at: i64) -> Option<(i64, Micros)> {
        let Returns {
            given_back,
            finish_seq,
            finished_at,
        } = self.returns.as_ref()?;
        let is_given_back =
            row < given_back.len() && given_back.is_valid(row) && given_back.value(row);
        let seq = number(finish_seq, row).filter(|_| is_given_back)?;
        Some((seq, Micros(number(finished_at, row).unwrap_or(decided_at))))
    }
}

fn number<T: ArrowPrimitiveType>(column: &PrimitiveArray<T>, row: usize) -> Option<T::Native> {
    (row < column.len() && column.is_valid(row)).then(|| column.value(row))
}

/// A column of numbers.
pub(crate) fn numbers<T: ArrowPrimitiveType>(
    batch: &RecordBatch,
    name: &'static str,
) -> Result<PrimitiveArray<T>, ReplayError> {
    let column = column(batch, name)?.as_primitive_opt::<T>();
    column.cloned().ok_or(ReplayError::Column {
        column: name,
        problem: "not a column of the numbers that it should hold",
    })
}

/// A column of a batch by its name.
pub(crate) fn column<'b>(
    batch: &'b RecordBatch,
    name: &'static str,
) -> Result<&'b ArrayRef, ReplayError> {
    batch.column_by_name(name).ok_or(ReplayError::Column {
        column: name,
        problem: "missing",
    })
}
