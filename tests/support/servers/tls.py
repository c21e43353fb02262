"""TLS: a certificate authority, and proxies that terminate TLS in front of servers without it."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from online_features.embedded import HOST

NAME = "localhost"  # in the certificates of servers; HOST is the same machine under another name

DAY = timedelta(days=1)
SIGNS = x509.KeyUsage(
    key_cert_sign=True, crl_sign=True, digital_signature=False, content_commitment=False, key_encipherment=False,
    data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
)  # fmt: skip
SSL_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")  # the first bytes from a client of Postgres


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Files of a server or a client.

    :param authority: certificate of the authority to trust.
    """

    certificate: Path
    key: Path
    authority: Path

    def context(self, *, demands_certificate: bool) -> ssl.SSLContext:
        """Return the TLS context of a server with this identity."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.authority)
        context.load_cert_chain(self.certificate, self.key)
        context.verify_mode = ssl.CERT_REQUIRED if demands_certificate else ssl.CERT_NONE
        return context


class Authority:
    """A certificate authority, whose certificates have the extensions that Python 3.13 demands."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        own = self._certificate(self._name, self._key.public_key())
        extended = own.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).add_extension(
            SIGNS, critical=True
        )
        self.file = folder / f"{name}.pem"
        self._sign(extended, self.file)

    def issue(self, name: str) -> Identity:
        """Return an identity for a server of this name, or for a client."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        identity = Identity(
            certificate=self._folder / f"{name}.pem", key=self._folder / f"{name}.key", authority=self.file
        )
        names = x509.SubjectAlternativeName([x509.DNSName(name)])
        self._sign(
            self._certificate(subject, key.public_key()).add_extension(names, critical=False), identity.certificate
        )
        identity.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        identity.key.chmod(0o600)  # libpq refuses a key that others can read
        return identity

    def _certificate(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder(self._name, subject, key, x509.random_serial_number())
            .not_valid_before(now - DAY)
            .not_valid_after(now + DAY)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )

    def _sign(self, certificate: x509.CertificateBuilder, file: Path) -> None:
        signed = certificate.sign(self._key, hashes.SHA256())
        file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))


@contextmanager
def tls_proxy(inside: int, context: ssl.SSLContext, *, is_of_postgres: bool) -> Iterator[int]:
    """Run a proxy that terminates TLS in front of a port of HOST; yield its port."""
    with socket.create_server((HOST, 0)) as outside, ExitStack() as clients:

        def serve() -> None:
            with suppress(OSError):  # when the listener is closed
                while True:
                    client, _ = outside.accept()
                    clients.callback(client.close)
                    _in_thread(_relay, client, inside, context, is_of_postgres)

        serving = _in_thread(serve)
        yield outside.getsockname()[1]
        outside.shutdown(socket.SHUT_RDWR)
        serving.join()


def _relay(client: socket.socket, inside: int, context: ssl.SSLContext, is_of_postgres: bool) -> None:
    if is_of_postgres:
        client.recv(len(SSL_REQUEST), socket.MSG_WAITALL)
        client.sendall(b"S")
    try:
        # On a duplicate, so that a refused client can still receive the alert.
        secured = context.wrap_socket(client.dup(), server_side=True)
    except OSError:
        _drain(client)
        return
    with secured, socket.create_connection((HOST, inside)) as server:
        replies = _in_thread(_copy, server, secured)
        _copy(secured, server)
        replies.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    """Copy bytes until the source ends."""
    with suppress(OSError):
        while some := source.recv(65536):
            target.sendall(some)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


def _drain(client: socket.socket) -> None:
    """Wait until the client has closed: closing first would reset the connection, and lose the alert."""
    with suppress(OSError):
        client.shutdown(socket.SHUT_WR)
        while client.recv(65536):
            pass


def _in_thread(work: Callable[..., None], *arguments: Any) -> threading.Thread:
    thread = threading.Thread(target=work, args=arguments, daemon=True)
    thread.start()
    return thread
