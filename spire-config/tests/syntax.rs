//! What the two syntaxes accept, and where they stop.

#![expect(clippy::panic, reason = "a test")]

use proptest::prelude::*;
use spire_config::{Document, Error, Item, MAX_DEPTH, ValueKind};

/// The file as JSON-like text, without positions.
fn shown(text: &str) -> String {
    let document = Document::parse("f", text).unwrap_or_else(|err| panic!("{text}: {err}"));
    show_items(&document.items)
}

fn show_items(items: &[Item]) -> String {
    let shown: Vec<_> = items.iter().map(|item| format!("{:?}:{}", item.key.name, show(&item.value.kind))).collect();
    format!("{{{}}}", shown.join(","))
}

fn show(value: &ValueKind) -> String {
    match value {
        ValueKind::String(text) => format!("{text:?}"),
        ValueKind::Number(text) => text.clone(),
        ValueKind::Bool(value) => value.to_string(),
        ValueKind::Null => "null".into(),
        ValueKind::List(values) => {
            format!("[{}]", values.iter().map(|value| show(&value.kind)).collect::<Vec<_>>().join(","))
        }
        ValueKind::Object(items) => show_items(items),
    }
}

#[test]
fn what_hcl_accepts() {
    for (text, expected) in [
        ("", "{}"),
        ("# a\n// b\n/* c\n */ x /* d */ = /* e */ 1 # f", r#"{"x":1}"#),
        ("a=\"x\" b=2, c=true,\r\nd = false", r#"{"a":"x","b":2,"c":true,"d":false}"#),
        ("x = 0x1F y = -1.5e3 z = 0644 w = .5", r#"{"x":0x1F,"y":-1.5e3,"z":0644,"w":.5}"#),
        (r#"x = "\a\b\f\n\r\t\v\\\"\101\x41\u0041\U00000041""#, r#"{"x":"\u{7}\u{8}\u{c}\n\r\t\u{b}\\\"AAAA"}"#),
        (r#"x = "\xc3\xa9""#, r#"{"x":"é"}"#),
        ("x = \"a${\"b\n\" {c}}d\"", r#"{"x":"a${\"b\n\" {c}}d"}"#),
        ("x = <<EOF\n  a\n b\nEOF\ny = 1", r#"{"x":"  a\n b\n","y":1}"#),
        ("x = <<-EOF\n    a\n   b\n  EOF\n", r#"{"x":"  a\n b\n"}"#),
        ("x = <<-EOF\r\n    a\r\n b\r\n  EOF\r\n", r#"{"x":"    a\n b\n"}"#),
        ("x = [1, \"a\", [true,], {y = 2},, ]", r#"{"x":[1,"a",[true],{"y":2}]}"#),
        ("a \"b\" c.d { } a = {}", r#"{"a":{"b":{"c.d":{}}},"a":{}}"#),
        ("\"quoted key\" = 1\n_x-y.z = 2", r#"{"quoted key":1,"_x-y.z":2}"#),
        ("a { b { c = 1 }, d = { e = 2, }, }", r#"{"a":{"b":{"c":1},"d":{"e":2}}}"#),
    ] {
        assert_eq!(shown(text), expected, "{text}");
    }
}

#[test]
fn what_json_accepts() {
    for (text, expected) in [
        ("{}", "{}"),
        (
            " \n{\"a\": [1, -2.5e1, null, true], \"b\": {\"c\": \"\\u00e9\\/\\ud83d\\ude00\"},}\n",
            "{\"a\":[1,-2.5e1,null,true],\"b\":{\"c\":\"é/😀\"}}",
        ),
        (r#"{"a": 1, "a": [2,]}"#, r#"{"a":1,"a":[2]}"#),
    ] {
        assert_eq!(shown(text), expected, "{text}");
    }
}

#[test]
fn where_and_why_it_stops() {
    for (text, expected) in [
        ("\u{feff}a = 1", "1:1: expected a key, found '\\u{feff}'"),
        ("a = 1;", "1:6: expected a key, found ';'"),
        ("a: 1", "1:2: expected = or { after key \"a\", found ':'"),
        ("a = 'x'", "1:5: expected a value, found '\\''"),
        ("a =\n  foo", "2:3: unexpected word \"foo\": texts are written in double quotes"),
        ("a \"b\" = 1", "1:7: a key before = has no labels; a block has no ="),
        ("a = \"x", "1:5: string is not terminated: a closing \" is missing"),
        ("a = \"x\n\"", "1:7: string is not terminated at the end of the line"),
        ("a = \"\\q\"", "1:6: unknown escape sequence in string; a backslash is written as two"),
        ("a = \"\\xff\"", "1:5: string is not UTF-8"),
        ("a = \"${\"", "1:5: string is not terminated: a closing \" is missing"),
        ("a = <<E\nx", "1:5: heredoc is not terminated: a line with E alone is missing"),
        ("\n /* x", "2:2: comment is not closed: a */ is missing"),
        ("a {\n b {\n}", "1:3: block is not closed: a } is missing"),
        ("a = [1 2]", "1:8: expected , or ] in a list, found '2'"),
        ("a = [1", "1:5: list is not closed: a ] is missing"),
        ("a = 12ab", "1:5: \"12ab\" is no number"),
        ("}", "1:1: expected a key, found '}'"),
        ("{\"a\": 1} x", "1:10: expected the end of the file, found 'x'"),
        ("{\"a\" 1}", "1:6: expected : after key \"a\", found '1'"),
        ("{\"a\": 01}", "1:7: \"01\" is no value"),
        ("{\"a\": 1", "1:8: expected , or }, found the end of the file"),
        ("{# a\n}", "1:2: expected a text in double quotes, found '#'"),
    ] {
        let Err(Error::Syntax { position, message, .. }) = Document::parse("f", text) else { panic!("{text}") };
        assert_eq!(format!("{position}: {message}"), expected, "{text}");
    }
}

#[test]
fn nesting_has_an_end() {
    for (open, within) in [("a { ", MAX_DEPTH + 1), ("a = [{ ", MAX_DEPTH)] {
        let text = open.repeat(within);
        let err = Document::parse("f", &text).unwrap_err().to_string();
        assert!(err.contains("more than 64 blocks or lists in one another"), "{err}");
    }
    let json = format!("{{\"a\":{}", "[".repeat(100_000));
    assert!(Document::parse("f", &json).unwrap_err().to_string().contains("in one another"));
}

fn value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        any::<String>().prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(5, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(serde_json::Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..5)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

/// The value in HCL.
fn hcl(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => hcl_string(text),
        serde_json::Value::Array(values) => {
            format!("[{}]", values.iter().map(|value| hcl(value) + ", ").collect::<String>())
        }
        serde_json::Value::Object(members) => format!("{{ {} }}", hcl_items(members)),
        plain => plain.to_string(),
    }
}

fn hcl_items(members: &serde_json::Map<String, serde_json::Value>) -> String {
    members.iter().map(|(key, value)| format!("{} = {} # {key:?}\n", hcl_string(key), hcl(value))).collect()
}

fn hcl_string(text: &str) -> String {
    let escaped = |c: char| match c {
        '"' => "\\\"".to_owned(),
        '\\' => "\\\\".to_owned(),
        '$' => "\\u0024".to_owned(),
        c if c.is_control() => format!("\\U{:08x}", u32::from(c)),
        c => c.to_string(),
    };
    format!("\"{}\"", text.chars().map(escaped).collect::<String>())
}

fn kind_of(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => format!("{text:?}"),
        serde_json::Value::Array(values) => {
            format!("[{}]", values.iter().map(kind_of).collect::<Vec<_>>().join(","))
        }
        serde_json::Value::Object(members) => {
            let members: Vec<_> = members.iter().map(|(key, value)| format!("{key:?}:{}", kind_of(value))).collect();
            format!("{{{}}}", members.join(","))
        }
        plain => plain.to_string(),
    }
}

proptest! {
    #[test]
    fn what_is_printed_is_read_back(value in value()) {
        let members: serde_json::Map<_, _> = [("root".to_owned(), value)].into_iter().collect();
        let expected = kind_of(&serde_json::Value::Object(members.clone()));
        prop_assert_eq!(&shown(&hcl_items(&members)), &expected);
        prop_assert_eq!(&shown(&serde_json::Value::Object(members).to_string()), &expected);
    }

    #[test]
    fn nothing_panics(text in any::<String>()) {
        let _ = Document::parse("f", &text);
    }

    #[test]
    fn nothing_near_the_syntax_panics(
        pieces in prop::collection::vec(prop::sample::select(vec![
            "a", "\"b\"", "{", "}", "[", "]", "=", ",", "\n", "1", "-", "0x", "\"", "\\", "\\u12", "\\7", "${", "$", "}",
            "<<E\n", "<<-E\n", "E\n", "#", "//", "/*", "*/", "true", "null", ":", "é", "\r\n", " ",
        ]), 0..40),
    ) {
        let text = pieces.concat();
        let _ = Document::parse("f", &text);
        let _ = Document::parse("f", &format!("{{{text}"));
        let _ = spire_config::expand_env(&text, |name| Some(name.to_owned()));
        let _ = spire_config::parse_duration(&text);
    }
}
