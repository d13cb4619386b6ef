#!/usr/bin/env python3
"""Writes the vectors that need keys: x509_svid, jwt_svid, bundle, bundle_map and wit_svid.

Every key comes from a name, every ECDSA signature from RFC 6979, every certificate is put together here byte by byte:
two runs write the same files, and nothing of what is under test takes part. Needs `cryptography` (48.0) for curves.
"""
import base64, hashlib, json, random, sys
from datetime import datetime, timezone

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

NOW = 1_790_000_000                      # 2026-09-21; what is valid here is valid until 2120
EARLY, PAST, FUTURE, LATE = 1_577_836_800, 1_767_225_600, 4_417_977_600, 4_733_510_400
EXP = 4_102_444_800                      # 2100
TD = "example.org"
ID = f"spiffe://{TD}/w"

# --- DER -----------------------------------------------------------------------------------------------------------

def tlv(tag, *parts):
    body = b"".join(parts)
    n = len(body)
    if n < 0x80:
        return bytes([tag, n]) + body
    length = n.to_bytes((n.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + body

def seq(*parts): return tlv(0x30, *parts)
def integer(n): return tlv(2, n.to_bytes(n.bit_length() // 8 + 1, "big"))
def octets(b): return tlv(4, b)
def bits(b, unused=0): return tlv(3, bytes([unused]) + b)
TRUE = b"\x01\x01\xff"

def oid(text):
    first, second, *rest = map(int, text.split("."))
    out = bytearray([first * 40 + second])
    for n in rest:
        chunk = [n & 0x7F]
        while n := n >> 7:
            chunk.insert(0, 0x80 | n & 0x7F)
        out += bytes(chunk)
    return tlv(6, bytes(out))

def time(t):
    when = datetime.fromtimestamp(t, timezone.utc)
    if when.year < 2050:
        return tlv(0x17, when.strftime("%y%m%d%H%M%SZ").encode())
    return tlv(0x18, when.strftime("%Y%m%d%H%M%SZ").encode())

def name(cn): return seq() if cn is None else seq(tlv(0x31, seq(oid("2.5.4.3"), tlv(12, cn.encode()))))

# --- Keys ----------------------------------------------------------------------------------------------------------

CURVES = {"P-256": (ec.SECP256R1(), hashes.SHA256(), 32, "1.2.840.10045.3.1.7", "1.2.840.10045.4.3.2", "ES256"),
          "P-384": (ec.SECP384R1(), hashes.SHA384(), 48, "1.3.132.0.34", "1.2.840.10045.4.3.3", "ES384"),
          "P-521": (ec.SECP521R1(), hashes.SHA512(), 66, "1.3.132.0.35", "1.2.840.10045.4.3.4", "ES512")}
ORDERS = {"P-256": 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551,
          "P-384": int("ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973", 16),
          "P-521": 2**521 - 2**260 + 0xa51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409}

def b64u(b): return base64.urlsafe_b64encode(b).rstrip(b"=").decode()
def b64(b): return base64.b64encode(b).decode()
def stretch(label, n): return hashlib.shake_256(b"spiffe conformance " + label.encode()).digest(n)

class Ec:
    def __init__(self, label, curve="P-256"):
        self.curve = curve
        self.params, self.hash, self.width, self.curve_oid, self.sig_oid, self.alg = CURVES[curve]
        secret = int.from_bytes(stretch(label, self.width + 8), "big") % (ORDERS[curve] - 1) + 1
        self.key = ec.derive_private_key(secret, self.params)
        n = self.key.public_key().public_numbers()
        self.x, self.y = n.x.to_bytes(self.width, "big"), n.y.to_bytes(self.width, "big")
    def spki(self):
        return seq(seq(oid("1.2.840.10045.2.1"), oid(self.curve_oid)), bits(b"\x04" + self.x + self.y))
    def algorithm(self): return seq(oid(self.sig_oid))
    def sign(self, data): return self.key.sign(data, ec.ECDSA(self.hash, deterministic_signing=True))
    def sign_fixed(self, data, alg=None):
        r, s = decode_dss_signature(self.sign(data))
        return r.to_bytes(self.width, "big") + s.to_bytes(self.width, "big")
    def jwk(self): return {"kty": "EC", "crv": self.curve, "x": b64u(self.x), "y": b64u(self.y)}
    def pkcs8(self):
        return self.key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8,
                                      serialization.NoEncryption())

class Ed:
    def __init__(self, label):
        self.key = ed25519.Ed25519PrivateKey.from_private_bytes(stretch(label, 32))
        self.public = self.key.public_key().public_bytes_raw()
    def spki(self): return seq(seq(oid("1.3.101.112")), bits(self.public))
    def algorithm(self): return seq(oid("1.3.101.112"))
    def sign(self, data): return self.key.sign(data)
    def jwk(self): return {"kty": "OKP", "crv": "Ed25519", "x": b64u(self.public)}

def prime(rng, size):
    while True:
        n = rng.getrandbits(size) | 1 | 3 << (size - 2)
        if (n - 1) % 65537 and all(n % p for p in (3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)):
            if all(pow(b, n - 1, n) == 1 for b in (2, 3, 5, 7)):
                return n

class Rsa:
    HASHES = {"256": ("sha256", "3031300d060960864801650304020105000420"),
              "384": ("sha384", "3041300d060960864801650304020205000430"),
              "512": ("sha512", "3051300d060960864801650304020305000440"),
              "1": ("sha1", "3021300906052b0e03021a05000414")}
    def __init__(self, label, size=2048):
        rng = random.Random(stretch(label, 32))
        p, q = prime(rng, size // 2), prime(rng, size // 2)
        self.n, self.size, self.alg = p * q, size, "RS256"
        self.d = pow(65537, -1, (p - 1) * (q - 1))
    def spki(self):
        return seq(seq(oid("1.2.840.113549.1.1.1"), b"\x05\0"), bits(seq(integer(self.n), integer(65537))))
    def algorithm(self): return seq(oid("1.2.840.113549.1.1.11"), b"\x05\0")
    def raw(self, padded):
        return pow(int.from_bytes(padded, "big"), self.d, self.n).to_bytes(self.size // 8, "big")
    def sign(self, data, digest="256"):
        kind, prefix = self.HASHES[digest]
        info = bytes.fromhex(prefix) + hashlib.new(kind, data).digest()
        return self.raw(b"\0\1" + b"\xff" * (self.size // 8 - 3 - len(info)) + b"\0" + info)
    def pss(self, data, digest, salt_length=None):
        kind = self.HASHES[digest][0]
        h = lambda b: hashlib.new(kind, b).digest()
        length, n = len(h(b"")), self.size // 8
        salt = stretch("salt", length if salt_length is None else salt_length)
        m = h(b"\0" * 8 + h(data) + salt)
        db = b"\0" * (n - length - 2 - len(salt)) + b"\x01" + salt
        mask = b"".join(h(m + i.to_bytes(4, "big")) for i in range(n // length + 1))[:len(db)]
        masked = bytearray(a ^ b for a, b in zip(db, mask))
        masked[0] &= 0x7F
        return self.raw(bytes(masked) + m + b"\xbc")
    def sign_fixed(self, data, alg="RS256"):
        return self.pss(data, alg[2:]) if alg.startswith("PS") else self.sign(data, alg[2:])
    def jwk(self): return {"kty": "RSA", "n": b64u(self.n.to_bytes(self.size // 8, "big")), "e": "AQAB"}

# --- Certificates --------------------------------------------------------------------------------------------------

KU_BITS = {"digitalSignature": 0, "contentCommitment": 1, "keyEncipherment": 2, "keyAgreement": 4, "keyCertSign": 5,
           "cRLSign": 6}
EKU = {"server": "1.3.6.1.5.5.7.3.1", "client": "1.3.6.1.5.5.7.3.2", "code": "1.3.6.1.5.5.7.3.3", "any": "2.5.29.37.0"}

def ext(o, value, critical=False): return seq(oid(o), TRUE if critical else b"", octets(value))

def key_usage(names, critical=True):
    value = sum(0x80 >> KU_BITS[n] for n in names)
    unused = (value & -value).bit_length() - 1 if value else 0
    return ext("2.5.29.15", bits(bytes([value]), unused), critical)

def basic(ca, path_len=None, critical=True):
    return ext("2.5.29.19", seq(TRUE if ca else b"", b"" if path_len is None else integer(path_len)), critical)

def uri(text): return tlv(0x86, text if isinstance(text, bytes) else text.encode())
def dns(text): return tlv(0x82, text.encode())
def san(names, critical=False): return ext("2.5.29.17", seq(*names), critical)
def eku(names, critical=False): return ext("2.5.29.37", seq(*(oid(EKU[n]) for n in names)), critical)

def subtree(base): return seq(base)
def constraints(permit=(), exclude=(), critical=True):
    parts = [tlv(0xA0, *map(subtree, permit))] if permit else []
    parts += [tlv(0xA1, *map(subtree, exclude))] if exclude else []
    return ext("2.5.29.30", seq(*parts), critical)

UNKNOWN = ext("1.3.6.1.4.1.99999.1", b"\x05\0", True)

class Cert:
    """A certificate, and the key and name that sign with it."""
    def __init__(self, subject, key, issuer=None, exts=(), begin=EARLY, end=LATE, serial=None, version=3,
                 outer=None, algorithm=None, signature=None, mutate=None):
        signer_key, issuer_name = (issuer.key, issuer.subject) if issuer else (key, subject)
        self.subject, self.key = subject, key
        inner = algorithm or signer_key.algorithm()
        serial = serial or int.from_bytes(stretch(f"serial {subject} {len(exts)} {key.spki().hex()}", 15), "big") | 1
        tbs = seq(tlv(0xA0, integer(version - 1)) if version > 1 else b"", integer(serial), inner, name(issuer_name),
                  seq(time(begin), time(end)), name(subject), key.spki(),
                  tlv(0xA3, seq(*exts)) if exts else b"")
        signature = signature(tbs) if signature else signer_key.sign(tbs)
        if mutate:
            signature = mutate(signature)
        self.der = seq(tbs, outer or inner, bits(signature))

def ca_exts(ids=(f"spiffe://{TD}",), ca=True, path_len=None, ku=("keyCertSign", "cRLSign"), ku_critical=True, more=(),
            bc=True):
    exts = [basic(ca, path_len)] if bc else []
    exts += [key_usage(ku, ku_critical)] if ku is not None else []
    exts += [san([uri(i) for i in ids])] if ids else []
    return exts + list(more)

ROOT_KEY, INT_KEY, INT2_KEY, LEAF_KEY = (Ec(n) for n in ("root", "intermediate", "second intermediate", "leaf"))
ROOT = Cert("root", ROOT_KEY, exts=ca_exts())

def intermediate(issuer=ROOT, subject="intermediate", key=INT_KEY, begin=EARLY, end=LATE, version=3, **kw):
    return Cert(subject, key, issuer, ca_exts(**kw), begin, end, version=version)

def leaf(issuer=ROOT, ids=(ID,), names=None, ku=("digitalSignature",), ku_critical=True, usage=("server", "client"),
         eku_critical=False, bc="false", subject="w", san_critical=None, key=LEAF_KEY, more=(), **kw):
    names = [uri(i) for i in ids] if names is None else names
    critical = subject is None if san_critical is None else san_critical
    exts = [] if bc is None else [basic(bc == "true")]
    exts += [key_usage(ku, ku_critical)] if ku is not None else []
    exts += [eku(usage, eku_critical)] if usage else []
    exts += [san(names, critical)] if names else []
    return Cert(subject, key, issuer, exts + list(more), **kw)

X509 = []

def xv(number, title, chain, verdict, clause, roots=(ROOT,), domain=TD, role="either", bundles=None, op="verify", **more):
    chain = b"".join(c if isinstance(c, bytes) else c.der for c in chain)
    bundles = {domain: roots} if bundles is None else bundles
    input_ = {"chain": b64(chain), "bundles": {d: [b64(r.der) for r in rs] for d, rs in bundles.items()}, "now": NOW,
              "role": role}
    if "key" in more:
        input_["private_key"] = b64(more.pop("key").pkcs8())
    X509.append({"id": f"XV-{number}", "op": op, "input": input_, "verdict": verdict, "reason": title, "clause": clause,
                 **more})

SVID2, SVID5, KU, BC, NC = "X509-SVID §2", "X509-SVID §5.2", "X509-SVID §4.3", "RFC 5280 §4.2.1.9", "RFC 5280 §4.2.1.10"
ISSUER, SIGNATURE, DATES, EKU_, BUNDLE = ("RFC 5280 §6.1.3(a)(4)", "RFC 5280 §6.1.3(a)(1)", "RFC 5280 §6.1.3(a)(2)",
                                          "RFC 5280 §4.2.1.12", "X509-SVID §5.1")
A, R = "accept", "reject"

def x509():
    xv("01", "baseline", [leaf()], A, SVID5)
    xv("01-own", "baseline with its key", [leaf()], A, "Workload API §5.1", op="load", key=LEAF_KEY)
    i1 = intermediate()
    xv("02", "by way of an intermediate", [leaf(i1), i1], A, SVID5)
    xv("03", "DNS name alone", [leaf(names=[dns("example.org")])], R, SVID2)
    xv("04", "no alternative name", [leaf(names=[])], R, SVID2)
    xv("05", "two SPIFFE IDs", [leaf(ids=(ID, f"spiffe://{TD}/x"))], R, SVID2)
    xv("05-same", "the same SPIFFE ID twice", [leaf(ids=(ID, ID))], R, SVID2)
    xv("06", "a SPIFFE ID and an https URI", [leaf(ids=(ID, "https://example.org/w"))], R, SVID2)
    xv("07", "an https URI and a SPIFFE ID", [leaf(ids=("https://example.org/w", ID))], R, SVID2)
    xv("08", "an https URI alone", [leaf(ids=("https://example.org/w",))], R, "SPIFFE-ID §2")
    xv("09", "URI, DNS name, address and email", [leaf(names=[uri(ID), dns("w.example.org"),
       tlv(0x87, bytes([10, 0, 0, 1])), tlv(0x81, b"w@example.org")])], A, SVID2)
    xv("10", "ID without a path", [leaf(ids=(f"spiffe://{TD}",))], R, SVID5)
    xv("11", "ID with the path /", [leaf(ids=(f"spiffe://{TD}/",))], R, "SPIFFE-ID §2.2")
    xv("12", "upper-case scheme", [leaf(ids=(f"SPIFFE://{TD}/w",))], R, "SPIFFE-ID §2")
    xv("13", "upper-case trust domain", [leaf(ids=("spiffe://EXAMPLE.ORG/w",))], R, "SPIFFE-ID §2.1")
    xv("14", "percent-encoded path", [leaf(ids=(f"spiffe://{TD}/%77",))], R, "SPIFFE-ID §2.2")
    xv("15", "ID of 2048 bytes", [leaf(ids=(f"spiffe://{TD}/" + "a" * 2027,))], A, "SPIFFE-ID §2.3")
    xv("16", "ID of 2049 bytes", [leaf(ids=(f"spiffe://{TD}/" + "a" * 2028,))], R, "SPIFFE-ID §2.3")
    other_root = Cert("other root", Ec("other root"), exts=ca_exts(ids=("spiffe://other.org",)))
    other = "spiffe://other.org/w"
    xv("17", "another trust domain, whose bundle is not known", [leaf(ids=(other,))], R, BUNDLE)
    xv("18", "another trust domain, signed by this one's root", [leaf(ids=(other,))], R, ISSUER,
       bundles={TD: [ROOT], "other.org": [other_root]})
    xv("18-matrix", "this trust domain, signed by the other one's root", [leaf(other_root)], R, ISSUER,
       bundles={TD: [ROOT], "other.org": [other_root]})
    xv("19", "unknown signer", [leaf(Cert("stranger", Ec("stranger"), exts=ca_exts()))], R, ISSUER)
    xv("19-name", "a stranger of the root's name", [leaf(Cert("root", Ec("stranger"), exts=ca_exts()))], R, SIGNATURE)
    xv("20", "empty bundle", [leaf()], R, ISSUER, roots=())
    xv("21", "leaf is a CA", [leaf(bc="true")], R, SVID5)
    xv("22", "no basic constraints", [leaf(bc=None)], A, "X509-SVID §4.1", deviation=True)
    xv("23", "no key usage", [leaf(ku=None)], R, KU)
    xv("24", "key usage is not critical", [leaf(ku_critical=False)], A, KU, deviation=True)
    xv("25", "key usage without digitalSignature", [leaf(ku=("keyEncipherment",))], R, KU)
    xv("26", "key usage digitalSignature alone", [leaf()], A, KU)
    xv("27", "key usage with keyCertSign", [leaf(ku=("digitalSignature", "keyCertSign"))], R, KU)
    xv("28", "key usage with cRLSign", [leaf(ku=("digitalSignature", "cRLSign"))], R, KU)
    xv("29", "key usage with contentCommitment", [leaf(ku=("digitalSignature", "contentCommitment"))], A, KU)
    xv("30", "no extended key usage", [leaf(usage=None)], A, "X509-SVID §4.4", deviation=True)
    for number, use in (("31", "server"), ("32", "client")):
        single = [leaf(usage=(use,))]
        other_role = "client" if use == "server" else "server"
        xv(f"{number}-{use}", f"extended key usage {use}Auth alone, as the {use}", single, A, EKU_, role=use, deviation=True)
        xv(f"{number}-{other_role}", f"extended key usage {use}Auth alone, as the {other_role}", single, R, EKU_, role=other_role)
    xv("33", "extended key usage is critical", [leaf(eku_critical=True)], A, "X509-SVID §4.4")
    xv("34", "extended key usage codeSigning alone", [leaf(usage=("code",))], R, EKU_)
    xv("35", "extended key usage anyExtendedKeyUsage alone", [leaf(usage=("any",))], R, EKU_)
    xv("36", "empty subject, critical alternative name", [leaf(subject=None)], A, "X509-SVID §3.1")
    xv("37", "empty subject, alternative name not critical", [leaf(subject=None, san_critical=False)], R, "X509-SVID §3.1")
    xv("38", "expired", [leaf(end=PAST)], R, DATES)
    xv("38-own", "expired, loaded with its key", [leaf(end=PAST)], A, "Workload API §5.1", op="load", key=LEAF_KEY)
    xv("38-early", "not valid yet", [leaf(begin=FUTURE)], R, DATES)
    xv("39", "unknown critical extension", [leaf(more=[UNKNOWN])], R, "RFC 5280 §4.2")
    xv("40", "private key of another", [leaf()], R, "Workload API §5.1", op="load", key=Ec("another"))
    selfsigned = Cert("w", LEAF_KEY, exts=[basic(False), key_usage(("digitalSignature",)), eku(("server", "client")), san([uri(ID)])])
    xv("41", "self-signed leaf, which is in the bundle", [selfsigned], R, ISSUER, roots=[selfsigned])
    issued = leaf()
    xv("42", "leaf that is itself in the bundle, its CA is not", [issued], R, ISSUER, roots=[issued])
    xv("43", "authority as the peer", [ROOT], R, SVID5)
    bad = intermediate(ca=False)
    xv("44", "intermediate is no CA", [leaf(bad), bad], R, ISSUER)
    bad = intermediate(bc=False)
    xv("45", "intermediate without basic constraints", [leaf(bad), bad], R, ISSUER)
    bad = intermediate(ku=("digitalSignature",))
    xv("46", "intermediate without keyCertSign", [leaf(bad), bad], R, ISSUER)
    ok = intermediate(ku=None)
    xv("47", "intermediate without key usage", [leaf(ok), ok], A, "RFC 5280 §4.2.1.3", deviation=True)
    ok = intermediate(ku_critical=False)
    xv("48", "intermediate's key usage is not critical", [leaf(ok), ok], A, KU, deviation=True)
    ok = intermediate(ids=(f"spiffe://{TD}/ca",))
    xv("49", "intermediate's ID has a path", [leaf(ok), ok], A, "X509-SVID §3.2", deviation=True)
    ok = intermediate(ids=())
    xv("50", "intermediate without an ID", [leaf(ok), ok], A, "X509-SVID §3.2")
    ok = intermediate(ids=("spiffe://other.org",))
    xv("51", "intermediate's ID is of another trust domain", [leaf(ok), ok], A, "X509-SVID §3.2")
    ok = intermediate(ids=(f"spiffe://{TD}", "spiffe://other.org"))
    xv("52", "intermediate with two URIs", [leaf(ok), ok], A, SVID2, deviation=True)
    bad = intermediate(more=[eku(("code",))])
    xv("53", "intermediate's extended key usage is codeSigning", [leaf(bad), bad], R, EKU_)
    bad = intermediate(end=PAST)
    xv("54", "intermediate is expired", [leaf(bad), bad], R, DATES)
    bad = intermediate(more=[UNKNOWN])
    xv("55", "unknown critical extension of an intermediate", [leaf(bad), bad], R, "RFC 5280 §4.2")
    ok = intermediate(path_len=0)
    xv("56", "intermediate of path length 0", [leaf(ok), ok], A, BC)
    i2 = intermediate(i1, "second", INT2_KEY)
    xv("57", "two intermediates in order", [leaf(i2), i2, i1], A, SVID5)
    xv("58", "two intermediates out of order", [leaf(i2), i1, i2], A, SVID5)
    xv("59", "an intermediate is missing", [leaf(i2), i2], R, ISSUER)
    xv("60", "the root is in the chain", [leaf(i1), i1, ROOT], A, SVID5)
    xv("61", "an unrelated CA is in the chain", [leaf(i1), i1, other_root], A, SVID5)
    xv("62", "leaf is not first", [i1, leaf(i1)], R, SVID5)
    top = intermediate(path_len=0)
    low = intermediate(top, "second", INT2_KEY)
    xv("63", "path length 0 with a CA below", [leaf(low), low, top], R, BC)
    old = Cert("root", ROOT_KEY, exts=ca_exts(), end=PAST)
    xv("64", "authority is expired", [leaf(old)], R, ISSUER, roots=[old])
    nope = Cert("root", ROOT_KEY, exts=ca_exts(ca=False))
    xv("65", "authority is no CA", [leaf(nope)], R, ISSUER, roots=[nope])
    nope = Cert("root", ROOT_KEY, exts=ca_exts(ku=("cRLSign",)))
    xv("66", "authority without keyCertSign", [leaf(nope)], R, ISSUER, roots=[nope])
    r = Cert("root", ROOT_KEY, exts=ca_exts(ids=()))
    xv("67", "authority without an ID", [leaf(r)], A, "X509-SVID §3.2", roots=[r])
    r = Cert("root", ROOT_KEY, exts=ca_exts(ids=(f"spiffe://{TD}/ca",)))
    xv("68", "authority's ID has a path", [leaf(r)], A, "X509-SVID §3.2", roots=[r])
    r = Cert("root", ROOT_KEY, exts=ca_exts(ids=("spiffe://other.org",)))
    xv("69", "authority's ID is of another trust domain", [leaf(r)], A, "X509-SVID §3.2", roots=[r])
    xv("70", "authority is an intermediate", [leaf(i1)], A, "RFC 5280 §6.1.1(d)", roots=[i1])
    twin = Cert("root", Ec("twin"), exts=ca_exts())
    xv("71", "two authorities of one name, the second signed", [leaf(twin)], A, "RFC 5280 §6.1", roots=[ROOT, twin])
    def nc(number, title, verdict, permit=(), exclude=(), id_=ID, critical=True, domain=TD, clause=NC):
        ca = intermediate(more=[constraints(permit, exclude, critical)])
        xv(number, title, [leaf(ca, ids=(id_,)), ca], verdict, clause, domain=domain)
    host = lambda td: f"spiffe://{td}/w"
    nc("72", "permits the host", A, [uri("example.org")])
    nc("73", "permits another host", R, [uri("other.org")])
    nc("74", "permits another host, not critical", R, [uri("other.org")], critical=False)
    nc("75", "excludes the host", R, (), [uri("example.org")])
    nc("76", "excludes another host", A, (), [uri("other.org")])
    nc("77", "permits hosts below, ID is of the domain itself", R, [uri(".example.org")])
    nc("78", "permits hosts below, ID is of one", A, [uri(".example.org")], id_=host("a.example.org"), domain="a.example.org")
    nc("79", "permits the host, ID is below it", R, [uri("example.org")], id_=host("a.example.org"), domain="a.example.org")
    nc("79-case", "permits the host in upper case", A, [uri("EXAMPLE.ORG")])
    nc("80", "permits a single label", A, [uri("localhost")], id_=host("localhost"), domain="localhost")
    nc("81", "permits an address", R, [uri("1.2.3.4")], id_=host("1.2.3.4"), domain="1.2.3.4")
    nc("82", "permits a name with an underscore", R, [uri("under_score.org")], id_=host("under_score.org"), domain="under_score.org")
    nc("83", "permits a URI instead of a host", R, [uri("spiffe://example.org")])
    nc("84", "permits another DNS name alone", A, [dns("other.org")])
    nc("85", "permits and excludes the host", R, [uri("example.org")], [uri("example.org")])
    nc("85-union", "permits two hosts, one of them fits", A, [uri("other.org"), uri("example.org")])
    r = Cert("root", ROOT_KEY, exts=ca_exts(more=[constraints([uri("other.org")])]))
    xv("86", "authority permits another host", [leaf(r)], R, NC, roots=[r])
    upper = intermediate(more=[constraints([uri("example.org"), uri("other.org")])])
    lower = intermediate(upper, "second", INT2_KEY, more=[constraints([uri("other.org")])])
    xv("86-both", "two CAs permit different hosts: both hold", [leaf(lower), lower, upper], R, NC)
    own = intermediate(ids=("spiffe://other.org",), more=[constraints([uri("example.org")])])
    xv("86-self", "a CA's own ID is outside of what it permits", [leaf(own), own], A, "RFC 5280 §6.1.3(b)")
    forged = intermediate(Cert("root", Ec("stranger"), exts=ca_exts()), more=[constraints([uri("example.org")])])
    xv("86-forged", "a constrained intermediate by a stranger of the root's name", [leaf(forged), forged], R, SIGNATURE)
    xv("87", "URI with a byte beyond ASCII", [leaf(names=[uri(b"spiffe://example.org/w\xc3\xa4")])], R, "RFC 5280 §4.1")
    xv("87-latin", "URI that is no UTF-8", [leaf(names=[uri(b"spiffe://example.org/w\xe4")])], R, "RFC 5280 §4.1")
    xv("88", "two subject alternative name extensions", [leaf(more=[san([uri(ID)])])], R, "RFC 5280 §4.1")
    sha1 = seq(oid("1.2.840.10045.4.1"))
    by_sha1 = lambda tbs: ROOT_KEY.key.sign(tbs, ec.ECDSA(hashes.SHA1(), deterministic_signing=True))
    xv("89", "signed with SHA-1", [leaf(algorithm=sha1, signature=by_sha1)], R, SIGNATURE)
    weak = Rsa("weak", 1024)
    xv("90", "RSA leaf of 1024 bits", [leaf(key=weak)], R, "RFC 7518 §3.3")
    weak_root = Cert("root", weak, exts=ca_exts())
    xv("90-ca", "RSA authority of 1024 bits", [leaf(weak_root)], R, SIGNATURE, roots=[weak_root])
    xv("91", "Ed25519 leaf", [leaf(key=Ed("leaf"))], A, SVID5)
    wide = Cert("root", Ec("wide", "P-521"), exts=ca_exts())
    xv("92", "P-521 authority", [leaf(wide)], A, SVID5, roots=[wide], needs="P-521")
    xv("92-p384", "P-384 authority and leaf", [leaf(c := Cert("root", Ec("p384 root", "P-384"), exts=ca_exts()), key=Ec("p384 leaf", "P-384"))], A, SVID5, roots=[c])
    rsa_root = Cert("root", Rsa("root"), exts=ca_exts())
    xv("92-rsa", "RSA authority and leaf", [leaf(rsa_root, key=Rsa("leaf"))], A, SVID5, roots=[rsa_root])
    v1 = Cert("intermediate", INT_KEY, ROOT, version=1)
    xv("93", "intermediate of version 1", [leaf(v1), v1], R, ISSUER)
    a = intermediate(path_len=0)
    b = intermediate(a, "intermediate", INT2_KEY)
    xv("94", "self-issued CA below path length 0", [leaf(b), b, a], A, BC)
    c = intermediate(b, "third", Ec("third"))
    xv("94-more", "self-issued and another CA below path length 0", [leaf(c), c, b, a], R, BC)
    xv("95", "the two signature algorithms differ", [leaf(outer=seq(oid("1.2.840.10045.4.3.3")))], R, "RFC 5280 §4.1")
    xv("96", "bytes after the certificate", [leaf(), b"\0"], R, "RFC 5280 §4.1")
    chain, issuer = [], ROOT
    for n in range(16):
        issuer = intermediate(issuer, f"ca {n}", Ec(f"ca {n}"))
        chain.insert(0, issuer)
    xv("97", "chain of 17 certificates", [leaf(issuer)] + chain, R, "")
    many = [uri(f"h{n}.example.com") for n in range(1000)]
    bomb, issuer = [], ROOT
    for n in range(5):
        issuer = intermediate(issuer, f"bomb {n}", Ec(f"bomb {n}"), more=[constraints((), many)])
        bomb.insert(0, issuer)
    names = [uri(ID)] + [dns(f"n{n}.example.com") for n in range(60)]
    xv("97-names", "name constraints beyond any budget", [leaf(issuer, names=names)] + bomb, R, "")
    pem = f"-----BEGIN CERTIFICATE-----\n{b64(leaf().der)}\n-----END CERTIFICATE-----\n".encode()
    xv("98", "PEM in place of DER", [pem], R, "RFC 5280 §4.1")
    xv("99", "the bundle of its trust domain is gone", [leaf()], R, BUNDLE, bundles={})
    second_root = Cert("second root", Ec("second root"), exts=ca_exts())
    cross1, cross2 = intermediate(second_root), intermediate(ROOT)
    xv("100", "CA signed by two roots, one of them known", [leaf(cross1), cross1, cross2], A, "RFC 5280 §6.1")
    sub = intermediate(other_root, "sub of example.org")
    xv("101", "authority that another trust domain's root signed", [leaf(sub)], A, SVID5, roots=[sub])
    xv("102", "the same, but the authority is not in the bundle", [leaf(sub), sub], R, ISSUER,
       bundles={TD: [ROOT], "other.org": [other_root]})
    xv("103", "last byte of the signature changed", [leaf(mutate=lambda s: s[:-1] + bytes([s[-1] ^ 1]))], R, SIGNATURE)
    xv("104", "chain is empty", [], R, BUNDLE)

# --- Tokens --------------------------------------------------------------------------------------------------------

EC1, P384, P521, RSA1 = Ec("ec1"), Ec("p384", "P-384"), Ec("p521", "P-521"), Rsa("rsa1")
HEADER = {"alg": "ES256", "kid": "ec1", "typ": "JWT"}
CLAIMS = {"sub": ID, "aud": ["svc"], "exp": EXP, "iat": NOW}

def text(value): return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)

def jws(header, claims, key, alg=None, signature=None):
    signed = f"{b64u(text(header).encode())}.{b64u(text(claims).encode())}"
    raw = key.sign_fixed(signed.encode(), alg or (header.get("alg") if isinstance(header, dict) else None))
    return f"{signed}.{b64u(signature(signed.encode(), raw) if signature else raw)}"

def entry(key, kid, use="jwt-svid", **more): return {"use": use, **key.jwk(), "kid": kid, **more}

JWKS = {"keys": [entry(EC1, "ec1"), entry(RSA1, "rsa1"), entry(P384, "p384"), entry(P521, "p521")]}
JWT = []

def jv(number, title, token, verdict, clause, bundles=None, audiences=("svc",), leeway=0, **more):
    JWT.append({"id": f"JV-{number}", "op": "verify", "input": {"token": token, "audiences": list(audiences),
                "bundles": {TD: JWKS} if bundles is None else bundles, "now": NOW, "leeway": leeway},
                "verdict": verdict, "reason": title, "clause": clause, **more})

def h(**kw): return {k: v for k, v in {**HEADER, **kw}.items() if v is not ...}
def c(**kw): return {k: v for k, v in {**CLAIMS, **kw}.items() if v is not ...}

ALG, TYP, SUB, AUD, EXP_, FORM, HEAD, KEY, SIG, FIT, DATE = ("JWT-SVID §2.1", "JWT-SVID §2.3", "JWT-SVID §3.1",
    "JWT-SVID §3.2", "JWT-SVID §3.3", "RFC 7515 §3.1", "JWT-SVID §2", "JWT-SVID §6.2", "RFC 7515 §5.2", "RFC 8725 §3.1",
    "RFC 7519 §2")
CRIT, KID = "RFC 7515 §4.1.11", "JWT-SVID §2.2"

def jwt():
    good = jws(HEADER, CLAIMS, EC1)
    head, payload, sig = good.split(".")
    def hv(number, title, verdict, clause, claims=CLAIMS, key=EC1, **kw): jv(number, title, jws(h(**kw), claims, key), verdict, clause)
    def cv(number, title, verdict, clause, leeway=0, clock=False, **kw):
        jv(number, title, jws(HEADER, c(**kw), EC1), verdict, clause, leeway=leeway, **({"clock": True} if clock else {}))
    def raw(number, title, token, clause, verdict=R, **kw): jv(number, title, token, verdict, clause, **kw)
    jv("01", "baseline", good, A, "JWT-SVID §4")
    hv("02", "no typ", A, TYP, typ=...)
    hv("03", "typ JOSE", A, TYP, typ="JOSE")
    for n, typ in (("04", "jwt"), ("05", ""), ("06", "at+jwt"), ("07", "wit+jwt")):
        hv(n, f"typ {typ!r}", R, TYP, typ=typ)
    hv("07-number", "typ is a number", R, FORM, typ=1)
    hv("08", "no kid: the keys that fit are tried", A, KID, kid=...)
    hv("08-other", "no kid, and no key that fits signed", R, SIG, kid=..., key=Ec("another"))
    hv("09", "empty kid", R, KID, kid="")
    hv("10", "unknown kid", R, KEY, kid="nobody")
    hv("10-path", "kid that looks like a path", R, KEY, kid="../../etc/passwd")
    hv("11", "kid is a number", R, FORM, kid=1)
    hv("12", "kid of another key", R, FIT, kid="rsa1")
    hv("13", "unknown critical header", R, CRIT, crit=["foo"], foo=1)
    hv("14", "critical header exp", R, CRIT, crit=["exp"], exp=EXP)
    hv("15", "empty list of critical headers", R, CRIT, crit=[])
    hv("16", "critical header b64", R, CRIT, crit=["b64"], b64=True)
    hv("17", "header jku", R, HEAD, jku="https://evil.example/keys")
    hv("18", "header jwk, the attacker's key", R, HEAD, jwk=Ec("attacker").jwk())
    hv("19", "private header", R, HEAD, foo="bar")
    hv("20", "header cty", R, HEAD, cty="JWT")
    hv("21", "header zip", R, HEAD, zip="DEF")
    for n, alg in (("22", "none"), ("23", "es256"), ("24", "ES256K"), ("25", "EdDSA")):
        hv(n, f"alg {alg}", R, ALG, alg=alg)
    jv("26", "alg RS256 over an EC key", jws(h(alg="RS256"), CLAIMS, EC1), R, FIT)
    cv("27", "aud is one text", A, AUD, aud="svc")
    cv("28", "aud has two values", A, AUD, aud=["x", "svc"])
    cv("29", "aud is another", R, AUD, aud=["other"])
    cv("30", "no aud", R, AUD, aud=...)
    for n, title, aud in (("31", "aud is empty", []), ("32", "aud is the empty text", ""), ("33", "aud is a number", 1),
                          ("34", "aud holds a number", ["svc", 1]), ("35", "aud in another case", ["SVC"]),
                          ("35-null", "aud is null", None)):
        cv(n, title, R, AUD, aud=aud)
    cv("36", "aud has 33 values", A, AUD, aud=["svc"] + [f"a{n}" for n in range(32)])
    cv("37", "no exp", R, EXP_, exp=...)
    cv("38", "expired 30 seconds ago, leeway 60", A, EXP_, 60, True, exp=NOW - 30)
    cv("38-strict", "expired 30 seconds ago, no leeway", R, EXP_, 0, True, exp=NOW - 30)
    cv("38-now", "expires now, no leeway", R, EXP_, 0, True, exp=NOW)
    cv("39", "expired long ago", R, EXP_, 60, exp=PAST)
    cv("40", "exp with a fraction", A, DATE, exp=EXP + 0.5)
    for n, title, exp in (("41", "exp is a text", str(EXP)), ("42", "exp is null", None), ("43", "exp is 0", 0),
                          ("43-negative", "exp is negative", -1), ("43-object", "exp is an object", {}),
                          ("44", "exp is after the year 9999", 10**18)):
        cv(n, title, R, EXP_, exp=exp)
    jv("45", "exp written with a fraction of zero", jws(HEADER, text(c(exp=9_900_000_000)).replace("9900000000", "9900000000.0"), EC1), A, DATE)
    cv("46", "nbf in the future", R, "RFC 7519 §4.1.5", 60, nbf=FUTURE, exp=LATE)
    cv("47", "nbf in 30 seconds, leeway 60", A, "RFC 7519 §4.1.5", 60, True, nbf=NOW + 30)
    cv("47-text", "nbf is a text", R, DATE, nbf="soon")
    cv("48", "iat in the future", R, "RFC 7519 §4.1.6", 60, iat=FUTURE, exp=LATE)
    cv("49", "no iat", A, "JWT-SVID §3", iat=...)
    cv("50", "iat is a text", R, DATE, iat="now")
    cv("51", "no sub", R, SUB, sub=...)
    cv("52", "sub is no SPIFFE ID", R, "SPIFFE-ID §2", sub="w")
    cv("53", "sub is a trust domain", R, SUB, sub=f"spiffe://{TD}")
    cv("54", "sub with a trailing slash", R, "SPIFFE-ID §2.2", sub=ID + "/")
    cv("55", "sub with an upper-case scheme", R, "SPIFFE-ID §2", sub=f"SPIFFE://{TD}/w")
    cv("56", "sub with an upper-case trust domain", R, "SPIFFE-ID §2.1", sub="spiffe://EXAMPLE.ORG/w")
    cv("57", "sub of another trust domain", R, KEY, sub="spiffe://other.org/w")
    cv("58", "sub is a list", R, SUB, sub=[ID])
    cv("59", "iss is there", A, "JWT-SVID §3", iss="https://issuer.example")
    cv("60", "private claims", A, "JWT-SVID §3", groups=["a"], deep={"a": {"b": 1}})
    jv("61", "alg none, empty signature", jws(h(alg="none"), CLAIMS, EC1).rsplit(".", 1)[0] + ".", R, ALG)
    raw("62", "signature removed", f"{head}.{payload}.", SIG)
    raw("63", "two parts", f"{head}.{payload}", FORM)
    raw("64", "five parts", f"{good}.e30.e30", FORM)
    raw("65", "leading space", " " + good, FORM)
    raw("66", "trailing newline", good + "\n", FORM)
    raw("66-inner", "newline inside a part", f"{head[:10]}\n{head[10:]}.{payload}.{sig}", FORM)
    raw("67", "Bearer prefix", "Bearer " + good, FORM)
    raw("68", "padded header", f"{head}=.{payload}.{sig}", FORM)
    plus = next(t for t in (jws(HEADER, c(n=n), EC1) for n in range(200)) if set("-_") & set(t.rsplit(".", 1)[1]))
    front, last = plus.rsplit(".", 1)
    raw("69", "standard alphabet in the signature", f"{front}.{last.replace('-', '+').replace('_', '/')}", FORM)
    raw("70", "JSON serialization", text({"payload": payload, "protected": head, "signature": sig}), FORM)
    raw("71", "payload tampered with", f"{head}.{b64u(text(c(sub=f'spiffe://{TD}/x')).encode())}.{sig}", SIG)
    flip = "A" if sig[40] != "A" else "B"
    raw("72", "signature changed", f"{head}.{payload}.{sig[:40]}{flip}{sig[41:]}", SIG)
    raw("72-bits", "unused bits at the end of the signature", f"{head}.{payload}.{sig[:-1]}{'BCDFGHIJKLM'[0] if sig[-1] in 'AQgw' else 'x'}", FORM)
    raw("73", "signature of 63 bytes", jws(HEADER, CLAIMS, EC1, signature=lambda m, s: s[:63]), SIG)
    raw("74", "signature of zeros", jws(HEADER, CLAIMS, EC1, signature=lambda m, s: bytes(64)), SIG)
    raw("75", "signature in DER", jws(HEADER, CLAIMS, EC1, signature=lambda m, s: EC1.sign(m)), SIG)
    raw("76", "signed by another key of that kid", jws(HEADER, CLAIMS, Ec("another")), SIG)
    raw("77", "payload is no JSON", jws(HEADER, "hello", EC1), FORM)
    raw("78", "header is no JSON", jws("hello", CLAIMS, EC1), FORM)
    t = text(CLAIMS)
    raw("79", "sub twice", jws(HEADER, t[:-1] + f',"sub":"spiffe://{TD}/x"}}', EC1), FORM)
    raw("80", "alg twice", jws(text(HEADER)[:-1] + ',"alg":"ES256"}', CLAIMS, EC1), FORM)
    raw("81", "exp twice, the first in the past", jws(HEADER, f'{{"exp":{PAST},' + t[1:], EC1), FORM)
    raw("81-escaped", "exp twice, once escaped", jws(HEADER, f'{{"\\u0065xp":{PAST},' + t[1:], EC1), FORM)
    raw("82", "SUB in place of sub", jws(HEADER, c(sub=..., SUB=ID), EC1), SUB)
    raw("83", "byte order mark before the payload", jws(HEADER, "\ufeff" + t, EC1), FORM)
    raw("84", "empty text", "", FORM)
    for alg, key, kid in (("RS256", RSA1, "rsa1"), ("RS384", RSA1, "rsa1"), ("RS512", RSA1, "rsa1"), ("PS256", RSA1, "rsa1"),
                          ("PS384", RSA1, "rsa1"), ("PS512", RSA1, "rsa1"), ("ES384", P384, "p384")):
        jv("85" if alg == "RS256" else f"85-{alg}", f"baseline in {alg}", jws(h(alg=alg, kid=kid), CLAIMS, key), A, ALG)
    jv("85-ES512", "baseline in ES512", jws(h(alg="ES512", kid="p521"), CLAIMS, P521), A, ALG, needs="P-521")
    jv("86", "RS256 signature, header PS256", jws(h(alg="PS256", kid="rsa1"), CLAIMS, RSA1, "RS256"), R, SIG)
    jv("87", "RS256 signature, header RS512", jws(h(alg="RS512", kid="rsa1"), CLAIMS, RSA1, "RS256"), R, SIG)
    import hmac
    mac = lambda m, s: hmac.new(RSA1.n.to_bytes(256, "big"), m, "sha256").digest()
    jv("88", "HS256 keyed with the RSA modulus", jws(h(alg="HS256", kid="rsa1"), CLAIMS, RSA1, "RS256", mac), R, ALG)
    jv("89", "header ES256, P-384 key and signature", jws(h(kid="p384"), CLAIMS, P384), R, FIT)
    foreign = Ec("foreign")
    jv("90", "one kid in two trust domains, signed by the other's key", jws(HEADER, CLAIMS, foreign), R, SIG,
       {TD: JWKS, "other.org": {"keys": [entry(foreign, "ec1")]}})
    jv("91", "kid of a wit-svid entry alone", good, R, KEY, {TD: {"keys": [entry(EC1, "ec1", "wit-svid")]}})
    jv("92", "kid of an x509-svid entry alone", good, R, KEY,
       {TD: {"keys": [{"use": "x509-svid", **ROOT_KEY.jwk(), "kid": "ec1", "x5c": [b64(ROOT.der)]}]}})
    jv("93", "bundle without keys", good, R, KEY, {TD: {"keys": []}})
    jv("94", "two keys of one kid", good, R, KEY, {TD: {"keys": [entry(EC1, "ec1"), entry(foreign, "ec1")]}})
    jv("95", "key is gone from the bundle", good, R, KEY, {TD: {"keys": [entry(P384, "p384")]}})
    jv("95-bundle", "bundle is gone", good, R, KEY, {})
    wit_claims = {"sub": ID, "exp": EXP, "cnf": {"jwk": {**Ec("holder").jwk(), "alg": "ES256"}}}
    jv("96", "WIT-SVID as a JWT-SVID", jws(h(typ="wit+jwt"), wit_claims, EC1), R, TYP)
    jv("97", "PS256 with a salt of no bytes", jws(h(alg="PS256", kid="rsa1"), CLAIMS, RSA1, signature=lambda m, s: RSA1.pss(m, "256", 0)), R, SIG)
    weak = Rsa("weak", 1024)
    jv("98", "RSA key of 1024 bits", jws(h(alg="RS256", kid="weak"), CLAIMS, weak), R, KEY, {TD: {"keys": [entry(weak, "weak")]}})
    jv("99", "verifier without a name", good, R, AUD, audiences=())
    jv("99-empty", "verifier whose name is empty", jws(HEADER, c(aud=""), EC1), R, AUD, audiences=("",))
    jv("100", "one of the verifier's two names", good, A, AUD, audiences=("x", "svc"))
    jv("101", "token longer than 16 KiB", jws(HEADER, c(pad="a" * 13000), EC1), R, "")
    def high(m, s):
        n = ORDERS["P-256"]
        return s[:32] + (n - int.from_bytes(s[32:], "big")).to_bytes(32, "big")
    jv("102", "s replaced by n - s", jws(HEADER, CLAIMS, EC1, signature=high), A, "RFC 7518 §3.4")
    jv("103", "header deeply nested", jws('{"alg":"ES256","kid":' + "[" * 2000 + "]" * 2000 + "}", CLAIMS, EC1), R, FORM)
    jv("104", "claims are a list", jws(HEADER, "[]", EC1), R, FORM)

# --- Bundles -------------------------------------------------------------------------------------------------------

X5 = {"use": "x509-svid", **ROOT_KEY.jwk(), "x5c": [b64(ROOT.der)]}
JK = {"use": "jwt-svid", "kid": "a", **EC1.jwk()}
WK = {"use": "wit-svid", "kid": "w", **P384.jwk()}
BUNDLES = []

def bv(number, title, document, verdict, clause, x509=1, jwt=0, wit=0, sequence=1, refresh=300, **more):
    item = {"id": f"BV-{number}", "op": "parse", "input": {"trust_domain": TD, "document": text(document)},
            "verdict": verdict, "reason": title, "clause": clause}
    if verdict == A:
        item["expect"] = {"x509": x509, "jwt": jwt, "wit": wit, "sequence": str(sequence), "refresh": refresh}
    BUNDLES.append({**item, **more})

def doc(*keys, **members):
    return {k: v for k, v in {"keys": list(keys), "spiffe_sequence": 1, "spiffe_refresh_hint": 300, **members}.items() if v is not ...}

def but(base, **kw): return {k: v for k, v in {**base, **kw}.items() if v is not ...}

def bundle():
    D, USE, KTY, KEYS, X51, X52, JWK_ = ("Trust Domain and Bundle §4", "Trust Domain and Bundle §4.2.2",
        "Trust Domain and Bundle §4.2.1", "Trust Domain and Bundle §4.1.3", "X509-SVID §6.1", "X509-SVID §6.2", "RFC 7517 §4")
    CUR, SEQ, HINT, UNIQUE = "RFC 7518 §6.2.1.2", "Trust Domain and Bundle §4.1.1", "Trust Domain and Bundle §4.1.2", "RFC 7517 §4.5"
    def entry_(n, title, bad, clause, x509=1, jwt=0, other=X5, **kw): bv(n, title, doc(other, bad), A, clause, x509, jwt, ignored=1, **kw)
    bv("01", "an X.509 authority and a JWT key", doc(X5, JK), A, D, 1, 1)
    bv("02", "the same X.509 authority twice", doc(X5, X5), A, D)
    bv("03", "no keys", doc(), A, KEYS, 0)
    bv("04", "keys missing", doc(keys=...), R, KEYS)
    bv("05", "keys null", doc(keys=None), R, KEYS)
    bv("06", "keys an object", doc(keys={}), R, D)
    entry_("07", "an entry that is no object", 1, JWK_)
    entry_("08", "an entry that is null", None, JWK_)
    bv("09", "empty input", "", R, D)
    bv("10", "HTML", "<html></html>", R, D)
    bv("11", "null", "null", R, D)
    bv("12", "text after the object", text(doc(X5)) + " x", R, D)
    bv("13", "two objects", text(doc(X5)) * 2, R, D)
    bv("14", "byte order mark", "\ufeff" + text(doc(X5)), R, D)
    entry_("15", "use missing", but(X5, use=...), USE, 0, 1, JK)
    bv("16", "use unknown", doc(X5, but(JK, use="foo")), A, USE)
    bv("17", "use in upper case", doc(but(X5, use="X509-SVID"), JK), A, USE, 0, 1)
    entry_("18", "use is a number", but(JK, use=1), JWK_)
    entry_("19", "use is a list", but(JK, use=["jwt-svid"]), JWK_)
    bv("20", "a WIT key", doc(X5, JK, WK), A, USE, 1, 1, 1)
    bv("21", "unknown uses alone", doc(but(X5, use="foo")), A, KEYS, 0)
    entry_("22", "kty missing", but(JK, kty=...), "RFC 7518 §6")
    entry_("23", "kty unknown", but(JK, kty="AKP"), KTY)
    entry_("24", "kty oct", {"use": "jwt-svid", "kid": "a", "kty": "oct", "k": "AAAA"}, "Trust Domain and Bundle §4.2")
    entry_("25", "kty OKP", {"use": "jwt-svid", "kid": "a", **Ed("a").jwk()}, KTY)
    entry_("26", "crv secp256k1", but(JK, crv="secp256k1"), KTY)
    entry_("27", "point is not on the curve", but(JK, y=b64u(bytes(31) + b"\1")), CUR)
    entry_("27-short", "coordinate is short", but(JK, x=b64u(EC1.x[1:])), "RFC 7518 §6")
    entry_("28", "n missing", {"use": "jwt-svid", "kid": "a", "kty": "RSA", "e": "AQAB"}, "RFC 7518 §6")
    entry_("28-weak", "RSA key of 1024 bits", entry(Rsa("weak", 1024), "a"), "RFC 7518 §3.3")
    entry_("29", "private member d", but(JK, d=b64u(bytes(32))), "Trust Domain and Bundle §4.2")
    entry_("30", "kid missing", but(JK, kid=...), "JWT-SVID §6.1")
    entry_("31", "kid empty", but(JK, kid=""), "JWT-SVID §6.1")
    bv("32", "one kid twice, the same key", doc(X5, JK, JK), A, UNIQUE, 1, 1)
    bv("33", "one kid twice, two keys", doc(X5, JK, but(JK, **Ec("b").jwk())), A, UNIQUE, 1, 0, ignored=1)
    bv("34", "one kid for a JWT and a WIT key", doc(X5, JK, but(WK, kid="a")), A, "WIT-SVID §6.1", 1, 1, 0)
    bv("35", "kid on an X.509 authority", doc(but(X5, kid="x"), JK), A, X51, 1, 1)
    entry_("36", "x5c missing", but(X5, x5c=...), X52, 0, 1, JK)
    entry_("37", "x5c empty", but(X5, x5c=[]), X52, 0, 1, JK)
    entry_("38", "x5c a text", but(X5, x5c=b64(ROOT.der)), "RFC 7518 §6", 0, 1, JK)
    other = Cert("other", Ec("other"), exts=ca_exts())
    bv("39", "x5c with two certificates", doc(but(X5, x5c=[b64(ROOT.der), b64(other.der)])), A, X52)
    bv("40", "second element of x5c is garbage", doc(but(X5, x5c=[b64(ROOT.der), "!"])), A, X52)
    entry_("41", "x5c in base64url", but(X5, x5c=[b64u(ROOT.der)]), X51, 0, 1, JK)
    entry_("42", "x5c holds PEM", but(X5, x5c=[f"-----BEGIN CERTIFICATE-----\n{b64(ROOT.der)}\n-----END CERTIFICATE-----"]), X51, 0, 1, JK)
    lines = "\r\n".join(b64(ROOT.der)[i:i + 64] for i in range(0, len(b64(ROOT.der)), 64))
    bv("43", "x5c with line breaks", doc(but(X5, x5c=[lines]), JK), A, X51, 1, 1)
    entry_("44", "x5c is no certificate", but(X5, x5c=["AAAA"]), X51, 0, 1, JK)
    entry_("45", "bytes after the certificate", but(X5, x5c=[b64(ROOT.der + b"\0")]), X51, 0, 1, JK)
    entry_("46", "x5c is of another key", but(X5, **Ec("other").jwk()), "RFC 7517 §4.7", 0, 1, JK)
    entry_("47", "x5c is a leaf", {"use": "x509-svid", **LEAF_KEY.jwk(), "x5c": [b64(leaf().der)]}, X51, 0, 1, JK)
    bv("48", "x5c on a JWT key", doc(X5, but(JK, x5c=[b64(ROOT.der)])), A, "JWT-SVID §6.1", 1, 1)
    entry_("49", "x5c alone, no parameters", {"use": "x509-svid", "x5c": [b64(ROOT.der)]}, "RFC 7518 §6", 0, 1, JK)
    seq_ = lambda n, title, raw, want: bv(n, title, text(doc(X5, spiffe_sequence="@")).replace('"@"', raw), A, SEQ, sequence=want)
    seq_("50", "sequence 0", "0", 0)
    seq_("51", "sequence 2^63-1", str(2**63 - 1), 2**63 - 1)
    seq_("52", "sequence 2^64-1", str(2**64 - 1), 2**64 - 1)
    for n, title, raw in (("53", "2^64", str(2**64)), ("54", "-1", "-1"), ("55", "a text", '"1"'), ("56", "1.5", "1.5"),
                          ("57", "1.0", "1.0"), ("58", "1e3", "1e3")):
        seq_(n, f"sequence {title}: as if there were none", raw, 0)
    bv("59", "no refresh hint", doc(X5, spiffe_refresh_hint=...), A, HINT)
    hint = lambda n, title, raw, want: bv(n, title, text(doc(X5, spiffe_refresh_hint="@")).replace('"@"', raw), A, HINT, refresh=want)
    hint("60", "refresh hint 0: as if there were none", "0", 300)
    hint("60-one", "refresh hint 1: the least", "1", 60)
    hint("61", "refresh hint -1: as if there were none", "-1", 300)
    hint("62", "refresh hint of 28 days: the most", "2419200", 86400)
    hint("63", "refresh hint 2^31: the most", str(2**31), 86400)
    hint("64", "refresh hint 2^63-1: the most", str(2**63 - 1), 86400)
    hint("65", "refresh hint 2^63: the most", str(2**63), 86400)
    hint("66", "refresh hint is a text", '"300"', 300)
    hint("67", "refresh hint 1.5", "1.5", 300)
    bv("68", "names without their prefix", doc(X5, sequence=9, refresh_hint=9), A, SEQ)
    bv("69", "unknown member", doc(X5, foo={"bar": 1}), A, "Trust Domain and Bundle §4.1")
    bv("70", "member trust_domain", doc(X5, trust_domain="other.org"), A, "Trust Domain and Bundle §3")
    bv("71", "keys twice", text(doc(X5))[:-1] + ',"keys":[]}', R, D)
    bv("72", "KEYS in place of keys", text(doc(X5)).replace('"keys"', '"KEYS"'), R, KEYS)
    bv("73", "use twice in an entry", text(doc(X5, "@")).replace('"@"', text(JK)[:-1] + ',"use":"jwt-svid"}'), A, JWK_, ignored=1)
    # The mark in the document stands for so many copies of the text.
    many = lambda n: (text(doc(X5)).replace('"keys":[', '"keys":[@REPEAT@'), {"text": '{"use":"foo"},', "times": n})
    for n, title, (document, repeat), verdict, clause in (("74", "10 000 unknown entries", many(10_000), A, USE),
                                                          ("75", "70 000 entries", many(70_000), R, "")):
        bv(n, title, document, verdict, clause)
        BUNDLES[-1]["input"]["repeat"] = repeat
    ed = Cert("root", Ed("root"), exts=ca_exts())
    bv("76", "Ed25519 authority", doc({"use": "x509-svid", **Ed("root").jwk(), "x5c": [b64(ed.der)]}), A, X51)
    wide = Cert("root", Ec("wide", "P-521"), exts=ca_exts())
    bv("77", "P-521 authority", doc({"use": "x509-svid", **Ec("wide", "P-521").jwk(), "x5c": [b64(wide.der)]}), A, X51)

MAPS = []

def bundle_map():
    good, M = doc(X5, JK), "Trust Domain and Bundle §5.1.1"
    def mv(n, title, document, verdict, clause=M, domains=(), refresh=None):
        item = {"id": f"BM-{n}", "op": "parse", "input": {"document": text(document)}, "verdict": verdict, "reason": title, "clause": clause}
        if verdict == A:
            item["expect"] = {"trust_domains": list(domains), "refresh_hint": refresh}
        MAPS.append(item)
    mv("01", "empty object", {}, R)
    mv("02", "no trust domains", {"trust_domains": {}}, A)
    mv("03", "one bundle", {"trust_domains": {TD: good}}, A, domains=[TD])
    mv("04", "name is a SPIFFE ID", {"trust_domains": {f"spiffe://{TD}": good}}, R)
    mv("05", "name in upper case", {"trust_domains": {"Example.org": good}}, R)
    mv("06", "one name twice", f'{{"trust_domains":{{"{TD}":{text(good)},"{TD}":{text(good)}}}}}', R)
    mv("07", "one name twice, once escaped", f'{{"trust_domains":{{"{TD}":{text(good)},"ex\\u0061mple.org":{text(good)}}}}}', R)
    mv("08", "a bundle without keys member", {"trust_domains": {TD: good, "other.org": {}}}, R, "Trust Domain and Bundle §4.1.3")
    mv("09", "hint inside a bundle", {"trust_domains": {TD: doc(X5, spiffe_refresh_hint=1)}, "spiffe_refresh_hint": 600}, A, domains=[TD], refresh=600)
    mv("10", "unknown member", {"trust_domains": {TD: good}, "foo": 1}, A, domains=[TD])
    mv("11", "no JSON", "<html>", R, "Trust Domain and Bundle §4")
    mv("12", "two bundles", {"trust_domains": {TD: good, "other.org": good}}, A, domains=[TD, "other.org"])
    mv("13", "trust_domains twice", f'{{"trust_domains":{{}},"trust_domains":{{}}}}', R, "Trust Domain and Bundle §4")

# --- WIT-SVIDs -----------------------------------------------------------------------------------------------------

HOLDER = Ec("holder")
WITS = []

def wit():
    bundle_ = {TD: {"keys": [entry(EC1, "k1", "wit-svid"), entry(P384, "j1", "jwt-svid")]}}
    header = {"alg": "ES256", "kid": "k1", "typ": "wit+jwt"}
    cnf = {"jwk": {**HOLDER.jwk(), "alg": "ES256"}}
    claims = {"sub": ID, "exp": EXP, "iat": NOW, "jti": "x", "cnf": cnf}
    good = jws(header, claims, EC1)
    def wv(n, title, token, verdict, clause, leeway=60, bundles=bundle_, op="verify", clock=False, **input_):
        WITS.append({"id": f"WV-{n}", "op": op, "input": {"token": token, "bundles": bundles, "now": NOW, "leeway": leeway, **input_},
                     "verdict": verdict, "reason": title, "clause": clause, **({"clock": True} if clock else {})})
    def hv(n, title, verdict, clause, **kw): wv(n, title, jws(but(header, **kw), claims, EC1), verdict, clause)
    def cv(n, title, verdict, clause, clock=False, **kw): wv(n, title, jws(header, but(claims, **kw), EC1), verdict, clause, clock=clock)
    T, K, AL, S, C, E, AU = ("WIT-SVID §2.2", "WIT-SVID §2.1", "WIT-SVID §2.3", "WIT-SVID §3.1", "WIT-SVID §3.2",
                             "WIT-SVID §3.4", "WIT-SVID §3.8")
    wv("01", "baseline", good, A, "WIT-SVID §4")
    for n, typ in (("02", ...), ("03", "JWT"), ("04", "WIT+JWT"), ("05", "application/wit+jwt"), ("06", "wit")):
        hv(n, "no typ" if typ is ... else f"typ {typ}", R, T, typ=typ)
    hv("07", "no kid", R, K, kid=...)
    hv("08", "empty kid", R, K, kid="")
    hv("09", "kid in another case", R, "WIT-SVID §6.2", kid="K1")
    hv("10", "alg none", R, AL, alg="none")
    hv("11", "alg EdDSA", R, AL, alg="EdDSA")
    hv("12", "unknown header", A, "WIT-SVID §2.4", foo=1)
    hv("13", "unknown critical header", R, CRIT, crit=["foo"], foo=1)
    hv("14", "empty list of critical headers", R, CRIT, crit=[])
    cv("15", "no sub", R, S, sub=...)
    cv("16", "sub is no SPIFFE ID", R, "SPIFFE-ID §2", sub="wimse://example.org/w")
    cv("17", "sub is a trust domain", R, S, sub=f"spiffe://{TD}")
    cv("18", "sub of another trust domain", R, "WIT-SVID §6.2", sub="spiffe://other.org/w")
    cv("19", "no exp", R, E, exp=...)
    cv("20", "expired 30 seconds ago, leeway 60", A, E, True, exp=NOW - 30)
    cv("21", "expired 10 minutes ago", R, E, exp=NOW - 600)
    cv("22", "nbf in the future", R, "WIT-SVID §3.5", nbf=FUTURE, exp=LATE)
    cv("23", "nbf in 30 seconds, leeway 60", A, "WIT-SVID §3.5", True, nbf=NOW + 30)
    cv("24", "iat in the future", A, "WIT-SVID §3.6", iat=FUTURE)
    cv("25", "no iat", A, "WIT-SVID §3.6", iat=...)
    cv("26", "no jti", A, "WIT-SVID §3.3", jti=...)
    for n, aud in (("27", "svc"), ("28", ["svc"]), ("29", []), ("30", None)):
        cv(n, f"aud {json.dumps(aud)}", R, AU, aud=aud)
    cv("31", "opaque iss", A, "WIT-SVID §3.7", iss="issuer")
    cv("32", "iss is an https URL", A, "WIT-SVID §3.7", iss="https://issuer.example")
    cv("33", "unknown claim", A, "WIT-SVID §3.8", foo=1)
    jwk = cnf["jwk"]
    for n, title, value in (
            ("34", "no cnf", ...), ("35", "cnf null", None), ("36", "cnf empty", {}), ("37", "cnf.jkt alone", {"jkt": "x"}),
            ("38", "cnf.kid alone", {"kid": "x"}), ("39", "cnf.jwk a text", {"jwk": "x"}),
            ("40", "cnf.jwk without alg", {"jwk": but(jwk, alg=...)}), ("41", "cnf.jwk alg none", {"jwk": but(jwk, alg="none")}),
            ("42", "cnf.jwk oct, HS256", {"jwk": {"kty": "oct", "k": "AAAA", "alg": "HS256"}}),
            ("43", "cnf.jwk oct, ES256", {"jwk": {"kty": "oct", "k": "AAAA", "alg": "ES256"}}),
            ("44", "cnf.jwk OKP, EdDSA", {"jwk": {**Ed("h").jwk(), "alg": "EdDSA"}}),
            ("45", "cnf.jwk EC, RS256", {"jwk": but(jwk, alg="RS256")}),
            ("46", "cnf.jwk P-256, ES384", {"jwk": but(jwk, alg="ES384")}),
            ("48", "cnf.jwk holds a private key", {"jwk": but(jwk, d=b64u(bytes(32)))}),
            ("49", "cnf.jwk is not on its curve", {"jwk": but(jwk, y=b64u(bytes(31) + b"\1"))}),
            ("51", "cnf.jwk and cnf.jku", {"jwk": jwk, "jku": "https://evil.example"}),
            ("52", "cnf.jwk is the issuer's key", {"jwk": {**EC1.jwk(), "alg": "ES256"}})):
        cv(n, title, R, C, cnf=value)
    cv("47", "cnf.jwk RSA, RS256", A, C, cnf={"jwk": {**RSA1.jwk(), "alg": "RS256"}})
    cv("50", "cnf.jwk and an extra member", A, C, cnf={"jwk": jwk, "foo": 1})
    P = "WIMSE WPT"
    wth = lambda t: b64u(hashlib.sha256(t.encode()).digest())
    def proof(key=HOLDER, alg="ES256", typ="wpt+jwt", **kw):
        body = but({"aud": "https://svc.example.org", "exp": NOW + 60, "jti": "p", "wth": wth(good)}, **kw)
        return jws({"alg": alg, "typ": typ}, body, key, "RS256" if alg.startswith("RS") else None)
    def pv(n, title, proof_, verdict, clause): wv(n, title, good, verdict, clause, op="prove", proof=proof_, audience="https://svc.example.org", clock=True)
    pv("53-proof", "proof by the holder", proof(), A, P)
    pv("53", "no proof", "", R, "WIT-SVID §4")
    pv("54", "proof by another key", proof(Ec("thief")), R, "WIT-SVID §4")
    pv("55", "proof in another algorithm", proof(RSA1, "RS256"), R, P)
    pv("56", "proof over another WIT", proof(wth=wth("other")), R, P)
    pv("57", "proof for another service", proof(aud="https://other.example.org"), R, P)
    pv("57-none", "proof for nobody", proof(aud=...), R, P)
    pv("58", "proof is expired", proof(exp=NOW - 120), R, P)
    pv("58-long", "proof that lives for an hour", proof(exp=NOW + 3600), R, "WIT-SVID §7.2")
    pv("59", "proof without jti", proof(jti=...), R, P)
    pv("59-typ", "proof of another typ", proof(typ="JWT"), R, P)
    wv("62", "kid of a jwt-svid entry alone", jws(but(header, kid="j1", alg="ES384"), claims, P384), R, "WIT-SVID §6.2")
    wv("65", "JWT-SVID as a WIT-SVID", jws(HEADER, CLAIMS, EC1), R, T, bundles={TD: {"keys": [entry(EC1, "ec1", "wit-svid")]}})
    wv("64", "private key is the one of cnf", good, A, C, op="load", private_key=b64(HOLDER.pkcs8()))
    wv("64-other", "private key is another one", good, R, C, op="load", private_key=b64(Ec("other").pkcs8()))

def write(kind, vectors, path):
    ids = [v["id"] for v in vectors]
    assert len(ids) == len(set(ids)), kind
    with open(f"{path}/{kind}.json", "w", encoding="ascii") as f:
        json.dump({"$schema": "./schema.json", "kind": kind, "vectors": vectors}, f, indent=1)
        f.write("\n")
    print(kind, len(vectors))

if __name__ == "__main__":
    where = sys.argv[1] if len(sys.argv) > 1 else __file__.rsplit("/", 1)[0]
    for build in (x509, jwt, bundle, bundle_map, wit):
        build()
    for kind, vectors in (("x509_svid", X509), ("jwt_svid", JWT), ("bundle", BUNDLES), ("bundle_map", MAPS), ("wit_svid", WITS)):
        write(kind, vectors, where)
