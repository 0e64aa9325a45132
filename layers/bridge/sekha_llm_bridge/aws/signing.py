"""Signature Version 4 for requests of any method, path, query and body.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import SplitResult, quote, urlsplit

from sekha_llm_bridge.aws.credentials import Credentials

_ALGORITHM = "AWS4-HMAC-SHA256"
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def sign_headers(
    headers: Mapping[str, str],
    body: bytes,
    *,
    url: str,
    region: str,
    service: str,
    credentials: Credentials,
    now: datetime,
    method: str = "POST",
) -> dict[str, str]:
    """Returns the headers of a request to `url` with its signature; all of them are signed.

    The names in `headers` are in lower case. Path and query of `url` are encoded as they are sent. The path has no
    segment `.` or `..`, which AWS would resolve.
    """
    moment = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    parts = urlsplit(url)
    signed = {**headers, "host": _host(parts), "x-amz-date": moment}
    if credentials.token:
        signed["x-amz-security-token"] = credentials.token
    names = ";".join(sorted(signed))
    lines = "".join(f"{name}:{' '.join(signed[name].split())}\n" for name in sorted(signed))
    # Every service but S3 encodes the path, which is encoded already, once more.
    path = quote(parts.path or "/", safe="/~")
    canonical_request = f"{method}\n{path}\n{_query(parts.query)}\n{lines}\n{names}\n{_sha256(body)}"
    scope = f"{moment[:8]}/{region}/{service}/aws4_request"
    to_sign = f"{_ALGORITHM}\n{moment}\n{scope}\n{_sha256(canonical_request.encode())}"
    key = f"AWS4{credentials.secret}".encode()
    for part in scope.split("/"):
        key = _hmac_sha256(key, part)
    signature = _hmac_sha256(key, to_sign).hex()
    credential = f"Credential={credentials.access_key_id}/{scope}"
    return {**signed, "authorization": f"{_ALGORITHM} {credential}, SignedHeaders={names}, Signature={signature}"}


def _host(parts: SplitResult) -> str:
    """Returns the value of the host header: without user and password, and without a port that is the default."""
    return parts.netloc.rpartition("@")[2].removesuffix(_DEFAULT_PORTS.get(parts.scheme, ""))


def _query(query: str) -> str:
    pairs = sorted(pair.partition("=")[::2] for pair in query.split("&") if pair)
    return "&".join(f"{name}={value}" for name, value in pairs)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _hmac_sha256(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()
