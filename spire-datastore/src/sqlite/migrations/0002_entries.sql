-- Entries with their lists beside them, so that one row is all of an entry: what is written with it stays at one place,
-- and a million of them are read in one go. An entry's row number is the revision that created it.

-- selectors: JSON, pairs of type and value. selectors_digest: of the set, whatever its order. dns_names: JSON, texts. NULL is none. additional: bit 0 disables prefetch,
-- bit 1 asks for jti, NULL is absent. Times are Unix seconds, lifetimes seconds; NULL is "default" or "never".
CREATE TABLE entries_with_lists (
    id               INTEGER PRIMARY KEY,
    entry_id         TEXT NOT NULL UNIQUE,
    spiffe_id        TEXT NOT NULL,
    parent_id        TEXT NOT NULL,
    selectors        TEXT NOT NULL,
    selectors_digest INTEGER NOT NULL,
    x509_svid_ttl    INTEGER,
    jwt_svid_ttl     INTEGER,
    admin            INTEGER NOT NULL,
    downstream       INTEGER NOT NULL,
    expires_at       INTEGER,
    revision_number  INTEGER NOT NULL,
    store_svid       INTEGER NOT NULL,
    hint             TEXT NOT NULL,
    created_at       INTEGER NOT NULL,
    additional       INTEGER,
    dns_names        TEXT
) STRICT;
INSERT INTO entries_with_lists
SELECT e.id, e.entry_id, e.spiffe_id, e.parent_id,
       (SELECT json_group_array(json_array(s.type, s.value) ORDER BY s.position) FROM selectors AS s WHERE s.owner = e.id),
       0, e.x509_svid_ttl, e.jwt_svid_ttl, e.admin, e.downstream, e.expires_at, e.revision_number, e.store_svid, e.hint,
       e.created_at, e.additional,
       (SELECT nullif(json_group_array(d.value ORDER BY d.position), '[]') FROM dns_names AS d WHERE d.owner = e.id)
FROM registered_entries AS e ORDER BY e.id;

-- Who has a selector: for searches alone.
CREATE TABLE selectors_of_entries (
    type  TEXT NOT NULL,
    value TEXT NOT NULL,
    owner INTEGER NOT NULL,
    PRIMARY KEY (type, value, owner)
) STRICT, WITHOUT ROWID;
INSERT INTO selectors_of_entries SELECT type, value, owner FROM selectors ORDER BY type, value, owner;

DROP TABLE selectors;
DROP TABLE dns_names;
DROP TABLE registered_entries;
ALTER TABLE entries_with_lists RENAME TO registered_entries;
ALTER TABLE selectors_of_entries RENAME TO selectors;

CREATE INDEX registered_entries_by_spiffe_id ON registered_entries (spiffe_id, parent_id, selectors_digest);
CREATE INDEX registered_entries_by_parent_id ON registered_entries (parent_id);
CREATE INDEX registered_entries_by_expiry ON registered_entries (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX registered_entries_by_hint ON registered_entries (hint) WHERE hint <> '';
CREATE INDEX registered_entries_downstream ON registered_entries (id) WHERE downstream = 1;
