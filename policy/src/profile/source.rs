//! The profile document, as it is written and as it is kept inside a resolver.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::schema::SchemaSource;
use crate::Risk;

/// The document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProfileSource {
    pub(crate) profile: String,
    /// What the paths of the hatch may begin with.
    #[serde(default)]
    pub(crate) prefix: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) dispatch: Option<DispatchSource>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hatch: Option<HatchSource>,
    pub(crate) operations: BTreeMap<String, OperationSource>,
}

/// The wire tool that takes operations as an argument.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DispatchSource {
    pub(crate) tool: String,
    pub(crate) operation: String,
    pub(crate) arguments: String,
    pub(crate) parameters: BTreeMap<String, SchemaSource>,
}

/// The operation that takes a method, a path and a body; pointers into its arguments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HatchSource {
    pub(crate) tool: String,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) body: String,
}

/// One operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OperationSource {
    pub(crate) category: String,
    #[serde(with = "risk")]
    pub(crate) class: Risk,
    pub(crate) parameters: BTreeMap<String, SchemaSource>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) required: Vec<String>,
    /// The requests by which the hatch does the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) requests: Vec<RequestSource>,
    /// The operation whose request cannot be told from this one's; the hatch then stands for that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) same_request_as: Option<String>,
}

/// A request, with parameters in braces where the path holds them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RequestSource {
    pub(crate) method: String,
    pub(crate) path: String,
    /// Where the body is not simply an object of parameters.
    #[serde(default, skip_serializing_if = "BodySource::is_plain")]
    pub(crate) body: BodySource,
}

/// How a request's body becomes parameters.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BodySource {
    /// The whole body is this parameter.
    #[serde(default, rename = "as", skip_serializing_if = "Option::is_none")]
    pub(crate) whole: Option<String>,
    /// Members that have another name as a parameter.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) rename: BTreeMap<String, String>,
    /// Members that are objects whose own members are the parameters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) lift: Vec<String>,
}

impl BodySource {
    fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

mod risk {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::Risk;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
    pub(super) fn serialize<S: Serializer>(risk: &Risk, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(risk.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Risk, D::Error> {
        let word = String::deserialize(from)?;
        Risk::ALL
            .into_iter()
            .find(|risk| risk.as_str() == word)
            .ok_or_else(|| D::Error::custom(format!("unknown class `{word}`")))
    }
}
