//! Settings of a tenant: which there are, and what each takes.

use serde_json::{Map, Value};

use crate::api::keys::{STALE_DAYS, one_of};
use crate::config::{RETENTION_DAYS_MAX, RETENTION_DAYS_MIN};
use crate::error::ApiError;

/// Most bytes of a metadata schema.
const SCHEMA_BYTES_MAX: usize = 16 * 1024;
/// Members that a metadata schema may have, and those of one property.
const SCHEMA_MEMBERS: [&str; 4] = ["type", "properties", "required", "additionalProperties"];
const PROPERTY_MEMBERS: [&str; 4] = ["type", "enum", "maxLength", "description"];
const PROPERTY_TYPES: [&str; 4] = ["string", "number", "integer", "boolean"];

/// Entries of a list, and bytes of one, at most.
const ENTRIES_MAX: usize = 256;
const ENTRY_BYTES_MAX: usize = 256;

/// What a setting takes.
enum Takes {
    /// One of these texts; the first is what holds when it is not set.
    OneOf(&'static [&'static str]),
    /// A whole number of days.
    Days,
    /// Days that events are kept, as a number or its text.
    RetentionDays,
    /// A list of names and patterns.
    List,
    /// A whole number from 0.
    Count,
    /// A JSON Schema of flat metadata.
    MetadataSchema,
}

const SETTINGS: [(&str, Takes); 13] = [
    ("agents_max", Takes::Count),
    ("allowed_models", Takes::List),
    ("allowed_tools", Takes::List),
    ("allowed_upstreams", Takes::List),
    ("metadata_schema", Takes::MetadataSchema),
    ("on_downstream_gone", Takes::OneOf(&["cancel", "drain"])),
    ("on_unrecordable", Takes::OneOf(&["allow", "refuse"])),
    ("retention_days", Takes::RetentionDays),
    ("spool_sync", Takes::OneOf(&["interval", "before_upstream"])),
    ("stale_after_days", Takes::Days),
    ("stream_usage", Takes::OneOf(&["ask", "untouched"])),
    ("suspend_streams", Takes::OneOf(&["cut", "finish"])),
    ("unpriced_models", Takes::OneOf(&["allow", "refuse"])),
];

/// Sets what is known and has a known value; null takes a setting away.
pub(crate) fn merge(
    settings: &mut Map<String, Value>,
    asked: &Map<String, Value>,
) -> Result<(), ApiError> {
    for (name, value) in asked {
        let field = format!("settings.{name}");
        let Some((_, takes)) = SETTINGS.iter().find(|(known, _)| known == name) else {
            return Err(ApiError::invalid(&field, "there is no such setting"));
        };
        if value.is_null() {
            settings.remove(name);
            continue;
        }
        takes.check(&field, value)?;
        settings.insert(name.clone(), value.clone());
    }
    Ok(())
}

impl Takes {
    fn check(&self, field: &str, value: &Value) -> Result<(), ApiError> {
        match self {
            Self::OneOf(values) => match value.as_str() {
                Some(text) => one_of(field, text, values),
                None => Err(ApiError::invalid(field, "a text")),
            },
            Self::Days => {
                let days = value.as_i64().and_then(|days| i32::try_from(days).ok());
                match days.is_some_and(|days| STALE_DAYS.contains(&days)) {
                    true => Ok(()),
                    false => Err(ApiError::invalid(field, "a number between 1 and 3650")),
                }
            }
            Self::RetentionDays => {
                let days = match value {
                    Value::String(text) => text.parse().ok(),
                    _ => value.as_u64(),
                };
                let bounds = u64::from(RETENTION_DAYS_MIN)..=u64::from(RETENTION_DAYS_MAX);
                match days.is_some_and(|days| bounds.contains(&days)) {
                    true => Ok(()),
                    false => Err(ApiError::invalid(field, "days between 35 and 36500")),
                }
            }
            Self::List => match is_list(value) {
                true => Ok(()),
                false => Err(ApiError::invalid(field, "a list of at most 256 names")),
            },
            Self::Count => match value
                .as_u64()
                .is_some_and(|count| u32::try_from(count).is_ok())
            {
                true => Ok(()),
                false => Err(ApiError::invalid(field, "a whole number from 0")),
            },
            Self::MetadataSchema => check_schema(value).map_err(|why| {
                ApiError::invalid(field, format!("a JSON Schema of flat metadata: {why}"))
            }),
        }
    }
}

/// Names and patterns, none of them empty.
fn is_list(value: &Value) -> bool {
    let is_entry = |entry: &Value| {
        entry.as_str().is_some_and(|text| {
            !text.is_empty() && text.len() <= ENTRY_BYTES_MAX && !text.contains('\0')
        })
    };
    let entries = value.as_array();
    entries.is_some_and(|list| list.len() <= ENTRIES_MAX && list.iter().all(is_entry))
}

/// What the proxies understand, and no more: a word they skip would seem to hold.
fn check_schema(schema: &Value) -> Result<(), &'static str> {
    let members = schema.as_object().ok_or("an object")?;
    if schema.to_string().len() > SCHEMA_BYTES_MAX {
        return Err("at most 16 KiB");
    }
    if !members
        .keys()
        .all(|name| SCHEMA_MEMBERS.contains(&name.as_str()))
    {
        return Err("of type, properties, required and additionalProperties");
    }
    if members.get("type").is_some_and(|kind| kind != "object") {
        return Err("type is object");
    }
    if members
        .get("additionalProperties")
        .is_some_and(|value| !value.is_boolean())
    {
        return Err("additionalProperties is true or false");
    }
    let is_names = |value: &Value| {
        value
            .as_array()
            .is_some_and(|names| names.iter().all(Value::is_string))
    };
    if members
        .get("required")
        .is_some_and(|value| !is_names(value))
    {
        return Err("required is a list of names");
    }
    match members.get("properties") {
        None => Ok(()),
        Some(Value::Object(properties)) => properties.values().try_for_each(check_property),
        Some(_) => Err("properties is an object"),
    }
}

fn check_property(property: &Value) -> Result<(), &'static str> {
    let members = property.as_object().ok_or("a property is an object")?;
    let is_known = |name: &String| PROPERTY_MEMBERS.contains(&name.as_str());
    let is_scalar = |value: &Value| !value.is_array() && !value.is_object();
    let holds = |name: &str, check: &dyn Fn(&Value) -> bool| members.get(name).is_none_or(check);
    let is_type = |value: &Value| {
        value
            .as_str()
            .is_some_and(|kind| PROPERTY_TYPES.contains(&kind))
    };
    let is_enum = |value: &Value| {
        let values = value.as_array();
        values.is_some_and(|values| !values.is_empty() && values.iter().all(is_scalar))
    };
    match members.keys().all(is_known)
        && holds("type", &is_type)
        && holds("enum", &is_enum)
        && holds("maxLength", &Value::is_u64)
        && holds("description", &Value::is_string)
    {
        true => Ok(()),
        false => Err("a property has type (string, number, integer, boolean), enum, maxLength"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn merged(asked: &Value) -> Result<Value, String> {
        let mut settings = Map::new();
        settings.insert("spool_sync".into(), "before_upstream".into());
        merge(&mut settings, asked.as_object().unwrap())
            .map_err(|error| error.field.unwrap_or_default())?;
        Ok(Value::Object(settings))
    }

    #[test]
    fn settings_are_merged_and_checked() {
        assert_eq!(
            merged(&json!({"on_unrecordable": "refuse", "stale_after_days": 30})),
            Ok(
                json!({"spool_sync": "before_upstream", "on_unrecordable": "refuse", "stale_after_days": 30})
            )
        );
        assert_eq!(merged(&json!({"spool_sync": null})), Ok(json!({})));
        let refused = |asked: &Value, field: &str| assert_eq!(merged(asked).unwrap_err(), field);
        refused(
            &json!({"on_unrecordabel": "refuse"}),
            "settings.on_unrecordabel",
        );
        refused(
            &json!({"on_unrecordable": "maybe"}),
            "settings.on_unrecordable",
        );
        refused(
            &json!({"on_unrecordable": true}),
            "settings.on_unrecordable",
        );
        for days in [json!(0), json!("30"), json!(1.5), json!(9_999_999_999_i64)] {
            refused(
                &json!({"stale_after_days": days}),
                "settings.stale_after_days",
            );
        }
    }

    #[test]
    fn a_metadata_schema_is_what_the_proxies_understand() {
        let check = |schema: Value, is_fine: bool| {
            assert_eq!(merged(&json!({"metadata_schema": schema})).is_ok(), is_fine);
        };
        check(
            json!({"properties": {"env": {"type": "string", "enum": ["a"]}}, "required": ["env"], "additionalProperties": false}),
            true,
        );
        check(json!({}), true);
        check(json!([]), false);
        check(json!({"patternProperties": {}}), false);
        check(json!({"properties": {"env": {"type": "object"}}}), false);
        check(json!({"properties": {"env": {"pattern": "x"}}}), false);
        check(json!({"properties": {"env": {"enum": [[]]}}}), false);
        check(json!({"required": [1]}), false);
    }
}
