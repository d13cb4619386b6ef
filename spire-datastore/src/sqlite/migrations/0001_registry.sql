-- The registry. Row numbers are page tokens, so they are never given twice (AUTOINCREMENT); they order nothing else.

-- The newest revision, and the newest one that the change log no longer holds. One row.
CREATE TABLE revision (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    value    INTEGER NOT NULL,
    horizon  INTEGER NOT NULL
) STRICT;
INSERT INTO revision (only_row, value, horizon) VALUES (1, 0, 0);

-- What changed, in commit order. kind: 1 entry, 2 node, 3 bundle, 4 relationship. op: 1 put, 2 delete.
CREATE TABLE changes (
    revision INTEGER PRIMARY KEY,
    kind     INTEGER NOT NULL,
    key      TEXT NOT NULL,
    op       INTEGER NOT NULL
) STRICT;

-- data: JSON, see bundle_data.rs
CREATE TABLE bundles (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    trust_domain TEXT NOT NULL UNIQUE,
    data         TEXT NOT NULL
) STRICT;

-- selectors_digest: SHA-256 of the selector set, whatever its order. additional: bit 0 disables prefetch, bit 1 asks
-- for jti, NULL is absent. Times are Unix seconds, lifetimes seconds; NULL is "default" or "never".
CREATE TABLE registered_entries (
    id               INTEGER PRIMARY KEY AUTOINCREMENT,
    entry_id         TEXT NOT NULL UNIQUE,
    spiffe_id        TEXT NOT NULL,
    parent_id        TEXT NOT NULL,
    selectors_digest BLOB NOT NULL,
    x509_svid_ttl    INTEGER,
    jwt_svid_ttl     INTEGER,
    admin            INTEGER NOT NULL,
    downstream       INTEGER NOT NULL,
    expires_at       INTEGER,
    revision_number  INTEGER NOT NULL,
    store_svid       INTEGER NOT NULL,
    hint             TEXT NOT NULL,
    created_at       INTEGER NOT NULL,
    additional       INTEGER
) STRICT;
CREATE INDEX registered_entries_by_selectors ON registered_entries (selectors_digest, spiffe_id, parent_id);
CREATE INDEX registered_entries_by_spiffe_id ON registered_entries (spiffe_id);
CREATE INDEX registered_entries_by_parent_id ON registered_entries (parent_id);
CREATE INDEX registered_entries_by_expiry ON registered_entries (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX registered_entries_by_hint ON registered_entries (hint) WHERE hint <> '';
CREATE INDEX registered_entries_downstream ON registered_entries (id) WHERE downstream = 1;

CREATE TABLE selectors (
    owner    INTEGER NOT NULL REFERENCES registered_entries (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    type     TEXT NOT NULL,
    value    TEXT NOT NULL,
    PRIMARY KEY (owner, position)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX selectors_by_value ON selectors (type, value, owner);

CREATE TABLE dns_names (
    owner    INTEGER NOT NULL REFERENCES registered_entries (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    value    TEXT NOT NULL,
    PRIMARY KEY (owner, position),
    UNIQUE (owner, value)
) STRICT, WITHOUT ROWID;

CREATE TABLE federated_registration_entries (
    owner        INTEGER NOT NULL REFERENCES registered_entries (id) ON DELETE CASCADE,
    position     INTEGER NOT NULL,
    trust_domain TEXT NOT NULL REFERENCES bundles (trust_domain) ON DELETE CASCADE,
    PRIMARY KEY (owner, position)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX federated_registration_entries_by_trust_domain
    ON federated_registration_entries (trust_domain, owner);

-- serial_number NULL: banned.
CREATE TABLE attested_node_entries (
    id                INTEGER PRIMARY KEY AUTOINCREMENT,
    spiffe_id         TEXT NOT NULL UNIQUE,
    attestation_type  TEXT NOT NULL,
    serial_number     TEXT,
    expires_at        INTEGER NOT NULL,
    new_serial_number TEXT,
    new_expires_at    INTEGER,
    can_reattest      INTEGER NOT NULL,
    agent_version     TEXT NOT NULL
) STRICT;
CREATE INDEX attested_node_entries_by_expiry ON attested_node_entries (expires_at);

CREATE TABLE node_selectors (
    owner    INTEGER NOT NULL REFERENCES attested_node_entries (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    type     TEXT NOT NULL,
    value    TEXT NOT NULL,
    PRIMARY KEY (owner, position)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX node_selectors_by_value ON node_selectors (type, value, owner);

-- A token is a secret: only its SHA-256 is kept.
CREATE TABLE join_tokens (
    digest     BLOB PRIMARY KEY,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX join_tokens_by_expiry ON join_tokens (expires_at);

-- endpoint_spiffe_id NULL: profile https_web; otherwise https_spiffe.
CREATE TABLE federated_trust_domains (
    id                  INTEGER PRIMARY KEY AUTOINCREMENT,
    trust_domain        TEXT NOT NULL UNIQUE,
    bundle_endpoint_url TEXT NOT NULL,
    endpoint_spiffe_id  TEXT
) STRICT;

CREATE TABLE ca_journals (
    id                       INTEGER PRIMARY KEY AUTOINCREMENT,
    active_x509_authority_id TEXT NOT NULL,
    data                     BLOB NOT NULL
) STRICT;
