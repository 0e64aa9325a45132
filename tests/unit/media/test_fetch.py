"""Fetching an image from a server that may be anybody's, over real HTTP on loopback.

The server's address stands for a public one: `LOOPBACK` is allowed in most tests, and nothing else that is not public.
"""

import asyncio
import gzip
import multiprocessing
import ssl
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sekha_llm_bridge.connections import Connections
from sekha_llm_bridge.errors import InvalidRequest
from sekha_llm_bridge.media.addresses import IpAddress, is_public_address
from sekha_llm_bridge.media.fetch import ByteBudget, FetchedImage, ImageFetcher, ProxyRequired
from tests.fakes.clock import FakeClock
from tests.fakes.image_server import Answer, ImageServer, image_server, ok, redirect
from tests.fakes.images import AVIF, BMP, HTML, PDF, SVG, TEXT, TIFF, gif, jpeg, png, webp

LOOPBACK = ip_address("127.0.0.1")
EVERY_ADDRESS = "0.0.0.0"  # noqa: S104 — of this machine, to see which one is connected to
PICTURE = png(3, 2)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def names(*addresses: str) -> Callable[[str, int], Awaitable[Sequence[str]]]:
    """A resolver that knows every name, by these addresses."""

    async def resolve(host: str, port: int) -> Sequence[str]:
        return addresses

    return resolve


def allows_loopback(address: IpAddress) -> bool:
    return address == LOOPBACK or is_public_address(address)


def fetcher(**fields: Any) -> ImageFetcher:
    defaults: dict[str, Any] = {"resolve": names("127.0.0.1"), "is_allowed": allows_loopback}
    return ImageFetcher(Connections(FakeClock()).tls_context, **{**defaults, **fields})


def fetched(answers: dict[str, Answer], path: str = "/x.png", **fields: Any) -> tuple[FetchedImage, ImageServer]:
    async def run() -> tuple[FetchedImage, ImageServer]:
        async with image_server(answers) as server:
            return await fetcher().fetch(server.url(path), timeout_s=5, **fields), server

    return asyncio.run(run())


def refusal(answer: Answer, *, timeout_s: float = 5, **fields: Any) -> str:
    """The reason for refusing this answer."""

    async def run() -> None:
        async with image_server({"/x.png": answer}) as server:
            await fetcher().fetch(server.url("/x.png"), timeout_s=timeout_s, param="p", **fields)

    with pytest.raises(InvalidRequest) as caught:
        asyncio.run(run())
    assert caught.value.status == 400
    assert caught.value.param == "p"
    assert "127.0.0.1" not in str(caught.value)
    return str(caught.value)


def refused_url(url: str, **fields: Any) -> str:
    """The reason for refusing to fetch this URL by the rules for everybody."""
    with pytest.raises(InvalidRequest) as caught:
        asyncio.run(ImageFetcher(Connections(FakeClock()).tls_context, **fields).fetch(url, timeout_s=5))
    return str(caught.value)


@pytest.mark.parametrize(
    ("media_type", "data"),
    [("image/png", PICTURE), ("image/jpeg", jpeg()), ("image/gif", gif()), ("image/webp", webp())],
)
def test_an_image_is_what_its_bytes_are_whatever_its_header_says(media_type: str, data: bytes) -> None:
    image, _ = fetched({"/x.png": ok(data, "Content-Type: text/html")})
    assert image == (media_type, data)


def test_only_the_necessary_headers_are_sent_and_no_key_or_cookie() -> None:
    answers: dict[str, Answer] = {
        "/x.png": redirect("/y.png").replace(b"Content-Length", b"Set-Cookie: a=b\r\nContent-Length"),
        "/y.png": ok(PICTURE),
    }
    _, server = fetched(answers)
    for request in server.requests:
        sent = {line.partition(":")[0].lower() for line in request.splitlines()[1:] if line}
        assert sent == {"host", "accept", "accept-encoding", "connection", "user-agent"}
        assert "accept-encoding: identity" in request
        assert f"host: images.example.com:{server.port}" in request


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_three_redirects_are_followed_and_not_a_fourth(status: int) -> None:
    chain: dict[str, Answer] = {f"/{i}": redirect(f"/{i + 1}", status) for i in range(3)}
    image, _ = fetched({**chain, "/3": ok(PICTURE)}, "/0")
    assert image.data == PICTURE
    with pytest.raises(InvalidRequest, match="redirects more than 3 times"):
        fetched({**chain, "/3": redirect("/4"), "/4": ok(PICTURE)}, "/0")


def test_a_redirect_may_be_relative_and_in_any_script() -> None:
    image, server = fetched({"/a/x": redirect("../ü.png?a=ö"), "/%C3%BC.png?a=%C3%B6": ok(PICTURE)}, "/a/x")
    assert image.data == PICTURE
    assert len(server.requests) == 2


def test_a_redirect_loop_ends() -> None:
    assert "redirects more than 3 times" in refusal(redirect("/x.png"))


SPECIAL = [
    *("http://169.254.169.254/latest/meta-data/", "http://localhost/", "http://[::1]/", "http://[::ffff:127.0.0.1]/"),
    *("http://2130706433/", "http://0177.0.0.1/", "http://0x7f000001/", "http://127.1/", "http://10.0.0.1/"),
    *("https://[::ffff:a9fe:a9fe]/", "http://metadata.google.internal/", "http://[fd00:ec2::254]/", "http://0/"),
    *("http://168.63.129.16/", "http://router/", "http://[64:ff9b::7f00:1]/"),
]  # fmt: skip


@pytest.mark.parametrize("url", SPECIAL)
def test_a_url_that_is_not_public_is_refused(url: str) -> None:
    assert refused_url(url, resolve=names("93.184.216.34")) == "the image names an address that is not public"


@pytest.mark.parametrize("url", ["file:///etc/passwd", "gopher://example.com/", "ftp://example.com/", "data:,x", ""])
def test_only_http_and_https_are_fetched(url: str) -> None:
    assert "must be an http(s) URL" in refused_url(url)


@pytest.mark.parametrize("location", [*SPECIAL, "http://x.example.org/"])
def test_a_redirect_to_what_is_not_public_is_refused(location: str) -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.1"] if host == "images.example.com" else ["10.0.0.1"]

    def allows_the_first_loopback(address: IpAddress, allowed: list[IpAddress] = []) -> bool:  # noqa: B006 — counts
        allowed.append(address)
        return len(allowed) == 1 or is_public_address(address)

    async def run() -> None:
        async with image_server({"/x.png": redirect(location)}) as server:
            only_server = fetcher(resolve=resolve, is_allowed=allows_the_first_loopback)
            await only_server.fetch(server.url("/x.png"), timeout_s=5)

    with pytest.raises(InvalidRequest, match="names an address that is not public") as caught:
        asyncio.run(run())
    assert location not in str(caught.value)


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "gopher://x.example.com/", "http://[::1", "data:,x", "http://a@b.de/"]
)
def test_a_redirect_to_what_is_no_web_address_is_refused(location: str) -> None:
    reason = refusal(redirect(location))
    assert "has a URL that" in reason or "redirects to what is no URL" in reason


def test_a_redirect_without_a_location_ends_as_a_loop() -> None:
    assert "redirects more than 3 times" in refusal(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["10.0.0.1"], ["169.254.169.254"], ["::1"], ["fe80::1%eth0"], ["93.184.216.34", "192.168.0.1"],
     ["2606:4700::1", "::ffff:10.0.0.1"]],
)  # fmt: skip
def test_a_name_with_any_private_address_is_refused(addresses: list[str]) -> None:
    reason = refused_url("https://images.example.com/x.png", resolve=names(*addresses))
    assert reason == "the image names an address that is not public"


def test_the_name_is_resolved_once_and_the_checked_address_is_connected_to() -> None:
    """A name server that answers with another address the second time (DNS rebinding) is not asked a second time."""
    answers = [["127.0.0.1"], ["127.0.0.2"]]

    async def resolve(host: str, port: int) -> Sequence[str]:
        return answers.pop(0)

    async def run() -> ImageServer:
        async with image_server({"/x.png": ok(PICTURE)}, host=EVERY_ADDRESS) as server:
            await fetcher(resolve=resolve).fetch(server.url("/x.png"), timeout_s=5)
            return server

    assert asyncio.run(run()).peers == ["127.0.0.1"]
    assert answers == [["127.0.0.2"]]


def test_every_hop_is_resolved_and_checked_anew() -> None:
    answers = [["127.0.0.1"], ["127.0.0.2"]]

    async def resolve(host: str, port: int) -> Sequence[str]:
        return answers.pop(0)

    async def run() -> None:
        async with image_server({"/x.png": redirect("/y.png"), "/y.png": ok(PICTURE)}, host=EVERY_ADDRESS) as server:
            await fetcher(resolve=resolve).fetch(server.url("/x.png"), timeout_s=5)

    with pytest.raises(InvalidRequest, match="not public"):
        asyncio.run(run())


def test_another_address_of_the_name_is_tried_when_the_first_does_not_answer() -> None:
    async def run() -> FetchedImage:
        async with image_server({"/x.png": ok(PICTURE)}) as server:
            both = fetcher(resolve=names("127.0.0.9", "127.0.0.1"), is_allowed=lambda _: True)
            return await both.fetch(server.url("/x.png"), timeout_s=5)

    assert asyncio.run(run()).data == PICTURE


def test_a_name_without_an_address_is_the_callers_mistake() -> None:
    async def unknown(host: str, port: int) -> Sequence[str]:
        raise OSError

    assert "the name of its server has no address" in refused_url("https://images.example.com/", resolve=unknown)
    assert "the name of its server has no address" in refused_url(f"https://{'x' * 80}.example.com/")


def test_a_body_that_says_it_is_too_large_is_not_read() -> None:
    sent: list[int] = []

    async def answer() -> AsyncIterator[bytes]:
        yield ok(b"", length=1_000_000_000)
        for _ in range(1000):
            sent.append(1)
            yield bytes(1_000_000)

    assert refusal(answer, max_bytes=1_000_000) == "the image is larger than 1 MB"
    assert len(sent) < 10


async def endless() -> AsyncIterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    yield b"%x\r\n" % len(PICTURE) + PICTURE + b"\r\n"
    while True:
        yield b"10000\r\n" + bytes(0x10000) + b"\r\n"


async def endless_single_bytes() -> AsyncIterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    yield b"%x\r\n" % len(PICTURE) + PICTURE + b"\r\n"
    while True:
        yield b"1\r\nx\r\n" * 1000


async def endless_until_closed() -> AsyncIterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\n\r\n" + PICTURE
    while True:
        yield bytes(40_000)


def peak_memory_of_refusal(answer: Answer) -> int:
    """The largest number of bytes that Python held while the answer was read and refused for its size."""
    assert "larger than" in refusal(ok(bytes(2)), max_bytes=1)  # what is imported at the first fetch is not counted
    tracemalloc.start()
    assert refusal(answer, max_bytes=200_000, timeout_s=60) == "the image is larger than 0.2 MB"
    return tracemalloc.get_traced_memory()[1]


@pytest.mark.parametrize("answer", [endless, endless_until_closed, endless_single_bytes])
def test_an_endless_body_ends_at_the_limit_in_bounded_memory(answer: Answer) -> None:
    """In a process of its own: what other tests left behind in this one would be counted, too."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        assert process.submit(peak_memory_of_refusal, answer).result() < 1_500_000


def test_a_body_of_exactly_the_limit_is_accepted() -> None:
    image, _ = fetched({"/x.png": ok(PICTURE)}, max_bytes=len(PICTURE))
    assert image.data == PICTURE


def test_the_images_of_a_request_share_one_limit() -> None:
    budget = ByteBudget(len(PICTURE) + 1)
    fetched({"/x.png": ok(PICTURE)}, budget=budget)
    assert "the images of the request have more than" in refusal(ok(PICTURE), budget=budget)


async def drip() -> AsyncIterator[bytes]:
    yield ok(b"", length=100_000) + PICTURE
    while True:
        await asyncio.sleep(0.02)
        yield b"x"


async def drip_of_headers() -> AsyncIterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\n"
    while True:
        await asyncio.sleep(0.02)
        yield b"x: y\r\n"


async def silence() -> AsyncIterator[bytes]:
    await asyncio.sleep(60)
    yield b""


@pytest.mark.parametrize("answer", [drip, drip_of_headers, silence])
def test_a_slow_server_ends_at_the_time_limit(answer: Answer) -> None:
    started_s = time.monotonic()
    assert refusal(answer, timeout_s=0.3) == "the image could not be fetched in time"
    assert time.monotonic() - started_s < 3


def test_a_slow_name_server_ends_at_the_time_limit() -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        await asyncio.sleep(60)
        return []

    with pytest.raises(InvalidRequest, match="in time"):
        asyncio.run(fetcher(resolve=resolve).fetch("http://images.example.com/", timeout_s=0.1))


@pytest.mark.parametrize(
    ("body", "words"),
    [(TIFF, "TIFF data"), (BMP, "BMP data"), (AVIF, "AVIF data"), (SVG, "an SVG drawing"), (HTML, "an HTML page"),
     (TEXT, "text"), (PDF, "a PDF document"), (b"", "empty"), (b"\0\1" * 50, "of an unknown format")],
)  # fmt: skip
def test_anything_but_an_image_is_refused_by_name(body: bytes, words: str) -> None:
    reason = refusal(ok(body, "Content-Type: image/png"))
    assert reason == f"the image is no PNG, JPEG, GIF or WebP image: the content at its URL is {words}"


def test_what_cannot_be_an_image_is_not_read_to_its_end() -> None:
    async def endless_text() -> AsyncIterator[bytes]:
        yield ok(b"", length=19_000_000)
        while True:
            yield b"All work and no play makes Jack a dull boy. " * 100
            await asyncio.sleep(0.001)

    assert "is text" in refusal(endless_text, timeout_s=5)


@pytest.mark.parametrize(
    "bomb", [png(50_000, 50_000), jpeg(65_000, 65_000), gif(65_535, 65_535), webp(b"VP8X", 10**7, 100)]
)
def test_an_image_of_too_many_pixels_is_refused(bomb: bytes) -> None:
    assert "more than 100 million" in refusal(ok(bomb))


def test_a_compressed_body_is_refused_whatever_it_holds() -> None:
    bomb = gzip.compress(PICTURE + bytes(10_000_000))
    assert "sends it compressed" in refusal(ok(bomb, "Content-Encoding: gzip"))
    assert "gzip data" in refusal(ok(bomb))


@pytest.mark.parametrize("status", [204, 206, 304, 401, 404, 500])
def test_an_error_of_the_images_server_is_a_reason_for_the_caller(status: int) -> None:
    answer = f"HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n".encode()
    assert refusal(answer) == f"the image could not be fetched: its server answered {status}"


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + PICTURE,
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n" + PICTURE,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000 + b"\r\n\r\n",
    ],
)
def test_a_server_that_breaks_off_or_speaks_no_http_is_a_reason_for_the_caller(answer: bytes) -> None:
    assert "could not be fetched: the connection to its server failed" in refusal(answer)


def test_a_server_that_does_not_listen_is_a_reason_for_the_caller() -> None:
    async def run() -> None:
        async with image_server({}) as server:
            url = server.url("/")
        await fetcher().fetch(url, timeout_s=5)

    with pytest.raises(InvalidRequest, match="the connection to its server failed"):
        asyncio.run(run())


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "ALL_PROXY"])
def test_nothing_is_fetched_through_a_proxy_which_would_resolve_the_name(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:1")
    with pytest.raises(ProxyRequired, match="data: URL"):
        fetched({"/x.png": ok(PICTURE)})
    monkeypatch.setenv("NO_PROXY", "example.com")
    assert fetched({"/x.png": ok(PICTURE)})[0].data == PICTURE


def certificate(tmp_path: Path, name: str) -> ssl.SSLContext:
    """The TLS context of a server with a certificate for `name`, which is its own authority: `ca.pem`."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(
            subject, subject, key.public_key(), x509.random_serial_number(), now, now + timedelta(1)
        )
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "ca.pem").write_bytes(made.public_bytes(pem))
    (tmp_path / "key.pem").write_bytes(private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "ca.pem", tmp_path / "key.pem")
    return context


@pytest.mark.parametrize("name", ["images.example.com", "other.example.com"])
def test_tls_checks_the_name_although_the_address_is_connected_to(tmp_path: Path, name: str) -> None:
    server_tls = certificate(tmp_path, name)
    asked_for: list[str | None] = []
    server_tls.sni_callback = lambda _socket, asked, _context: asked_for.append(asked)

    async def run() -> FetchedImage:
        trusting = ssl.create_default_context(cafile=tmp_path / "ca.pem")
        async with image_server({"/x.png": ok(PICTURE)}, tls=server_tls) as server:
            client = ImageFetcher(lambda: trusting, resolve=names("127.0.0.1"), is_allowed=allows_loopback)
            return await client.fetch(server.url("/x.png", scheme="https"), timeout_s=5)

    if name == "images.example.com":
        assert asyncio.run(run()).data == PICTURE
    else:
        with pytest.raises(InvalidRequest, match="the connection to its server failed"):
            asyncio.run(run())
    assert asked_for == ["images.example.com"]


def test_no_connection_stays_open() -> None:
    async def run() -> int:
        async with image_server({"/x.png": drip, "/y.png": ok(PICTURE)}) as server:
            with pytest.raises(InvalidRequest):
                await fetcher().fetch(server.url("/x.png"), timeout_s=0.2)
            await fetcher().fetch(server.url("/y.png"), timeout_s=5)
            await asyncio.sleep(0.2)
            return server.n_open

    assert asyncio.run(run()) == 0
