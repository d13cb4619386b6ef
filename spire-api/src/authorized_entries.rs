//! Answers with an agent's entries, of which a server may hold parts encoded already.
//!
//! On the wire they are what `entry.proto` says, and to whoever receives one it looks as generated code would: `encoded`
//! is empty there. A sender puts fields into `encoded` that it has encoded before, so that an answer to an agent whose
//! entries have not changed is one copy of bytes.

use bytes::{Buf, BufMut, Bytes};
use prost::DecodeError;
use prost::encoding::{DecodeContext, WireType, bool, message, skip_field};

use crate::proto::entry::EntryRevision;
use crate::proto::types;

/// `spire.api.server.entry.v1.GetAuthorizedEntriesResponse`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GetAuthorizedEntriesResponse {
    /// The entries.
    pub entries: Vec<types::Entry>,
    /// Further fields, encoded.
    pub encoded: Bytes,
}

impl prost::Message for GetAuthorizedEntriesResponse {
    fn encode_raw(&self, buffer: &mut impl BufMut) {
        message::encode_repeated(1, &self.entries, buffer);
        buffer.put_slice(&self.encoded);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buffer: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        match tag {
            1 => message::merge_repeated(wire_type, &mut self.entries, buffer, context),
            _ => skip_field(wire_type, tag, buffer, context),
        }
    }

    fn encoded_len(&self) -> usize {
        message::encoded_len_repeated(1, &self.entries) + self.encoded.len()
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

/// `spire.api.server.entry.v1.SyncAuthorizedEntriesResponse`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SyncAuthorizedEntriesResponse {
    /// Which entries there are, and in which state.
    pub entry_revisions: Vec<EntryRevision>,
    /// Entries in full.
    pub entries: Vec<types::Entry>,
    /// Whether the answer goes on.
    pub more: bool,
    /// Further fields, encoded.
    pub encoded: Bytes,
}

impl prost::Message for SyncAuthorizedEntriesResponse {
    fn encode_raw(&self, buffer: &mut impl BufMut) {
        message::encode_repeated(1, &self.entry_revisions, buffer);
        message::encode_repeated(2, &self.entries, buffer);
        if self.more {
            bool::encode(3, &self.more, buffer);
        }
        buffer.put_slice(&self.encoded);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buffer: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        match tag {
            1 => message::merge_repeated(wire_type, &mut self.entry_revisions, buffer, context),
            2 => message::merge_repeated(wire_type, &mut self.entries, buffer, context),
            3 => bool::merge(wire_type, &mut self.more, buffer, context),
            _ => skip_field(wire_type, tag, buffer, context),
        }
    }

    fn encoded_len(&self) -> usize {
        message::encoded_len_repeated(1, &self.entry_revisions)
            + message::encoded_len_repeated(2, &self.entries)
            + if self.more { bool::encoded_len(3, &self.more) } else { 0 }
            + self.encoded.len()
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    /// As generated code has it.
    #[derive(Clone, PartialEq, prost::Message)]
    struct Generated {
        #[prost(message, repeated, tag = "1")]
        entry_revisions: Vec<EntryRevision>,
        #[prost(message, repeated, tag = "2")]
        entries: Vec<types::Entry>,
        #[prost(bool, tag = "3")]
        more: bool,
    }

    fn entry(id: &str) -> types::Entry {
        types::Entry { id: id.to_owned(), hint: "h".to_owned(), ..types::Entry::default() }
    }

    #[test]
    fn on_the_wire_they_are_as_generated() {
        let revision = EntryRevision { id: "e".to_owned(), revision_number: 7, created_at: 3 };
        let generated = Generated { entry_revisions: vec![revision.clone()], entries: vec![entry("a")], more: true };
        let ours = SyncAuthorizedEntriesResponse {
            entry_revisions: vec![revision],
            entries: vec![entry("a")],
            more: true,
            encoded: Bytes::new(),
        };
        assert_eq!(ours.encode_to_vec(), generated.encode_to_vec());
        assert_eq!(SyncAuthorizedEntriesResponse::decode(&*generated.encode_to_vec()).unwrap(), ours);
        let mut unknown = generated.encode_to_vec();
        prost::encoding::string::encode(99, &"later".to_owned(), &mut unknown);
        assert_eq!(SyncAuthorizedEntriesResponse::decode(&*unknown).unwrap(), ours);
    }

    #[test]
    fn what_was_encoded_before_comes_out_with_the_rest() {
        let first = GetAuthorizedEntriesResponse { entries: vec![entry("a"), entry("b")], encoded: Bytes::new() };
        let encoded = Bytes::from(first.encode_to_vec());
        let second = GetAuthorizedEntriesResponse { entries: Vec::new(), encoded };
        assert_eq!(second.encoded_len(), second.encode_to_vec().len());
        assert_eq!(GetAuthorizedEntriesResponse::decode(&*second.encode_to_vec()).unwrap(), first);
        let page = SyncAuthorizedEntriesResponse { entries: vec![entry("a")], more: true, ..Default::default() };
        let again = SyncAuthorizedEntriesResponse { encoded: Bytes::from(page.encode_to_vec()), ..Default::default() };
        assert_eq!(SyncAuthorizedEntriesResponse::decode(&*again.encode_to_vec()).unwrap(), page);
    }
}
