"""TLS for whoever listens or calls: contexts from files, made anew when the files are renewed. Opens no connection.

    Tls(server(certificate, key, ca))       a listener; with ca a client certificate is asked for and checked
    Tls(client(ca, certificate, key))       a caller; without ca the system's authorities count; with pinned only
                                            the very certificate in that file is believed, whatever its name

TLS 1.2 and newer only. A certificate that was renewed on disk is used from the next connection on, without a
restart; a renewed file that is broken is said, and the good one of before stays in use.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from labgateway.errors import LabgatewayError
from labgateway.transports.channel import Say, quiet


class TlsError(LabgatewayError):
    """A certificate, key or authority file cannot be used; the text names it and the cure, never its content."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """What a context is made of. certificate: PEM, the own one first, then its chain. key: PEM, without a password.

    ca: authorities that the other side's certificate must come from; a listener asks for one exactly when ca is there.
    pinned: of a caller, in place of ca: the other side's own certificate.
    """

    listens: bool
    certificate: Path | None = None
    key: Path | None = None
    ca: Path | None = None
    pinned: Path | None = None

    @property
    def certificates(self) -> tuple[Path, ...]:
        """The files whose certificates end one day."""
        return tuple(path for path in (self.certificate, self.ca, self.pinned) if path is not None)


def server(certificate: Path, key: Path, ca: Path | None = None) -> TlsFiles:
    """Of a listener."""
    return TlsFiles(True, certificate, key, ca)


def client(
    ca: Path | None = None, certificate: Path | None = None, key: Path | None = None, pinned: Path | None = None
) -> TlsFiles:
    """Of a caller. The name in the peer's certificate is checked against the host that is called, unless it is pinned."""
    return TlsFiles(False, certificate, key, ca, pinned)


def context(files: TlsFiles) -> ssl.SSLContext:
    """A context of these files. Reads them. Raises TlsError."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if files.listens else ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    if files.ca is not None:
        _load(files.ca, "no authority's certificate (PEM)", made.load_verify_locations)
        made.verify_mode = ssl.CERT_REQUIRED
    elif files.pinned is not None:
        made.check_hostname = False
        made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the pinned one needs no authority behind it
        _load(files.pinned, "no certificate (PEM)", made.load_verify_locations)
    elif not files.listens:
        made.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if files.certificate is not None:
        key = files.key or files.certificate
        _readable(key)
        _load(
            files.certificate,
            f"no certificate (PEM) that fits the key {key}, or the key has a password",
            # Without a password of ours OpenSSL would ask for one at the terminal.
            lambda path: made.load_cert_chain(path, key, password=lambda: ""),
        )
    return made


class Tls:
    """A context that follows its files. Call it before each handshake; it looks at the files' dates and sizes."""

    def __init__(self, files: TlsFiles, *, say: Say = quiet) -> None:
        """Raises TlsError."""
        self.files = files
        self._say = say
        self._seen = _dates(files)
        self._context = context(files)

    def __call__(self) -> ssl.SSLContext:
        """The context of now. Raises nothing: renewed files that cannot be used leave the one of before."""
        seen = _dates(self.files)
        if seen != self._seen:
            self._seen = seen
            try:
                self._context = context(self.files)
            except TlsError as error:
                self._say("tls.kept", level="error", why=f"{error} The certificate of before stays in use.")
            else:
                self._say("tls.renewed")
        return self._context


def _dates(files: TlsFiles) -> tuple[object, ...]:
    found: list[object] = []
    for path in (files.certificate, files.key, files.ca, files.pinned):
        try:
            seen = None if path is None else path.stat()
        except OSError:
            seen = None
        found.append(None if seen is None else (seen.st_mtime_ns, seen.st_size, seen.st_ino))
    return tuple(found)


def _readable(path: Path) -> None:
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        why = "is not there" if isinstance(error, FileNotFoundError) else "cannot be read by this user"
        raise TlsError(f"{path} {why}. Put the file there, readable for labgateway.") from None


def _load(path: Path, what: str, load: Callable[[Path], object]) -> None:
    _readable(path)
    try:
        load(path)
    except (ssl.SSLError, OSError, ValueError):
        raise TlsError(f"{path} holds {what}. Compare it with the key: openssl x509 -in FILE -noout -text.") from None
