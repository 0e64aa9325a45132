"""Signature Version 4, compared with botocore's own."""

from datetime import UTC, datetime
from urllib.parse import quote

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from hypothesis import given
from hypothesis import strategies as st

from sekha_llm_bridge.aws.credentials import Credentials
from sekha_llm_bridge.aws.signing import sign_headers

NAMES = ("content-type", "accept", "x-amz-target", "x-custom")
printable = st.text(st.characters(min_codepoint=32, max_codepoint=126))
segments = st.text(min_size=1, max_size=12).filter(lambda text: text not in {".", ".."})
paths = st.lists(segments, max_size=4).map(lambda parts: "/" + "/".join(quote(part, safe="") for part in parts))
words = st.text(max_size=6).map(lambda text: quote(text, safe="-_.~"))
queries = st.lists(st.tuples(words.filter(bool), words), max_size=4).map(
    lambda pairs: "&".join(f"{name}={value}" for name, value in pairs)
)
hosts = st.sampled_from(["bedrock-runtime.eu-west-1.amazonaws.com", "127.0.0.1:8080", "h:443", "sqs.x"])
dates = st.datetimes(datetime(2001, 1, 1), datetime(2090, 1, 1)).map(lambda date: date.replace(microsecond=0))  # noqa: DTZ001
keys = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)


@given(
    st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
    hosts,
    paths,
    queries,
    st.dictionaries(st.sampled_from(NAMES), printable),
    st.binary(max_size=200),
    keys,
    keys,
    st.none() | keys,
    dates,
)
def test_botocore_makes_the_same_signature(
    method: str,
    host: str,
    path: str,
    query: str,
    headers: dict[str, str],
    body: bytes,
    key_id: str,
    secret: str,
    token: str | None,
    now: datetime,
) -> None:
    url = f"https://{host}{path}{'?' + query if query else ''}"
    credentials = Credentials(key_id, secret, token)
    signed = sign_headers(
        headers,
        body,
        method=method,
        url=url,
        region="eu-west-1",
        service="bedrock",
        credentials=credentials,
        now=now.replace(tzinfo=UTC),
    )
    assert signed["authorization"] == _by_botocore(method, url, headers, body, credentials, now)


def _by_botocore(
    method: str, url: str, headers: dict[str, str], body: bytes, credentials: Credentials, now: datetime
) -> str:
    """Returns the header of botocore, which takes the date from the request's context."""
    request = AWSRequest(method=method, url=url, headers=dict(headers), data=body)
    known = BotocoreCredentials(credentials.access_key_id, credentials.secret, credentials.token)
    auth = SigV4Auth(known, "bedrock", "eu-west-1")
    request.context["timestamp"] = now.strftime("%Y%m%dT%H%M%SZ")
    request.headers["X-Amz-Date"] = request.context["timestamp"]
    if credentials.token:
        request.headers["X-Amz-Security-Token"] = credentials.token
    signature = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    names = auth.signed_headers(auth.headers_to_sign(request))
    return f"AWS4-HMAC-SHA256 Credential={auth.scope(request)}, SignedHeaders={names}, Signature={signature}"


def test_the_colon_of_a_model_id_is_encoded_twice_in_the_signature() -> None:
    """A different path gives a different signature: the check above cannot pass by ignoring the path."""
    common = {"region": "r", "service": "bedrock", "credentials": Credentials("k", "s"), "now": datetime.now(UTC)}
    first, second = (
        sign_headers({}, b"", url=f"https://h/model/a{sign}0/converse", **common)["authorization"]  # type: ignore[arg-type]
        for sign in ("%3A", ":")
    )
    assert first != second


def test_user_and_password_of_a_url_are_no_part_of_the_host() -> None:
    signed = sign_headers(
        {},
        b"",
        url="https://user:word@h:8443/",
        region="r",
        service="s",
        credentials=Credentials("k", "s"),
        now=datetime.now(UTC),
    )
    assert signed["host"] == "h:8443"
