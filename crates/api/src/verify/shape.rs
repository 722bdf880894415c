//! Whether an object has the shape of the CRD's schema: fields of the right type, none missing.

use serde_json::Value;

use crate::crd;

/// Every place where `object` is not of the schema's types, one sentence each.
pub(super) fn misfits(object: &Value) -> Vec<String> {
    let mut misfits = Vec::new();
    metadata(object, &mut misfits);
    // A CRD that cannot be generated is caught by a test.
    let schema = crd::definition().ok().and_then(|crd| {
        let crd = serde_json::to_value(crd).ok()?;
        crd.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec").cloned()
    });
    match (object.get("spec"), schema) {
        (None, _) => misfits.push("spec: is missing; say what is scaled, by what, and how far".to_owned()),
        (Some(spec), Some(schema)) => compare("spec", spec, &schema, &mut misfits),
        _ => {}
    }
    misfits
}

/// Kubernetes takes nothing but text in annotations and labels.
fn metadata(object: &Value, misfits: &mut Vec<String>) {
    for list in ["annotations", "labels"] {
        let entries = object.pointer(&format!("/metadata/{list}")).and_then(Value::as_object);
        for (key, value) in entries.into_iter().flatten().filter(|(_, value)| !value.is_string()) {
            misfits.push(format!("metadata.{list}.{key}: {}", wrong("string", value)));
        }
    }
}

fn compare(path: &str, value: &Value, schema: &Value, misfits: &mut Vec<String>) {
    let wanted = schema.get("type").and_then(Value::as_str).unwrap_or_default();
    let fits = match wanted {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64(),
        "number" => value.is_number(),
        _ => true,
    };
    if !fits {
        misfits.push(format!("{path}: {}", wrong(wanted, value)));
        return;
    }
    let required = schema.get("required").and_then(Value::as_array);
    for field in required.into_iter().flatten().filter_map(Value::as_str) {
        // An explicit null is dropped by the API server.
        if value.get(field).is_none_or(Value::is_null) {
            misfits.push(format!("{path}.{field}: is missing{}", what_for(field)));
        }
    }
    if let Some(fields) = value.as_object() {
        for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
            if let Some(schema) = schema.pointer(&format!("/properties/{name}")) {
                compare(&format!("{path}.{name}"), value, schema, misfits);
            }
        }
    }
    if let (Some(items), Some(schema)) = (value.as_array(), schema.get("items")) {
        for (at, item) in items.iter().enumerate() {
            compare(&format!("{path}[{at}]"), item, schema, misfits);
        }
    }
    let int32 = schema.get("format").and_then(Value::as_str) == Some("int32");
    if let Some(number) = value.as_i64().filter(|number| int32 && i32::try_from(*number).is_err()) {
        misfits.push(format!("{path}: {number} is out of range; write at most {}", i32::MAX));
    }
}

fn what_for(field: &str) -> &'static str {
    match field {
        "maxReplicas" => "; say how many replicas there may be at most",
        "scaleTargetRef" => "; name what is scaled: apiVersion, kind and name",
        "scalingStrategy" => "; write HPA, KPA or APA",
        _ => "",
    }
}

/// What was found, and how to write what is wanted.
fn wrong(wanted: &str, value: &Value) -> String {
    let found = match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => format!("the boolean {value}"),
        Value::Number(value) => format!("the number {value}"),
        Value::String(value) => format!("the text \"{value}\""),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a mapping".to_owned(),
    };
    let (noun, advice) = match (wanted, value) {
        ("string", Value::Bool(_) | Value::Number(_)) => ("text", format!("; put it in quotes: \"{value}\"")),
        ("integer", Value::String(text)) if text.trim().parse::<i64>().is_ok() => {
            ("a whole number", format!("; write {} without quotes", text.trim()))
        }
        ("string", _) => ("text", String::new()),
        ("integer", _) => ("a whole number", String::new()),
        ("array", _) => ("a list", "; begin each entry with \"- \"".to_owned()),
        ("object", _) => ("a mapping of fields", String::new()),
        (other, _) => (other, String::new()),
    };
    format!("must be {noun}, but is {found}{advice}")
}
