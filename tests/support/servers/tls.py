"""TLS: an authority that certifies, and doors in front of servers that do not speak it themselves."""

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

NAME = "localhost"  # that servers are certified for; HOST is the same machine under another name

DAY = timedelta(days=1)
SSL_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")  # the first words of a client of Postgres


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Files by which one proves who one is.

    :param authority: whom one believes.
    """

    certificate: Path
    key: Path
    authority: Path

    def context(self, *, demands_certificate: bool) -> ssl.SSLContext:
        """How a server with this identity speaks TLS."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.authority)
        context.load_cert_chain(self.certificate, self.key)
        context.verify_mode = ssl.CERT_REQUIRED if demands_certificate else ssl.CERT_NONE
        return context


class Authority:
    """Certifies whom a test likes."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        its_own = self._certificate(self._name, self._key.public_key())
        itself = its_own.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.file = folder / f"{name}.pem"
        self._sign(itself, self.file)

    def issue(self, name: str) -> Identity:
        """An identity for a server of this name, or for a client."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        identity = Identity(
            certificate=self._folder / f"{name}.pem", key=self._folder / f"{name}.key", authority=self.file
        )  # fmt: skip
        names = x509.SubjectAlternativeName([x509.DNSName(name)])
        self._sign(
            self._certificate(subject, key.public_key()).add_extension(names, critical=False), identity.certificate
        )
        identity.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        identity.key.chmod(0o600)  # libpq takes no key that others can read
        return identity

    def _certificate(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder(self._name, subject, key, x509.random_serial_number())
            .not_valid_before(now - DAY)
            .not_valid_after(now + DAY)
        )

    def _sign(self, certificate: x509.CertificateBuilder, file: Path) -> None:
        signed = certificate.sign(self._key, hashes.SHA256())
        file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))


@contextmanager
def door(inside: int, context: ssl.SSLContext, *, is_of_postgres: bool) -> Iterator[int]:
    """Yield a port that speaks TLS, in front of one of HOST that does not."""
    with socket.create_server((HOST, 0)) as outside, ExitStack() as guests:

        def serve() -> None:
            with suppress(OSError):  # when the door is closed
                while True:
                    guest, _ = outside.accept()
                    guests.callback(guest.close)
                    _in_thread(_let_in, guest, inside, context, is_of_postgres)

        serving = _in_thread(serve)
        yield outside.getsockname()[1]
        outside.shutdown(socket.SHUT_RDWR)
        serving.join()


def _let_in(guest: socket.socket, inside: int, context: ssl.SSLContext, is_of_postgres: bool) -> None:
    if is_of_postgres:
        guest.recv(len(SSL_REQUEST), socket.MSG_WAITALL)
        guest.sendall(b"S")
    try:
        # The socket itself stays ours, so that a guest who is refused is told why.
        secured = context.wrap_socket(guest.dup(), server_side=True)
    except OSError:
        _drain(guest)
        return
    with secured, socket.create_connection((HOST, inside)) as server:
        answers = _in_thread(_carry, server, secured)
        _carry(secured, server)
        answers.join()


def _carry(source: socket.socket, target: socket.socket) -> None:
    """Hand on what comes, until it ends."""
    with suppress(OSError):
        while some := source.recv(65536):
            target.sendall(some)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


def _drain(guest: socket.socket) -> None:
    """Wait until the guest has left: closing before would take back what they were told."""
    with suppress(OSError):
        guest.shutdown(socket.SHUT_WR)
        while guest.recv(65536):
            pass


def _in_thread(work: Callable[..., None], *arguments: Any) -> threading.Thread:
    thread = threading.Thread(target=work, args=arguments, daemon=True)
    thread.start()
    return thread
