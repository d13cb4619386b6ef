-- A registry of the first version.
UPDATE revision SET value = 9;
INSERT INTO bundles (trust_domain, data) VALUES ('other.org', '{}');
INSERT INTO registered_entries (id, entry_id, spiffe_id, parent_id, selectors_digest, admin, downstream, expires_at,
                                revision_number, store_svid, hint, created_at, additional)
VALUES (2, 'one', 'spiffe://example.org/a', 'spiffe://example.org/node', x'00', 1, 0, 2000000000, 3, 0, 'h', 7, 2),
       (5, 'two', 'spiffe://example.org/b', 'spiffe://example.org/node', x'01', 0, 0, NULL, 0, 0, '', 8, NULL);
INSERT INTO selectors VALUES (2, 1, 'unix', 'gid:"2"'), (2, 0, 'unix', 'uid:1'), (5, 0, 'unix', 'uid:1');
INSERT INTO dns_names VALUES (2, 1, 'a.example'), (2, 0, 'b.example');
INSERT INTO federated_registration_entries VALUES (2, 0, 'other.org');
