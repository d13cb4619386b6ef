#!/usr/bin/env python3
"""Fills the corpora from the vectors of conformance/: each input is one file."""
import base64, hashlib, json, pathlib

here = pathlib.Path(__file__).parent

def vectors(kind): return json.loads((here / f"../conformance/{kind}.json").read_text())["vectors"]

def seed(target, data):
    data = data if isinstance(data, bytes) else data.encode()
    folder = here / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / hashlib.sha1(data).hexdigest()).write_bytes(data)

def pem(label, der): return f"-----BEGIN {label}-----\n{base64.encodebytes(der).decode()}-----END {label}-----\n"

def spki(certificate):
    """The only SEQUENCE of a SEQUENCE and a BIT STRING, found by its fixed prefixes."""
    for prefix in (b"\x30\x59\x30\x13", b"\x30\x76\x30\x10", b"\x30\x81\x9b\x30\x10", b"\x30\x2a\x30\x05"):
        at = certificate.find(prefix)
        if at > 0:
            return certificate[at:at + (certificate[at + 1] + 2 if certificate[at + 1] < 128 else certificate[at + 2] + 3)]
    return b""

for v in vectors("ids"):
    if isinstance(v["input"], str):
        seed("spiffe_id", v["input"])
for v in vectors("x509_svid"):
    chain = base64.b64decode(v["input"]["chain"])
    seed("certificate", chain)
    seed("pem", pem("CERTIFICATE", chain))
    seed("key", spki(chain))
    if key := v["input"].get("private_key"):
        seed("key", base64.b64decode(key))
        seed("pem", pem("PRIVATE KEY", base64.b64decode(key)))
for v in vectors("jwt_svid"):
    seed("jwt", v["input"]["token"])
for v in vectors("wit_svid"):
    seed("wit", v["input"]["token"])
for v in vectors("bundle"):
    seed("bundle", v["input"]["document"])
for v in vectors("bundle_map"):
    seed("bundle_map", v["input"]["document"])
for path in (here / "seeds").glob("*.csr"):
    seed("csr", path.read_bytes())
