//! Functions that speak of the record's own forms.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray as _, FixedSizeBinaryBuilder, ListBuilder, StringViewBuilder,
};
use arrow::datatypes::{DataType, Field};
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf};
use datafusion::scalar::ScalarValue;
use hashbrown::HashMap;

use super::json::{NoPlace, Place, as_json, as_text, keys, shape};
use super::operators::JsonOperators;
use crate::report::uuid_text;

const ID: DataType = DataType::FixedSizeBinary(16);

/// `->` and `->>` as functions, under the names that DuckDB has for them.
pub(super) fn operators() -> JsonOperators {
    let texts = || vec![DataType::Utf8View, DataType::Utf8View];
    JsonOperators {
        json: Arc::new(text("json_extract", texts(), json_extract)),
        text: Arc::new(text("json_extract_string", texts(), json_extract_string)),
    }
}

/// A function that gives text.
fn text(
    name: &str,
    arguments: Vec<DataType>,
    function: fn(&[ArrayRef]) -> Result<ArrayRef>,
) -> ScalarUDF {
    create_udf(
        name,
        arguments,
        DataType::Utf8View,
        Volatility::Immutable,
        by_row(function),
    )
}

/// Every function that a session adds to those of DataFusion.
pub(super) fn all() -> Vec<ScalarUDF> {
    let JsonOperators {
        json: value,
        text: value_text,
    } = operators();
    vec![
        Arc::unwrap_or_clone(value),
        Arc::unwrap_or_clone(value_text),
        text("json", vec![DataType::Utf8View, DataType::Utf8View], json),
        create_udf(
            "json_keys",
            vec![DataType::Utf8View],
            DataType::List(Arc::new(Field::new_list_field(DataType::Utf8View, true))),
            Volatility::Immutable,
            by_row(json_keys),
        ),
        text("json_shape", vec![DataType::Utf8View], json_shape),
        text("uuid", vec![ID], uuid),
        text("hex", vec![ID], hex_digits),
        create_udf(
            "call_id",
            vec![DataType::Utf8View],
            ID,
            Volatility::Immutable,
            by_row(call_id),
        ),
    ]
}

type Implementation = Arc<dyn Fn(&[ColumnarValue]) -> Result<ColumnarValue> + Send + Sync>;

/// A function over arrays as one over columns or scalars: of scalars alone it gives a scalar, so
/// that a constant is computed once and can choose row groups.
fn by_row(function: fn(&[ArrayRef]) -> Result<ArrayRef>) -> Implementation {
    Arc::new(move |values| {
        let arrays = ColumnarValue::values_to_arrays(values)?;
        let answer = function(&arrays)?;
        if values
            .iter()
            .all(|value| matches!(value, ColumnarValue::Scalar(_)))
        {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(
                &answer, 0,
            )?));
        }
        Ok(ColumnarValue::Array(answer))
    })
}

/// `json(text, pointer)`
fn json(arrays: &[ArrayRef]) -> Result<ArrayRef> {
    let [text, pointer] = arrays else {
        return Err(arity("json"));
    };
    at_place("json", text, pointer, str::parse, as_text)
}

/// `json_extract(text, path)`, and `->`
fn json_extract(arrays: &[ArrayRef]) -> Result<ArrayRef> {
    let [text, path] = arrays else {
        return Err(arity("json_extract"));
    };
    at_place("->", text, path, Place::of_operand, as_json)
}

/// `json_extract_string(text, path)`, and `->>`
fn json_extract_string(arrays: &[ArrayRef]) -> Result<ArrayRef> {
    let [text, path] = arrays else {
        return Err(arity("json_extract_string"));
    };
    at_place("->>", text, path, Place::of_operand, as_text)
}

/// The value in each text at the place beside it, in one of its shapes. The place is nearly always a
/// constant, and read once.
fn at_place(
    name: &str,
    texts: &ArrayRef,
    places: &ArrayRef,
    read: fn(&str) -> std::result::Result<Place, NoPlace>,
    shape: fn(&str) -> Option<Cow<'_, str>>,
) -> Result<ArrayRef> {
    let (texts, places) = (texts.as_string_view(), places.as_string_view());
    let mut answer = StringViewBuilder::with_capacity(texts.len());
    let mut last: Option<(&str, Place)> = None;
    let mut known = Known::default();
    for (text, place) in texts.iter().zip(places.iter()) {
        let (Some(text), Some(place)) = (text, place) else {
            answer.append_null();
            continue;
        };
        if last.as_ref().is_none_or(|(of, _)| *of != place) {
            let read = read(place)
                .map_err(|wrong| DataFusionError::Execution(format!("{name}: {wrong}")))?;
            last = Some((place, read));
            known = Known::default();
        }
        let found = known.of(text, || {
            let found = last.as_ref().and_then(|(_, place)| place.find(text));
            found.and_then(shape)
        });
        answer.append_option(found.as_deref());
    }
    Ok(Arc::new(answer.finish()))
}

/// `json_keys(text)`
fn json_keys(arrays: &[ArrayRef]) -> Result<ArrayRef> {
    let [text] = arrays else {
        return Err(arity("json_keys"));
    };
    let mut answer = ListBuilder::new(StringViewBuilder::new());
    let mut known = Known::default();
    for text in text.as_string_view() {
        let keys = text.and_then(|text| known.of(text, || keys(text)));
        for key in keys.iter().flatten() {
            answer.values().append_value(key);
        }
        answer.append(keys.is_some());
    }
    Ok(Arc::new(answer.finish()))
}

/// `json_shape(text)`
fn json_shape(arrays: &[ArrayRef]) -> Result<ArrayRef> {
    let [text] = arrays else {
        return Err(arity("json_shape"));
    };
    let mut answer = StringViewBuilder::new();
    let mut known = Known::default();
    for text in text.as_string_view() {
        answer.append_option(text.and_then(|text| known.of(text, || shape(text))));
    }
    Ok(Arc::new(answer.finish()))
}

/// What texts gave before: agents repeat themselves, and finding a text again is cheaper than reading it.
struct Known<'t, T> {
    found: HashMap<&'t str, Option<T>>,
    asked: usize,
}

impl<T> Default for Known<'_, T> {
    fn default() -> Self {
        Self {
            found: HashMap::new(),
            asked: 0,
        }
    }
}

impl<'t, T: Clone> Known<'t, T> {
    /// What `read` gives for this text. Where texts turn out to be new each time, they are no longer kept.
    fn of(&mut self, text: &'t str, read: impl FnOnce() -> Option<T>) -> Option<T> {
        self.asked += 1;
        if self.asked > 512 && self.found.len() * 2 > self.asked {
            return read();
        }
        self.found.entry(text).or_insert_with(read).clone()
    }
}

/// `uuid(call_id)`
fn uuid(arrays: &[ArrayRef]) -> Result<ArrayRef> {
    bytes_as_text("uuid", arrays, |bytes| {
        <&[u8; 16]>::try_from(bytes).map_or_else(|_| hex::encode(bytes), uuid_text)
    })
}

/// `hex(digest)`
fn hex_digits(arrays: &[ArrayRef]) -> Result<ArrayRef> {
    bytes_as_text("hex", arrays, |bytes| hex::encode(bytes))
}

fn bytes_as_text(
    name: &str,
    arrays: &[ArrayRef],
    text: impl Fn(&[u8]) -> String,
) -> Result<ArrayRef> {
    let [bytes] = arrays else {
        return Err(arity(name));
    };
    let mut answer = StringViewBuilder::new();
    for bytes in bytes.as_fixed_size_binary() {
        answer.append_option(bytes.map(&text));
    }
    Ok(Arc::new(answer.finish()))
}

/// `call_id(uuid)`
fn call_id(arrays: &[ArrayRef]) -> Result<ArrayRef> {
    let [text] = arrays else {
        return Err(arity("call_id"));
    };
    let mut answer = FixedSizeBinaryBuilder::with_capacity(text.len(), 16);
    for text in text.as_string_view() {
        match text.map(|text| hex::decode(text.replace('-', ""))) {
            None => answer.append_null(),
            Some(Ok(bytes)) if bytes.len() == 16 => answer.append_value(&bytes)?,
            Some(_) => {
                return Err(DataFusionError::Execution(format!(
                    "call_id: `{}` is not a UUID",
                    crate::shown(text.unwrap_or_default())
                )));
            }
        }
    }
    Ok(Arc::new(answer.finish()))
}

fn arity(name: &str) -> DataFusionError {
    DataFusionError::Execution(format!("{name}: wrong number of arguments"))
}
