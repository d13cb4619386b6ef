"""What the Workload API offers to Python's `spiffe`, before and after a rotation, and mTLS with ADDRESS.

usage: client.py ID ADDRESS; exits with 1 when anything is wrong
"""

import os
import sys
import threading
import time

from spiffe import SpiffeId, WorkloadApiClient, X509Source
from spiffetls import dial
from spiffetls.tlsconfig.authorize import authorize_id

AUDIENCE = "interop"


def check(wanted: bool, what: str) -> None:
    if not wanted:
        raise SystemExit(f"python spiffe: {what}")


def greeting(source: X509Source, expected: str, address: str) -> None:
    connection = dial(address, source, authorize_fn=authorize_id(SpiffeId(expected)))
    check(connection.recv(16) == b"hello", "mTLS carried something else")
    connection.close()


def tokens(client: WorkloadApiClient, expected: str) -> None:
    token = client.fetch_jwt_svid(audience={AUDIENCE})
    validated = client.validate_jwt_svid(token.token, AUDIENCE)
    check(str(validated.spiffe_id) == expected, "validation gave another ID")
    try:
        client.validate_jwt_svid(token.token, "other")
    except Exception:
        pass
    else:
        raise SystemExit("python spiffe: a token for another audience was accepted")
    check(len(client.fetch_jwt_bundles().bundles) > 0, "no JWT bundles")


def rotation(client: WorkloadApiClient) -> None:
    first = client.fetch_x509_context().default_svid.leaf.serial_number
    rotated = threading.Event()

    def received(context) -> None:
        if context.default_svid.leaf.serial_number != first:
            rotated.set()

    watch = client.stream_x509_contexts(received, lambda error: print("watch:", error, file=sys.stderr))
    check(rotated.wait(120), "no rotation")
    watch.cancel()


def main(expected: str, address: str) -> None:
    with WorkloadApiClient() as client, X509Source() as source:
        got = str(client.fetch_x509_context().default_svid.spiffe_id)
        check(got == expected, f"expected {expected}, got {got}")
        tokens(client, expected)
        greeting(source, expected, address)
        rotation(client)
        time.sleep(0.5)
        greeting(source, expected, address)
    print("x509-svid, jwt-svid, mtls, rotation", got)


if __name__ == "__main__":
    main(*sys.argv[1:])
    sys.stdout.flush()
    os._exit(0)  # threads of the library's watch may outlive it
