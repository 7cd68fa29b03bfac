//! What a tenant's calls have to say as metadata: a small part of JSON Schema, since metadata is flat.
//!
//! `properties` (each with `type`, `enum`, `maxLength`), `required`, `additionalProperties`. The
//! collector takes no other; what cannot be read here is left out and never refuses a call.

use std::collections::BTreeMap;

use serde_json::Value;

/// The metadata that a tenant asks of its calls.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetadataSchema {
    properties: BTreeMap<String, Property>,
    required: Vec<String>,
    is_closed: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Property {
    kind: Option<Kind>,
    one_of: Option<Vec<Value>>,
    length_max: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    String,
    Number,
    Integer,
    Boolean,
}

impl MetadataSchema {
    /// As the tenant's setting says it.
    #[must_use]
    pub fn read(written: &Value) -> Option<Self> {
        let written = written.as_object()?;
        let properties = written.get("properties").and_then(Value::as_object);
        let properties = properties.into_iter().flatten();
        let required = written.get("required").and_then(Value::as_array);
        let required = required.into_iter().flatten().filter_map(Value::as_str);
        Some(Self {
            properties: properties
                .map(|(name, property)| (name.clone(), Property::read(property)))
                .collect(),
            required: required.map(str::to_owned).collect(),
            is_closed: written.get("additionalProperties") == Some(&Value::Bool(false)),
        })
    }

    /// Why the metadata does not fit; names its own keys only, never a value of the caller's.
    pub fn check(&self, metadata: &BTreeMap<String, Value>) -> Result<(), String> {
        if let Some(missing) = self
            .required
            .iter()
            .find(|name| !metadata.contains_key(*name))
        {
            return Err(format!("The tenant requires `{missing}`."));
        }
        for (name, property) in &self.properties {
            if metadata
                .get(name)
                .is_some_and(|value| !property.takes(value))
            {
                return Err(format!("The tenant does not take this value of `{name}`."));
            }
        }
        let is_known = |name: &String| self.properties.contains_key(name);
        if self.is_closed && !metadata.keys().all(is_known) {
            return Err("The tenant does not take other keys.".to_owned());
        }
        Ok(())
    }
}

impl Property {
    fn read(written: &Value) -> Self {
        let length_max = written.get("maxLength").and_then(Value::as_u64);
        Self {
            kind: written
                .get("type")
                .and_then(Value::as_str)
                .and_then(Kind::read),
            one_of: written.get("enum").and_then(Value::as_array).cloned(),
            length_max: length_max.and_then(|length| usize::try_from(length).ok()),
        }
    }

    fn takes(&self, value: &Value) -> bool {
        let is_short = |length| {
            value
                .as_str()
                .is_none_or(|text| text.chars().count() <= length)
        };
        self.kind.is_none_or(|kind| kind.holds(value))
            && self
                .one_of
                .as_ref()
                .is_none_or(|values| values.contains(value))
            && self.length_max.is_none_or(is_short)
    }
}

impl Kind {
    fn read(name: &str) -> Option<Self> {
        Some(match name {
            "string" => Self::String,
            "number" => Self::Number,
            "integer" => Self::Integer,
            "boolean" => Self::Boolean,
            _ => return None,
        })
    }

    fn holds(self, value: &Value) -> bool {
        match self {
            Self::String => value.is_string(),
            Self::Number => value.is_number(),
            Self::Integer => value.is_i64() || value.is_u64(),
            Self::Boolean => value.is_boolean(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn metadata_is_held_to_what_the_tenant_asks() {
        let schema = MetadataSchema::read(&json!({
            "properties": {
                "env": {"type": "string", "enum": ["prod", "test"]},
                "team": {"type": "string", "maxLength": 3},
                "build": {"type": "integer"},
            },
            "required": ["env"],
            "additionalProperties": false,
        }))
        .unwrap();
        let check = |metadata: Value, fits: bool| {
            let metadata: BTreeMap<String, Value> = serde_json::from_value(metadata).unwrap();
            assert_eq!(schema.check(&metadata).is_ok(), fits, "{metadata:?}");
        };
        check(json!({"env": "prod"}), true);
        check(json!({"env": "prod", "team": "abc", "build": 7}), true);
        check(json!({}), false);
        check(json!({"env": "staging"}), false);
        check(json!({"env": "prod", "team": "abcd"}), false);
        check(json!({"env": "prod", "build": "7"}), false);
        check(json!({"env": "prod", "other": 1}), false);
    }

    #[test]
    fn what_cannot_be_read_asks_nothing() {
        assert_eq!(MetadataSchema::read(&json!("x")), None);
        let schema = MetadataSchema::read(&json!({"properties": {"a": 7}, "required": 7})).unwrap();
        assert!(
            schema
                .check(&BTreeMap::from([("a".to_owned(), json!("x"))]))
                .is_ok()
        );
    }
}
