"""Fetches everything the Workload API offers with the Python library `spiffe`; exits with 1 when anything is wrong."""

import sys

from spiffe import WorkloadApiClient, X509Source

AUDIENCE = "interop"


def main(expected: str) -> None:
    with WorkloadApiClient() as client:
        context = client.fetch_x509_context()
        got = str(context.default_svid.spiffe_id)
        if got != expected:
            raise SystemExit(f"python spiffe: expected {expected}, got {got}")
        print("x509-svid", got)
        token = client.fetch_jwt_svid(audience={AUDIENCE})
        validated = client.validate_jwt_svid(token.token, AUDIENCE)
        if str(validated.spiffe_id) != expected:
            raise SystemExit("python spiffe: validation gave another ID")
        print("jwt-svid", validated.spiffe_id)
        print("jwt-bundles", len(client.fetch_jwt_bundles().bundles))
    with X509Source() as source:
        print("source", source.get_x509_context().default_svid.spiffe_id)


if __name__ == "__main__":
    main(sys.argv[1])
