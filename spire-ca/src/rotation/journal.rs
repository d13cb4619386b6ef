//! The journal: which authority stands in which slot, as SPIRE stores it.
//!
//! Entries are kept oldest first, at most [`Journal::MAX_ENTRIES`] of each kind. Those of kinds that we do not issue
//! are kept as they are.

use prost::Message;
use spiffe_core::x509::Certificate;
use spiffe_core::{PublicKey, Timestamp};

use super::slot::{Held, JwtRecord, SlotId, Status, X509Record};
use super::step::Kind;
use crate::Error;
use crate::authority::AuthorityId;

/// All that is known of one server's authorities.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Journal {
    entries: wire::Entries,
}

impl Journal {
    /// Most entries of each kind; the oldest go first.
    pub const MAX_ENTRIES: usize = 10;
    /// Longest journal that is read, in bytes.
    pub const MAX_LENGTH: usize = 16 << 20;

    /// Reads the stored form.
    ///
    /// # Errors
    /// [`Error::Malformed`]
    pub fn decode(data: &[u8]) -> Result<Self, Error> {
        let malformed = Error::Malformed { what: "CA journal" };
        if data.len() > Self::MAX_LENGTH {
            return Err(malformed);
        }
        let entries = wire::Entries::decode(data).map_err(|_| malformed)?;
        Ok(Self { entries })
    }

    /// The stored form.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.entries.encode_to_vec()
    }

    /// CAs, newest first, each with its slot and status. Entries that cannot be read are left out.
    #[must_use]
    pub fn x509(&self) -> Vec<Held<X509Record>> {
        self.entries.x509_cas.iter().rev().filter_map(wire::X509CaEntry::read).collect()
    }

    /// JWT keys, newest first, as [`Self::x509`].
    #[must_use]
    pub fn jwt(&self) -> Vec<Held<JwtRecord>> {
        self.entries.jwt_keys.iter().rev().filter_map(wire::KeyEntry::read).collect()
    }

    /// Latest end of anything in it; [`Timestamp::MIN`] when it is empty.
    #[must_use]
    pub fn last_not_after(&self) -> Timestamp {
        let x509 = self.entries.x509_cas.iter().map(|entry| entry.not_after);
        let keys = self.entries.jwt_keys.iter().chain(&self.entries.wit_keys).map(|entry| entry.not_after);
        x509.chain(keys).max().map_or(Timestamp::MIN, Timestamp::from_unix)
    }

    pub(super) fn push_x509(&mut self, slot: SlotId, record: &X509Record) {
        self.entries.x509_cas.push(wire::X509CaEntry::prepared(slot, record));
        cap(&mut self.entries.x509_cas);
    }

    pub(super) fn push_jwt(&mut self, slot: SlotId, record: &JwtRecord) {
        self.entries.jwt_keys.push(wire::KeyEntry::prepared(slot, record));
        cap(&mut self.entries.jwt_keys);
    }

    /// Sets the status of the newest entry of that name.
    pub(super) fn set_status(&mut self, kind: Kind, id: &AuthorityId, status: Status) {
        let x509 = self.entries.x509_cas.iter_mut().map(|entry| (&entry.authority_id, &mut entry.status));
        let jwt = self.entries.jwt_keys.iter_mut().map(|entry| (&entry.authority_id, &mut entry.status));
        let found = match kind {
            Kind::X509 => x509.rev().find(|(name, _)| *name == id.as_str()),
            Kind::Jwt => jwt.rev().find(|(name, _)| *name == id.as_str()),
        };
        if let Some((_, stored)) = found {
            *stored = wire::status(status);
        }
    }
}

fn cap<T>(entries: &mut Vec<T>) {
    let exceeding = entries.len().saturating_sub(Journal::MAX_ENTRIES);
    entries.drain(..exceeding);
}

/// The stored messages. Field numbers are SPIRE's.
mod wire {
    use super::{AuthorityId, Certificate, Held, JwtRecord, Message, PublicKey, SlotId, Status, Timestamp, X509Record};

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Entries {
        #[prost(message, repeated, tag = "1")]
        pub(super) x509_cas: Vec<X509CaEntry>,
        #[prost(message, repeated, tag = "2")]
        pub(super) jwt_keys: Vec<KeyEntry>,
        #[prost(message, repeated, tag = "3")]
        pub(super) wit_keys: Vec<KeyEntry>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct X509CaEntry {
        #[prost(string, tag = "1")]
        pub(super) slot_id: String,
        #[prost(int64, tag = "2")]
        pub(super) issued_at: i64,
        #[prost(bytes = "vec", tag = "3")]
        pub(super) certificate: Vec<u8>,
        #[prost(bytes = "vec", repeated, tag = "4")]
        pub(super) upstream_chain: Vec<Vec<u8>>,
        #[prost(int32, tag = "5")]
        pub(super) status: i32,
        #[prost(string, tag = "6")]
        pub(super) authority_id: String,
        #[prost(int64, tag = "7")]
        pub(super) not_after: i64,
        #[prost(string, tag = "8")]
        pub(super) upstream_authority_id: String,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct KeyEntry {
        #[prost(string, tag = "1")]
        pub(super) slot_id: String,
        #[prost(int64, tag = "2")]
        pub(super) issued_at: i64,
        #[prost(int64, tag = "3")]
        pub(super) not_after: i64,
        #[prost(string, tag = "4")]
        pub(super) kid: String,
        #[prost(bytes = "vec", tag = "5")]
        pub(super) public_key: Vec<u8>,
        #[prost(int32, tag = "6")]
        pub(super) status: i32,
        #[prost(string, tag = "7")]
        pub(super) authority_id: String,
    }

    pub(super) fn status(status: Status) -> i32 {
        match status {
            Status::Prepared => 2,
            Status::Active => 3,
            Status::Old => 4,
        }
    }

    fn read_status(number: i32) -> Option<Status> {
        match number {
            2 => Some(Status::Prepared),
            3 => Some(Status::Active),
            4 => Some(Status::Old),
            _ => None,
        }
    }

    impl X509CaEntry {
        pub(super) fn prepared(slot: SlotId, record: &X509Record) -> Self {
            Self {
                slot_id: slot.as_str().to_owned(),
                issued_at: record.issued_at.as_unix(),
                certificate: record.certificate.der().to_vec(),
                upstream_chain: record.upstream_chain.iter().map(|link| link.der().to_vec()).collect(),
                status: status(Status::Prepared),
                authority_id: record.authority_id.as_str().to_owned(),
                not_after: record.certificate.not_after().as_unix(),
                upstream_authority_id: record.upstream_authority_id.clone(),
            }
        }

        pub(super) fn read(&self) -> Option<Held<X509Record>> {
            let record = X509Record {
                authority_id: AuthorityId::new(&self.authority_id),
                issued_at: Timestamp::from_unix(self.issued_at),
                certificate: Certificate::from_der(&self.certificate).ok()?,
                upstream_chain: self
                    .upstream_chain
                    .iter()
                    .map(|der| Certificate::from_der(der))
                    .collect::<Result<_, _>>()
                    .ok()?,
                upstream_authority_id: self.upstream_authority_id.clone(),
            };
            Some(Held { slot: SlotId::parse(&self.slot_id)?, status: read_status(self.status)?, record })
        }
    }

    impl KeyEntry {
        pub(super) fn prepared(slot: SlotId, record: &JwtRecord) -> Self {
            Self {
                slot_id: slot.as_str().to_owned(),
                issued_at: record.issued_at.as_unix(),
                not_after: record.not_after.as_unix(),
                kid: record.authority_id.as_str().to_owned(),
                public_key: record.public_key.spki_der().to_vec(),
                status: status(Status::Prepared),
                authority_id: record.authority_id.as_str().to_owned(),
            }
        }

        pub(super) fn read(&self) -> Option<Held<JwtRecord>> {
            let record = JwtRecord {
                authority_id: AuthorityId::new(&self.kid),
                issued_at: Timestamp::from_unix(self.issued_at),
                not_after: Timestamp::from_unix(self.not_after),
                public_key: PublicKey::from_spki_der(&self.public_key).ok()?,
            };
            Some(Held { slot: SlotId::parse(&self.slot_id)?, status: read_status(self.status)?, record })
        }
    }
}
