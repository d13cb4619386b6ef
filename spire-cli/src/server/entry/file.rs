//! Files of entries, as `-data` and `-file` take them.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use spire_api::proto::types;

use crate::error::Error;
use crate::server::client::parse_id;

/// The entries of a file for `-data`.
pub(super) fn entries(json: &[u8]) -> Result<Vec<types::Entry>, Error> {
    let file: Entries = parse(json)?;
    file.entries.into_iter().map(Entry::into_proto).collect()
}

/// The IDs of a file for `-file`.
pub(super) fn ids(json: &[u8]) -> Result<Vec<String>, Error> {
    Ok(parse::<Ids>(json)?.ids)
}

/// Names count in any case, unknown ones are ignored, and null is the same as nothing.
pub(in crate::server) fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, Error> {
    let refuse = |err: serde_json::Error| Error::Refused(format!("failed to parse JSON: {err}"));
    let value = serde_json::from_slice(json).map_err(refuse)?;
    serde_json::from_value(lower_case(value)).map_err(refuse)
}

fn lower_case(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.to_lowercase(), lower_case(value)))
            .collect(),
        Value::Array(items) => items.into_iter().map(lower_case).collect(),
        leaf => leaf,
    }
}

#[derive(Deserialize)]
struct Ids {
    #[serde(default)]
    ids: Vec<String>,
}

#[derive(Deserialize)]
struct Entries {
    #[serde(default)]
    entries: Vec<Entry>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    selectors: Vec<Selector>,
    parent_id: String,
    spiffe_id: String,
    x509_svid_ttl: i32,
    jwt_svid_ttl: i32,
    federates_with: Vec<String>,
    entry_id: String,
    admin: bool,
    downstream: bool,
    store_svid: bool,
    #[serde(rename = "entryexpiry")]
    entry_expiry: i64,
    dns_names: Vec<String>,
    hint: String,
    additional_attributes: Option<Additional>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Selector {
    r#type: String,
    value: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Additional {
    disable_x509_svid_prefetch: bool,
    jwt_svid_include_jti: bool,
}

impl Entry {
    fn into_proto(self) -> Result<types::Entry, Error> {
        let id =
            |what: &str, text: &str| parse_id(text).map_err(|err| Error::Refused(format!("invalid {what}: {err}")));
        Ok(types::Entry {
            id: self.entry_id,
            spiffe_id: Some(id("SPIFFE ID", &self.spiffe_id)?),
            parent_id: Some(id("parent ID", &self.parent_id)?),
            selectors: self
                .selectors
                .into_iter()
                .map(|selector| types::Selector { r#type: selector.r#type, value: selector.value })
                .collect(),
            x509_svid_ttl: self.x509_svid_ttl,
            jwt_svid_ttl: self.jwt_svid_ttl,
            federates_with: self.federates_with,
            admin: self.admin,
            downstream: self.downstream,
            store_svid: self.store_svid,
            expires_at: self.entry_expiry,
            dns_names: self.dns_names,
            hint: self.hint,
            additional_attributes: self.additional_attributes.map(|additional| types::entry::AdditionalAttributes {
                disable_x509_svid_prefetch: additional.disable_x509_svid_prefetch,
                jwt_svid_include_jti: additional.jwt_svid_include_jti,
            }),
            ..types::Entry::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_count_in_any_case_and_unknown_ones_are_ignored() {
        let json = br#"{"Entries": [{"SPIFFE_ID": "spiffe://a/b", "parent_id": "spiffe://a/c", "other": 1,
            "entryExpiry": 7, "selectors": [{"Type": "unix", "value": "uid:1"}], "dns_names": null,
            "additional_attributes": {"jwt_svid_include_jti": true}}]}"#;
        let entries = entries(json).unwrap();
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].spiffe_id.as_ref().unwrap().path, "/b");
        assert_eq!(entries[0].expires_at, 7);
        assert_eq!(entries[0].selectors[0].value, "uid:1");
        assert!(entries[0].additional_attributes.unwrap().jwt_svid_include_jti);
    }

    #[test]
    fn malformed_files_are_refused() {
        assert!(entries(b"{").is_err());
        assert!(entries(br#"{"entries": {}}"#).is_err());
        assert!(entries(br#"{"entries": [{"spiffe_id": "a", "parent_id": "b"}]}"#).is_err());
        assert!(ids(br#"{"ids": [1]}"#).is_err());
        assert_eq!(ids(br#"{"ids": ["a"]}"#).unwrap(), ["a"]);
    }
}
