//! Claims between JSON and protobuf's `Struct`.

use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};
use serde_json::{Map, Value as Json};

/// All numbers become doubles: whole ones lose their type, and those beyond 2^53 their last digits.
pub(crate) fn to_struct(claims: Map<String, Json>) -> Struct {
    Struct { fields: claims.into_iter().map(|(name, value)| (name, to_value(value))).collect() }
}

fn to_value(json: Json) -> Value {
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(value) => Kind::BoolValue(value),
        Json::Number(value) => Kind::NumberValue(value.as_f64().unwrap_or(f64::NAN)),
        Json::String(value) => Kind::StringValue(value),
        Json::Array(values) => Kind::ListValue(ListValue { values: values.into_iter().map(to_value).collect() }),
        Json::Object(members) => Kind::StructValue(to_struct(members)),
    };
    Value { kind: Some(kind) }
}

/// Whole numbers become integers again.
pub(crate) fn from_struct(claims: Struct) -> Map<String, Json> {
    claims.fields.into_iter().map(|(name, value)| (name, from_value(value))).collect()
}

fn from_value(value: Value) -> Json {
    match value.kind {
        None | Some(Kind::NullValue(_)) => Json::Null,
        Some(Kind::BoolValue(value)) => value.into(),
        Some(Kind::NumberValue(value)) => from_number(value),
        Some(Kind::StringValue(value)) => value.into(),
        Some(Kind::ListValue(list)) => list.values.into_iter().map(from_value).collect(),
        Some(Kind::StructValue(members)) => Json::Object(from_struct(members)),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
fn from_number(value: f64) -> Json {
    if value.fract() == 0.0 && value.abs() <= MAX_WHOLE { (value as i64).into() } else { value.into() }
}

/// Up to here every whole number is a double.
const MAX_WHOLE: f64 = 9_007_199_254_740_992.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_go_both_ways() {
        let claims = serde_json::json!({
            "sub": "spiffe://example.org/a", "aud": ["a", "b"], "exp": 1_800_000_000, "half": 0.5, "yes": true,
            "nothing": null, "deep": {"er": [{}]},
        });
        let Json::Object(claims) = claims else { unreachable!() };
        assert_eq!(from_struct(to_struct(claims.clone())), claims);
    }
}
