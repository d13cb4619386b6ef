#!/usr/bin/env python3
"""Runs the vectors against the Python library `spiffe`: one line a vector, its ID and what came of it."""
import base64, json, pathlib, sys

from spiffe import JwtBundle, JwtSvid, SpiffeId, TrustDomain, X509Svid

where = pathlib.Path(sys.argv[1])

def ids(v):
    if v["op"] == "spiffe_id":
        SpiffeId(v["input"])
    elif v["op"] == "trust_domain":
        TrustDomain(v["input"])
    else:
        return "skip"

def x509_svid(v):
    if v["op"] != "load":
        return "skip"  # it has no verification of peers
    X509Svid.parse_raw(base64.b64decode(v["input"]["chain"]), base64.b64decode(v["input"]["private_key"]))

def jwt_svid(v):
    i = v["input"]
    bundles = {d: JwtBundle.parse(TrustDomain(d), json.dumps(b).encode()) for d, b in i["bundles"].items()}
    # It takes the bundle, not the bundles: that of the subject is the caller's to choose.
    subject = JwtSvid.parse_insecure(i["token"], set(i["audiences"])).spiffe_id.trust_domain.name
    if subject not in bundles:
        raise ValueError("no bundle")
    JwtSvid.parse_and_validate(i["token"], bundles[subject], set(i["audiences"]))

for kind, judge in (("ids", ids), ("x509_svid", x509_svid), ("jwt_svid", jwt_svid)):
    for v in json.loads((where / f"{kind}.json").read_text())["vectors"]:
        try:
            outcome = "skip" if v.get("clock") else judge(v) or "accept"
        except Exception as err:  # whatever it is, the vector is not accepted
            outcome = "reject " + type(err).__name__ + " " + str(err).replace("\n", " ")
        print(v["id"], outcome.encode("ascii", "replace").decode())
