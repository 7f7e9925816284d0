//! Functions that speak of the record's own forms.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray as _, FixedSizeBinaryBuilder, StringBuilder};
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf};
use datafusion::scalar::ScalarValue;
use weir_policy::Value;

use crate::report::uuid_text;

const ID: DataType = DataType::FixedSizeBinary(16);

/// Every function that a session adds to those of DataFusion.
pub(super) fn all() -> Vec<ScalarUDF> {
    let text = |name, arguments, function: fn(&[ArrayRef]) -> Result<ArrayRef>| {
        create_udf(
            name,
            arguments,
            DataType::Utf8,
            Volatility::Immutable,
            by_row(function),
        )
    };
    vec![
        text("json", vec![DataType::Utf8, DataType::Utf8], json),
        text("uuid", vec![ID], uuid),
        text("hex", vec![ID], hex_digits),
        create_udf(
            "call_id",
            vec![DataType::Utf8],
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
    let (text, pointer) = (text.as_string::<i32>(), pointer.as_string::<i32>());
    let mut answer = StringBuilder::new();
    for (text, pointer) in text.iter().zip(pointer.iter()) {
        match (text, pointer) {
            (Some(text), Some(pointer)) => answer.append_option(value_at(text, pointer)?),
            _ => answer.append_null(),
        }
    }
    Ok(Arc::new(answer.finish()))
}

/// The value at `pointer` in JSON `text`: a string as it reads, anything else as JSON; nothing for
/// null, for what is not there, and for text that is not JSON.
fn value_at(text: &str, pointer: &str) -> Result<Option<String>> {
    if !pointer.is_empty() && !pointer.starts_with('/') {
        return Err(DataFusionError::Execution(format!(
            "json: `{pointer}` is not a JSON pointer: it starts with `/`, as in '/id'"
        )));
    }
    let Ok(root) = Value::parse(text) else {
        return Ok(None);
    };
    let mut value = &root;
    for step in pointer.split('/').skip(1) {
        let step = step.replace("~1", "/").replace("~0", "~");
        let next = match value {
            Value::Object(object) => object.get(&step),
            Value::Array(elements) => step
                .parse::<usize>()
                .ok()
                .and_then(|place| elements.get(place)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        };
        match next {
            Some(next) => value = next,
            None => return Ok(None),
        }
    }
    Ok(match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone().into_owned()),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Some(value.to_json())
        }
    })
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
    let mut answer = StringBuilder::new();
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
    for text in text.as_string::<i32>() {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::value_at;

    #[test]
    fn pointers_walk_objects_and_arrays() {
        let text = r#"{"a/b":{"c":[1,"two",null]},"n":9007199254740993}"#;
        assert_eq!(value_at(text, "/a~1b/c/1").unwrap().as_deref(), Some("two"));
        assert_eq!(
            value_at(text, "/n").unwrap().as_deref(),
            Some("9007199254740993")
        );
        assert_eq!(
            value_at(text, "/a~1b/c").unwrap().as_deref(),
            Some(r#"[1,"two",null]"#)
        );
        assert_eq!(value_at(text, "/a~1b/c/2").unwrap(), None);
        assert_eq!(value_at(text, "/missing/0").unwrap(), None);
        assert_eq!(value_at("not json", "/a").unwrap(), None);
        assert!(value_at(text, "id").is_err());
    }
}
