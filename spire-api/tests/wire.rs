//! Names and numbers on the wire stay what SPIRE 1.15 has, which `wire.txt` lists.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeSet;

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorSet};

#[test]
fn names_and_numbers_are_spires() {
    let mut found = BTreeSet::new();
    for file in FileDescriptorSet::decode(spire_api::proto::DESCRIPTORS).unwrap().file {
        let package = file.package().to_owned();
        // What is beyond SPIRE has packages of its own.
        if !package.starts_with("spire.") || package.starts_with("spire.ext.") {
            continue;
        }
        file.message_type.iter().for_each(|message| list_message(&package, message, &mut found));
        file.enum_type.iter().for_each(|values| list_enum(&package, values, &mut found));
        for service in &file.service {
            for method in &service.method {
                let stream = |yes: bool| if yes { "stream " } else { "" };
                found.insert(format!(
                    "rpc {package}.{}/{} {}{} -> {}{}",
                    service.name(),
                    method.name(),
                    stream(method.client_streaming()),
                    method.input_type(),
                    stream(method.server_streaming()),
                    method.output_type()
                ));
            }
        }
    }
    let expected: BTreeSet<String> = include_str!("wire.txt").lines().map(str::to_owned).collect();
    let missing: Vec<_> = expected.difference(&found).collect();
    let added: Vec<_> = found.difference(&expected).collect();
    assert!(missing.is_empty() && added.is_empty(), "missing: {missing:#?}\nnot in SPIRE: {added:#?}");
}

fn list_message(prefix: &str, message: &DescriptorProto, found: &mut BTreeSet<String>) {
    let name = format!("{prefix}.{}", message.name());
    found.insert(format!("message {name}"));
    for field in &message.field {
        let kind = match field.r#type() {
            Type::Message | Type::Enum => field.type_name().to_owned(),
            other => format!("{other:?}").to_lowercase(),
        };
        let repeated = if field.label() == Label::Repeated { "repeated " } else { "" };
        let oneof = field
            .oneof_index
            .map_or_else(String::new, |i| format!(" of {}", message.oneof_decl[usize::try_from(i).unwrap()].name()));
        found.insert(format!("{name}.{} = {} {repeated}{kind}{oneof}", field.name(), field.number()));
    }
    message.nested_type.iter().for_each(|nested| list_message(&name, nested, found));
    message.enum_type.iter().for_each(|values| list_enum(&name, values, found));
}

fn list_enum(prefix: &str, values: &EnumDescriptorProto, found: &mut BTreeSet<String>) {
    for value in &values.value {
        found.insert(format!("enum {prefix}.{}.{} = {}", values.name(), value.name(), value.number()));
    }
}
