//! Messages as SPIRE prints them in JSON: proto names, unset fields shown, absent messages left out, keys sorted.

use std::collections::BTreeMap;

use prost::{Message, Name};
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde::Serialize;
use serde_json::Value;

use crate::error::Error;

/// One line without its end.
pub(crate) fn of_message<M: Message + Name>(message: &M) -> Result<String, Error> {
    Ok(text(&sorted(value(message)?)))
}

/// One field of a message, on one line without its end.
pub(crate) fn field<M: Message + Name>(message: &M, name: &str) -> Result<String, Error> {
    let mut value = value(message)?;
    Ok(text(&sorted(value.get_mut(name).map(Value::take).unwrap_or_default())))
}

/// Several messages as one list, on one line without its end.
pub(crate) fn of_values(values: Vec<Value>) -> String {
    text(&values.into_iter().map(sorted).collect::<Vec<_>>())
}

/// A value with Go's escapes of what HTML would interpret.
pub(crate) fn text(value: &impl Serialize) -> String {
    // Outside of strings none of these occurs in JSON.
    let text = serde_json::to_string(value).unwrap_or_default();
    [("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026"), ("\u{2028}", "\\u2028"), ("\u{2029}", "\\u2029")]
        .iter()
        .fold(text, |text, (from, to)| text.replace(from, to))
}

/// A message as JSON, with the absent fields still in it.
pub(crate) fn value<M: Message + Name>(message: &M) -> Result<Value, Error> {
    let fail = |err: &dyn std::error::Error| Error::Refused(format!("failed to print {}: {err}", M::full_name()));
    let dynamic = [spire_api::proto::DESCRIPTORS, workload_api::proto::DESCRIPTORS].iter().find_map(|descriptors| {
        let descriptor = DescriptorPool::decode(*descriptors).ok()?.get_message_by_name(&M::full_name())?;
        DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice()).ok()
    });
    let dynamic =
        dynamic.ok_or_else(|| Error::Refused(format!("failed to print {}: no such message", M::full_name())))?;
    let options = SerializeOptions::new().use_proto_field_name(true).skip_default_fields(false);
    dynamic.serialize_with_options(serde_json::value::Serializer, &options).map_err(|err| fail(&err))
}

/// The same value without nulls, its keys in order at every level.
fn sorted(value: Value) -> Sorted {
    match value {
        Value::Object(fields) => Sorted::Object(
            fields.into_iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| (key, sorted(value))).collect(),
        ),
        Value::Array(items) => Sorted::Array(items.into_iter().filter(|item| !item.is_null()).map(sorted).collect()),
        Value::Number(number) => Sorted::Leaf(whole(&number).map_or(Value::Number(number), Value::from)),
        leaf => Sorted::Leaf(leaf),
    }
}

/// A number of protobuf's `Struct`, all of which are doubles, is printed as what it is.
#[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
fn whole(number: &serde_json::Number) -> Option<i64> {
    let double = number.as_f64().filter(|_| number.is_f64())?;
    (double.fract() == 0.0 && double.abs() < MAX_WHOLE).then_some(double as i64)
}

/// Below this every whole number is a double.
const MAX_WHOLE: f64 = 9_007_199_254_740_992.0;

/// serde_json keeps keys in order of insertion when any crate of the program asks it to.
#[derive(Serialize)]
#[serde(untagged)]
enum Sorted {
    Object(BTreeMap<String, Self>),
    Array(Vec<Self>),
    Leaf(Value),
}
