"""An authority for certificates, a certificate of its own for this machine, and a front that speaks TLS for a server that does not."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import ssl
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
from aiohttp import web
from yarl import URL

#: What each client reads to know whom to trust; see docs/guides/connection.md.
VARIABLES = ("HTTPLIB2_CA_CERTS", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")

#: What one connection says of itself, and not of what it carries.
_HOP_BY_HOP = frozenset({"connection", "content-length", "keep-alive", "transfer-encoding"})


class Certificates(NamedTuple):
    """Files.

    :param authority: the authority's certificate, for clients.
    :param server: the certificate for 127.0.0.1 and its key, for a server.
    """

    authority: Path
    server: Path


def trusting(authority: Path) -> dict[str, str]:
    """Return the environment variables that let all clients trust an authority."""
    return dict.fromkeys(VARIABLES, str(authority))


def make_certificates(folder: Path) -> Certificates:
    """Make an authority, and have it sign a certificate for 127.0.0.1."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

    key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    encipherment = ("key_encipherment", "data_encipherment", "encipher_only", "decipher_only")
    others = dict.fromkeys(("digital_signature", "content_commitment", "key_agreement", "crl_sign", *encipherment), False)
    of_authority = (
        (x509.BasicConstraints(ca=True, path_length=0), True),
        (x509.KeyUsage(key_cert_sign=True, **others), True),
        (identifier, False),
    )
    of_server = (
        (x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False),
        (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), False),
    )
    certificates = Certificates(folder / "authority.pem", folder / "server.pem")
    certificates.authority.write_bytes(_signed("An authority of tests", key, of_authority, key))
    certificates.server.write_bytes(_signed("127.0.0.1", server_key, of_server, key) + _private(server_key))
    return certificates


def _signed(name: str, key: Any, extensions: Iterable[tuple[Any, bool]], authority: Any) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name("An authority of tests"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=2))
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _name(text: str) -> Any:
    from cryptography import x509

    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _private(key: Any) -> bytes:
    from cryptography.hazmat.primitives import serialization

    form = serialization.PrivateFormat.PKCS8
    written: bytes = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    return written


class Front:
    """A server that passes on, over TLS, what it is asked.

    :param upstream: the base URL of the server behind it.
    """

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self.url = ""
        #: What asked so far, by its ``User-Agent``.
        self.agents: set[str] = set()

    async def serve(self, certificate: Path, ready: threading.Event, end: asyncio.Event) -> None:
        """Serve on a free port until the end."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        async with aiohttp.ClientSession(auto_decompress=False) as self._session:
            runner = web.ServerRunner(web.Server(self._pass_on, access_log=None), handle_signals=False)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
            await site.start()
            self.url = f"https://127.0.0.1:{runner.addresses[0][1]}"
            ready.set()
            await end.wait()
            await runner.cleanup()

    async def _pass_on(self, request: web.BaseRequest) -> web.StreamResponse:
        self.agents.add(request.headers.get("User-Agent", ""))
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
        headers["X-Forwarded-Proto"] = "https"
        url = URL(f"{self._upstream}{request.raw_path}", encoded=True)
        body = await request.content.read()
        asked = self._session.request(request.method, url, headers=headers, data=body or None, allow_redirects=False)
        async with asked as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP}
            return web.Response(status=answer.status, headers=kept, body=await answer.read())


@contextlib.contextmanager
def front(upstream: str, certificate: Path) -> Iterator[Front]:
    """Have a :class:`Front` run in a thread.

    :param upstream: the base URL of the server behind it, which need not run yet.
    """
    served, ready = Front(upstream), threading.Event()
    loop, end = asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(served.serve(certificate, ready, end)), name="front")
    thread.start()
    try:
        if not ready.wait(30):
            raise RuntimeError("The front does not serve.")
        yield served
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join()
        loop.close()
