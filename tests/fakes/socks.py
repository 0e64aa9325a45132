"""A SOCKS5 proxy on loopback that connects every request to one port, and a TLS server behind it."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_VERSION = 5
_USER_AND_PASSWORD = 2


@dataclass(slots=True)
class SocksProxy:
    """`requested` has user, password, host and port of each request (RFC 1928 and 1929)."""

    target_port: int
    port: int = 0
    requested: list[tuple[bytes, bytes, bytes, int]] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers one client, and then passes bytes on in both directions."""
        _, n_methods = await reader.readexactly(2)
        await reader.readexactly(n_methods)
        writer.write(bytes([_VERSION, _USER_AND_PASSWORD]))
        await reader.readexactly(1)
        user, password = await _text(reader), await _text(reader)
        writer.write(b"\x01\x00")
        await reader.readexactly(4)  # version, CONNECT, reserved, the type of the address: a name
        host, port = await _text(reader), int.from_bytes(await reader.readexactly(2), "big")
        self.requested.append((user, password, host, port))
        writer.write(bytes([_VERSION, 0, 0, 1]) + bytes(6))
        from_target, to_target = await asyncio.open_connection("127.0.0.1", self.target_port)
        await asyncio.gather(_pass_on(reader, to_target), _pass_on(from_target, writer))


async def _text(reader: asyncio.StreamReader) -> bytes:
    (length,) = await reader.readexactly(1)
    return await reader.readexactly(length)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while part := await reader.read(65_536):
        writer.write(part)
    writer.close()


@asynccontextmanager
async def socks_proxy(target_port: int) -> AsyncIterator[SocksProxy]:
    """Runs a proxy that connects every request to `target_port` of this machine."""
    proxy = SocksProxy(target_port)
    listener = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = listener.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        listener.close()


@asynccontextmanager
async def tls_server(answer: bytes, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    """Runs a TLS server that sends `answer` once, with a new certificate for `name`, which Python then trusts; yields
    its port.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    certificate = _certificate(name, folder)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()


def _certificate(name: str, folder: Path) -> Path:
    """Writes a new key and a certificate for it, valid for a day."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / "certificate.pem"
    path.write_bytes(private + certificate.public_bytes(pem))
    return path
