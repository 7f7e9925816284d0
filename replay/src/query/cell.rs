//! One value of an answer, as text for people and as JSON.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "types that the record does not use are shown as arrow shows them"
)]

use arrow::array::{Array, AsArray as _};
use arrow::datatypes::{
    DataType, Float16Type, Float32Type, Float64Type, Int32Type, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use arrow::util::display::array_value_to_string;

use crate::options::moment;
use crate::report::uuid_text;

/// The value as a person reads it, unescaped; nothing where it is null. Times are RFC 3339 in UTC,
/// `call_id` is a UUID, other bytes are hex, lists and structs are JSON.
pub(super) fn text(column: &str, array: &dyn Array, row: usize) -> Option<String> {
    if array.is_null(row) {
        return None;
    }
    match array.data_type() {
        DataType::List(_) | DataType::LargeList(_) | DataType::Struct(_) | DataType::Map(..) => {
            let mut json = String::new();
            write_json(column, array, row, &mut json);
            Some(json)
        }
        _ => Some(scalar(column, array, row)),
    }
}

/// Whether values of this type are numbers, which tables align on the right.
pub(super) fn is_number(data_type: &DataType) -> bool {
    data_type.is_numeric()
}

/// Appends the value as JSON.
pub(super) fn write_json(column: &str, array: &dyn Array, row: usize, json: &mut String) {
    if array.is_null(row) {
        json.push_str("null");
        return;
    }
    match array.data_type() {
        DataType::Dictionary(_, _) => {
            if let Some((values, key)) = dictionary_value(array, row) {
                write_json(column, values.as_ref(), key, json);
            } else {
                json.push_str("null");
            }
        }
        DataType::List(_) => write_list(column, array.as_list::<i32>().value(row).as_ref(), json),
        DataType::LargeList(_) => {
            write_list(column, array.as_list::<i64>().value(row).as_ref(), json);
        }
        DataType::Struct(fields) => {
            json.push('{');
            for (place, (field, values)) in
                fields.iter().zip(array.as_struct().columns()).enumerate()
            {
                if place > 0 {
                    json.push(',');
                }
                push_string(field.name(), json);
                json.push(':');
                write_json(field.name(), values.as_ref(), row, json);
            }
            json.push('}');
        }
        DataType::Boolean => json.push_str(if array.as_boolean().value(row) {
            "true"
        } else {
            "false"
        }),
        data_type if data_type.is_numeric() => {
            let number = scalar(column, array, row);
            // Infinity and NaN are no JSON.
            json.push_str(if is_finite(array, row) {
                &number
            } else {
                "null"
            });
        }
        _ => push_string(&scalar(column, array, row), json),
    }
}

fn write_list(column: &str, values: &dyn Array, json: &mut String) {
    json.push('[');
    for row in 0..values.len() {
        if row > 0 {
            json.push(',');
        }
        write_json(column, values, row, json);
    }
    json.push(']');
}

/// Appends `text` as a JSON string.
pub(super) fn push_string(text: &str, json: &mut String) {
    // A string always serializes.
    json.push_str(&serde_json::to_string(text).unwrap_or_default());
}

fn scalar(column: &str, array: &dyn Array, row: usize) -> String {
    match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().value(row).to_owned(),
        DataType::LargeUtf8 => array.as_string::<i64>().value(row).to_owned(),
        DataType::Utf8View => array.as_string_view().value(row).to_owned(),
        DataType::Dictionary(_, _) => dictionary_value(array, row)
            .filter(|(values, key)| values.is_valid(*key))
            .map(|(values, key)| scalar(column, values.as_ref(), key))
            .unwrap_or_default(),
        DataType::FixedSizeBinary(_) => {
            let bytes = array.as_fixed_size_binary().value(row);
            match <&[u8; 16]>::try_from(bytes) {
                Ok(id) if column == "call_id" => uuid_text(id),
                _ => hex::encode(bytes),
            }
        }
        DataType::Timestamp(unit, _) => moment(match unit {
            TimeUnit::Second => array
                .as_primitive::<TimestampSecondType>()
                .value(row)
                .saturating_mul(1_000_000),
            TimeUnit::Millisecond => array
                .as_primitive::<TimestampMillisecondType>()
                .value(row)
                .saturating_mul(1000),
            TimeUnit::Microsecond => array.as_primitive::<TimestampMicrosecondType>().value(row),
            TimeUnit::Nanosecond => array
                .as_primitive::<TimestampNanosecondType>()
                .value(row)
                .div_euclid(1000),
        }),
        _ => array_value_to_string(array, row).unwrap_or_else(|error| error.to_string()),
    }
}

fn is_finite(array: &dyn Array, row: usize) -> bool {
    match array.data_type() {
        DataType::Float16 => array.as_primitive::<Float16Type>().value(row).is_finite(),
        DataType::Float32 => array.as_primitive::<Float32Type>().value(row).is_finite(),
        DataType::Float64 => array.as_primitive::<Float64Type>().value(row).is_finite(),
        _ => true,
    }
}

/// The dictionary behind a value, and the value's place in it. The record uses 32-bit keys; other
/// keys, which a query may make, are found by their general form.
fn dictionary_value(array: &dyn Array, row: usize) -> Option<(arrow::array::ArrayRef, usize)> {
    if let Some(dictionary) = array.as_dictionary_opt::<Int32Type>() {
        let key = usize::try_from(dictionary.keys().value(row)).ok()?;
        return Some((std::sync::Arc::clone(dictionary.values()), key));
    }
    let dictionary = array.as_any_dictionary_opt()?;
    Some((
        std::sync::Arc::clone(dictionary.values()),
        dictionary.normalized_keys().get(row).copied()?,
    ))
}
