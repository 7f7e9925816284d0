//! The rows of a batch as replay reads them: typed columns in, one [`Row`] at a time out.

use arrow::array::{
    Array, AsArray as _, BooleanArray, FixedSizeBinaryArray, Int64Array, ListArray, RecordBatch,
    StringArray,
};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use weir_policy::Needs;

use crate::ReplayError;
use crate::symbols::{Symbol, Symbols, Via, Vias, Words, column};

/// What replay always reads.
const COLUMNS: [&str; 18] = [
    "seq",
    "node",
    "direction",
    "call_id",
    "decided_at",
    "server",
    "grant",
    "session",
    "wire_tool",
    "tool",
    "verdict",
    "reason",
    "rule",
    "via",
    "policy_digest",
    "resolver_digest",
    "engine",
    "given_back",
];

/// What it reads besides only if anything asks for it: a column left out is a tenth of a replay saved.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Columns {
    /// What the rules of any policy read.
    pub(crate) needs: Needs,
    /// Whether any reservation was returned, and so its place and time count.
    pub(crate) returns: bool,
}

impl Columns {
    /// The columns to read from the record.
    pub(crate) fn names(self) -> Vec<&'static str> {
        let optional: [(bool, &[&'static str]); 4] = [
            (self.needs.arguments, &["arguments", "redacted"]),
            (self.needs.client, &["client_name", "client_version"]),
            (self.needs.time, &["received_at"]),
            (self.returns, &["finish_seq", "finished_at"]),
        ];
        let read = optional.into_iter().filter(|(asked, _)| *asked);
        let optional = read.flat_map(|(_, names)| names.iter().copied());
        COLUMNS.into_iter().chain(optional).collect()
    }

    /// Whether a policy can be asked about what is read.
    pub(crate) fn serve(self, needs: Needs) -> bool {
        self.needs.or(needs) == self.needs
    }
}

/// One row, its words as symbols.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) seq: i64,
    pub(crate) finish_seq: Option<i64>,
    pub(crate) node: Symbol,
    pub(crate) direction: Symbol,
    pub(crate) decided_at: i64,
    pub(crate) received_at: i64,
    pub(crate) finished_at: Option<i64>,
    pub(crate) server: Symbol,
    pub(crate) grant: Symbol,
    pub(crate) session: Symbol,
    pub(crate) client_name: Symbol,
    pub(crate) client_version: Symbol,
    pub(crate) wire_tool: Symbol,
    pub(crate) tool: Symbol,
    pub(crate) verdict: Symbol,
    pub(crate) reason: Symbol,
    pub(crate) rule: Symbol,
    pub(crate) via: Via,
    pub(crate) policy: Symbol,
    pub(crate) resolver: Symbol,
    pub(crate) engine: Symbol,
    pub(crate) given_back: bool,
}

/// The batch at hand.
pub(crate) struct Rows {
    len: usize,
    seq: Numbers,
    finish_seq: Numbers,
    decided_at: Numbers,
    received_at: Numbers,
    finished_at: Numbers,
    given_back: Option<BooleanArray>,
    call_id: Option<FixedSizeBinaryArray>,
    arguments: Option<StringArray>,
    redacted: Option<ListArray>,
    words: Box<[Words; 15]>,
    pub(crate) vias: Vias,
}

impl Rows {
    pub(crate) fn new() -> Self {
        Self {
            len: 0,
            seq: Numbers::default(),
            finish_seq: Numbers::default(),
            decided_at: Numbers::default(),
            received_at: Numbers::default(),
            finished_at: Numbers::default(),
            given_back: None,
            call_id: None,
            arguments: None,
            redacted: None,
            words: Box::new(
                [
                    "node",
                    "direction",
                    "server",
                    "grant",
                    "session",
                    "client_name",
                    "client_version",
                    "wire_tool",
                    "tool",
                    "verdict",
                    "reason",
                    "rule",
                    "policy_digest",
                    "resolver_digest",
                    "engine",
                ]
                .map(Words::of),
            ),
            vias: Vias::new(),
        }
    }

    /// Turns to the next batch.
    pub(crate) fn load(
        &mut self,
        batch: &RecordBatch,
        symbols: &mut Symbols,
    ) -> Result<(), ReplayError> {
        for name in COLUMNS {
            column(batch, name)?;
        }
        self.len = batch.num_rows();
        self.seq = Numbers::int64(batch, "seq")?;
        self.finish_seq = Numbers::int64(batch, "finish_seq")?;
        self.decided_at = Numbers::time(batch, "decided_at")?;
        self.received_at = Numbers::time(batch, "received_at")?;
        self.finished_at = Numbers::time(batch, "finished_at")?;
        self.given_back = column(batch, "given_back")?.as_boolean_opt().cloned();
        self.call_id = column(batch, "call_id")?
            .as_fixed_size_binary_opt()
            .cloned();
        self.arguments = batch
            .column_by_name("arguments")
            .and_then(|c| c.as_string_opt::<i32>().cloned());
        self.redacted = batch
            .column_by_name("redacted")
            .and_then(|c| c.as_list_opt::<i32>().cloned());
        for words in self.words.iter_mut() {
            words.load(batch, symbols)?;
        }
        self.vias.load(batch, symbols)
    }

    /// How many rows the batch has.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// One row of the batch.
    #[inline]
    pub(crate) fn at(&mut self, row: usize, symbols: &mut Symbols) -> Row {
        let [
            node,
            direction,
            server,
            grant,
            session,
            client_name,
            client_version,
            wire_tool,
            tool,
            verdict,
            reason,
            rule,
            policy,
            resolver,
            engine,
        ] = &mut *self.words;
        Row {
            seq: self.seq.at(row).unwrap_or_default(),
            finish_seq: self.finish_seq.at(row),
            node: node.at(row, symbols),
            direction: direction.at(row, symbols),
            decided_at: self.decided_at.at(row).unwrap_or_default(),
            received_at: self.received_at.at(row).unwrap_or_default(),
            finished_at: self.finished_at.at(row),
            server: server.at(row, symbols),
            grant: grant.at(row, symbols),
            session: session.at(row, symbols),
            client_name: client_name.at(row, symbols),
            client_version: client_version.at(row, symbols),
            wire_tool: wire_tool.at(row, symbols),
            tool: tool.at(row, symbols),
            verdict: verdict.at(row, symbols),
            reason: reason.at(row, symbols),
            rule: rule.at(row, symbols),
            via: self.vias.at(row, symbols),
            policy: policy.at(row, symbols),
            resolver: resolver.at(row, symbols),
            engine: engine.at(row, symbols),
            given_back: self.given_back.as_ref().is_some_and(|column| {
                row < column.len() && column.is_valid(row) && column.value(row)
            }),
        }
    }

    /// The id of the call in `row`.
    pub(crate) fn call_id(&self, row: usize) -> [u8; 16] {
        self.call_id
            .as_ref()
            .filter(|ids| row < ids.len())
            .and_then(|ids| ids.value(row).try_into().ok())
            .unwrap_or_default()
    }

    /// The wire arguments of the call in `row`, if they were read and are there.
    pub(crate) fn arguments(&self, row: usize) -> Option<&str> {
        let column = self.arguments.as_ref()?;
        (row < column.len() && column.is_valid(row)).then(|| column.value(row))
    }

    /// Whether values in the arguments of `row` were replaced.
    pub(crate) fn is_redacted(&self, row: usize) -> bool {
        self.redacted.as_ref().is_some_and(|lists| {
            row < lists.len() && lists.is_valid(row) && lists.value_length(row) > 0
        })
    }
}

/// A column of whole numbers: its values, and which of them are there.
#[derive(Default)]
struct Numbers {
    values: ScalarBuffer<i64>,
    nulls: Option<NullBuffer>,
}

impl Numbers {
    fn int64(batch: &RecordBatch, name: &'static str) -> Result<Self, ReplayError> {
        let wrong = ReplayError::Column {
            column: name,
            problem: "not a column of 64-bit numbers",
        };
        let Some(column) = batch.column_by_name(name) else {
            return Ok(Self::default());
        };
        let column: &Int64Array = column.as_primitive_opt::<Int64Type>().ok_or(wrong)?;
        Ok(Self {
            values: column.values().clone(),
            nulls: column.nulls().cloned(),
        })
    }

    fn time(batch: &RecordBatch, name: &'static str) -> Result<Self, ReplayError> {
        let wrong = ReplayError::Column {
            column: name,
            problem: "not a column of microseconds",
        };
        let Some(column) = batch.column_by_name(name) else {
            return Ok(Self::default());
        };
        let column = column
            .as_primitive_opt::<TimestampMicrosecondType>()
            .ok_or(wrong)?;
        Ok(Self {
            values: column.values().clone(),
            nulls: column.nulls().cloned(),
        })
    }

    #[inline]
    fn at(&self, row: usize) -> Option<i64> {
        if self
            .nulls
            .as_ref()
            .is_some_and(|nulls| row >= nulls.len() || nulls.is_null(row))
        {
            return None;
        }
        self.values.get(row).copied()
    }
}
