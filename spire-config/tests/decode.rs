//! Blocks decoded, and what is said about files that are wrong.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use spire_config::{Block, Document, Error, Problem, Report};

fn decode<T>(text: &str, decode: impl FnOnce(&Block<'_>) -> T) -> Result<(T, Vec<Problem>), Error> {
    let document = Document::parse("a.conf", text).unwrap();
    let report = Report::new();
    let decoded = decode(&Block::root(&document, &report));
    report.finish(Some(decoded))
}

fn fails(text: &str, reader: impl FnOnce(&Block<'_>)) -> String {
    decode(text, reader).unwrap_err().to_string()
}

fn server(root: &Block<'_>) -> (Option<String>, Option<u16>, Vec<String>) {
    let server = root.block("server").expect("a server block");
    let subject = server.block("ca_subject");
    let countries = subject.map(|subject| subject.strings("country")).unwrap_or_default();
    (server.string("trust_domain"), server.number("bind_port"), countries)
}

#[test]
fn hcl_and_json_in_all_their_forms_say_the_same() {
    for text in [
        r#"server { trust_domain = "td" bind_port = 8081 ca_subject { country = ["US", "DE"] } }"#,
        r#"server = { TRUST_domain = "td", bind_port = "8081", ca_subject = { country = ["US", "DE",], }, }"#,
        r#"server { trust_domain = "x" } server { trust_domain = "td" bind_port = "0x1F91"
           ca_subject { country = ["US"] } ca_subject { country = ["DE"] } }"#,
        r#" {"server": {"trust_domain": "td", "bind_port": "8081", "ca_subject": [{"country": ["US", "DE"]}]}}"#,
        r#"{"server": [{"trust_domain": "td"}, {"bind_port": 8081, "ca_subject": {"country": ["US", "DE"]},}]}"#,
    ] {
        let (decoded, _) = decode(text, server).unwrap_or_else(|err| panic!("{text}: {err}"));
        assert_eq!(decoded, (Some("td".into()), Some(8081), vec!["US".to_owned(), "DE".to_owned()]), "{text}");
    }
}

#[test]
fn every_unknown_key_is_reported_with_its_place_and_path() {
    let text = "server {\n  bind_prt = 1\n  ca_subject {\n    \"zork\" = 2\n  }\n}\nfoo { bar = 1 }\n";
    assert_eq!(
        fails(text, |root| drop(server(root))),
        "a.conf:2:3: server.bind_prt: unknown configuration detected: there is no such key, did you mean bind_port?\n\
         a.conf:4:5: server.ca_subject.zork: unknown configuration detected: there is no such key\n\
         a.conf:7:1: foo: unknown configuration detected: there is no such key"
    );
}

#[test]
fn values_of_another_type_say_what_is_wanted() {
    let reader = |root: &Block<'_>| {
        let _ = (root.boolean("a"), root.strings("b"), root.integer("c"), root.string("d"), root.duration("e"));
        let _ = (root.block("f"), root.number::<u16>("g"));
    };
    let text = "a = \"true\"\nb = \"x\"\nc = 8081.0\nd = []\ne = 3600\nf = [{}]\ng = 70000";
    assert_eq!(
        fails(text, reader),
        "a.conf:1:1: a: must be true or false without quotes, not a string\n\
         a.conf:2:5: b: must be a list of strings in brackets, not a string\n\
         a.conf:3:1: c: must be a whole number, not \"8081.0\"\n\
         a.conf:4:1: d: must be a string, not a list\n\
         a.conf:5:1: e: could not parse e \"3600\": time: missing unit in duration \"3600\", write it as in 1h30m or 500ms\n\
         a.conf:6:5: f: must be a block in braces, not a list\n\
         a.conf:7:1: g: 70000 is out of range"
    );
}

#[test]
fn labelled_blocks_may_be_nested_in_every_way() {
    let reader = |root: &Block<'_>| -> Vec<(String, Option<String>)> {
        let plugins = root.block("plugins").unwrap();
        let key_managers = plugins.labelled("KeyManager");
        let data = |plugin: &Block<'_>| plugin.block("plugin_data").and_then(|data| data.string("path"));
        key_managers.iter().map(|(name, plugin)| (name.name.clone(), data(plugin))).collect()
    };
    for text in [
        r#"plugins { KeyManager "disk" { plugin_data { path = "p" } } KeyManager memory { plugin_data {} } }"#,
        r#"plugins { KeyManager { "disk" { plugin_data { path = "p" } } memory {} } }"#,
        r#"plugins { KeyManager "disk" plugin_data { path = "p" } KeyManager "memory" {} }"#,
        r#"{"plugins": {"KeyManager": {"disk": {"plugin_data": {"path": "p"}}, "memory": {"plugin_data": null}}}}"#,
        r#"{"plugins": {"KeyManager": [{"disk": {"plugin_data": {"path": "p"}}}, {"memory": null}]}}"#,
    ] {
        let (decoded, _) = decode(text, reader).unwrap_or_else(|err| panic!("{text}: {err}"));
        assert_eq!(decoded, [("disk".to_owned(), Some("p".to_owned())), ("memory".to_owned(), None)], "{text}");
    }
}

#[test]
fn lists_of_blocks() {
    let reader = |root: &Block<'_>| -> Vec<Option<String>> {
        root.blocks("Statsd").iter().map(|statsd| statsd.string("address")).collect()
    };
    for text in [
        r#"Statsd = [ { address = "a" }, { address = "b" }, ]"#,
        r#"Statsd { address = "a" } Statsd { address = "b" }"#,
        r#"{"Statsd": [{"address": "a"}, {"address": "b"}]}"#,
    ] {
        assert_eq!(decode(text, reader).unwrap().0, [Some("a".to_owned()), Some("b".to_owned())], "{text}");
    }
}

#[test]
fn a_warning_alone_does_not_fail() {
    let ((), warnings) = decode("old = 1", |root| {
        if root.has("old") {
            root.warning("old", "deprecated: use new");
        }
    })
    .unwrap();
    assert_eq!(warnings[0].to_string(), "a.conf:1:1: old: deprecated: use new");
}
