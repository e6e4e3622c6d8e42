"""Who may use the service: the token, addresses of this machine alone, and requests that a foreign page makes."""

from __future__ import annotations

import hmac
import ipaddress
import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

from pairsim._common import storage
from pairsim.errors import RunError

VARIABLE = "PAIRSIM_TOKEN"
MIN_TOKEN = 16
_MAX_TOKEN = 4096
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})


def read_token(file: Path | None) -> str | None:
    """Return the token of a file, else of the environment variable `PAIRSIM_TOKEN`; `None` if there is none.

    Raises:
        RunError: If the file cannot be read.
        ValueError: If it is no token.
    """
    if file is None:
        text, place = os.environ.get(VARIABLE), VARIABLE
        if text is None:
            return None
    else:
        place = str(file)
        try:
            with storage.open_file(file) as opened:
                text = opened.read(_MAX_TOKEN + 1).decode("latin-1")
        except OSError as error:
            raise RunError(f"Expected a file with a token at {file}, but: {error.strerror or error}.") from error
    text = text.strip()
    if not (MIN_TOKEN <= len(text) <= _MAX_TOKEN and text.isascii() and text.isprintable() and " " not in text):
        raise ValueError(
            f"Expected a token of at least {MIN_TOKEN} ASCII characters without spaces in {place}, found another text. "
            'Make one with: python -c "import secrets; print(secrets.token_urlsafe(32))"'
        )
    return text


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach an address or name; one that is not known is not of this machine.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("0.0.0.0")
        (True, True, False)
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return bool(host) and all(ipaddress.ip_address(str(entry[4][0]).split("%")[0]).is_loopback for entry in found)


class Access:
    """Judges requests by their headers, before anything of the body is read.

    Without a token, the service trusts every program of this machine, but no page in its browser: a page of another
    site can send forms, and can reach this machine by a name of its own (DNS rebinding).

    Args:
        token: That requests state as `Authorization: Bearer TOKEN`; `None` if the service is on a loopback address.
        host: Address or name that the service listens on, if it is another one than the usual names of this machine.
    """

    def __init__(self, token: str | None, host: str = "") -> None:
        self._local = _LOCAL | {host.lower()} - {""}
        self._token = None if token is None else token.encode("ascii")

    def refusal(self, headers: dict[bytes, bytes]) -> tuple[int, str] | None:
        """Return status and reason if a request is refused.

        Args:
            headers: Its headers, with names in lower case.
        """
        if self._token is not None:
            scheme, _, stated = headers.get(b"authorization", b"").partition(b" ")
            if scheme.lower() == b"bearer" and hmac.compare_digest(stated.strip(), self._token):
                return None
            return 401, "Expected the header 'Authorization: Bearer TOKEN' with the token of this service, got another."
        host = _name_of(headers.get(b"host", b""))
        if host not in self._local:
            return 403, f"Expected a request for this machine, found one for {host!r}. Use 127.0.0.1, or set a token."
        origin = headers.get(b"origin")
        if origin is not None and _name_of(origin.partition(b"://")[2]) not in self._local:
            return 403, "Expected a request of a program or page of this machine, found one of another site."
        return None


def _name_of(host: bytes) -> str:
    """The name in a header `Host`, without its port; "" if it has none."""
    try:
        return (urlsplit(f"//{host.decode('latin-1')}").hostname or "").lower()
    except ValueError:
        return ""
