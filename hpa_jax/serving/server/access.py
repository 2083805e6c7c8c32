"""Who may ask: the token, and against pages of other sites the headers Host and Origin.

Design: a browser sends what any page tells it to, also to servers of its own machine and network.
Such a page cannot read the answer (there are no CORS headers), unless its own name leads to this
server: hence Host has to be a name of this server, or an address, which no page can claim as its
name. And it could keep the net busy: hence Origin, where a browser sends one, has to be Host.
"""

import contextlib
import hmac
import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path

from starlette.datastructures import Headers

from hpa_jax.errors import InputError, one_line
from hpa_jax.serving.server.refusal import Refusal

OPEN_PATHS = frozenset({"/", "/healthz", "/readyz"})
"""Without a token: the page itself, which asks for it, and what supervisors ask."""

_LONGEST_TOKEN = 4096

# What browsers send, whatever was typed: names in other scripts have a form in these letters.
_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?")


@dataclass(frozen=True)
class Access:
    """What a request has to bring.

    Attributes:
      token: None where everybody may ask.
      names: of this server, in lower case, without a port.
      only_loopback: whether of addresses those of the machine itself alone are its own.
    """

    token: str | None
    names: frozenset[str]
    only_loopback: bool

    def check(self, path: str, headers: Headers) -> None:
        """Lets a request pass.

        Raises:
          Refusal: 400 another server's name, 403 another site's page, 401 no token.
        """
        host = headers.get("host", "").strip()
        if not host:
            raise Refusal(400, "the request lacks the header Host, the name of the server it asks")
        if not self._is_own(host):
            raise Refusal(
                400,
                "the header Host names another server; ask by the server's own address, or start "
                "it with --allow-host=NAME",
            )
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2].lower() != host.lower():
            raise Refusal(403, "this is a page of another site; use the server's own page")
        if self.token is None or path in OPEN_PATHS:
            return
        kind, _, given = headers.get("authorization", "").partition(" ")
        is_right = hmac.compare_digest(given.strip().encode(), self.token.encode())
        if kind.lower() != "bearer" or not is_right:
            raise Refusal(
                401,
                "this server wants its token: send the header 'Authorization: Bearer TOKEN'",
                {"WWW-Authenticate": "Bearer"},
            )

    def _is_own(self, host: str) -> bool:
        name = _without_port(host)
        if name in self.names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or not self.only_loopback


def _without_port(host: str) -> str:
    host = host.lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].rstrip(".")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def make_access(host: str, token: str | None, allowed: list[str]) -> Access:
    """The rules of a server that listens at `host`.

    Raises:
      InputError: others than this machine reach it, and there is no token; or a name is none.
    """
    _check_name(host, "--host")
    for name in allowed:
        _check_name(name, "--allow-host")
    local = is_loopback(host)
    if not local and token is None:
        raise InputError(
            f"--host={host} lets other machines ask this server; give it a token of your own with "
            "--token-file=FILE"
        )
    names = {"localhost", *(name.lower().rstrip(".") for name in (host, *allowed))}
    return Access(token, frozenset(names), only_loopback=local)


def _check_name(name: str, flag: str) -> None:
    """Refuses what no client could call this server, such as a URL or a name with a port."""
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(name)
        return
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{flag}={name}: give a name or an address alone: no http://, no port, no brackets"
        )


def read_token(path: Path) -> str:
    """The token: the only line of a file.

    Raises:
      InputError: there is no such file, or it has no token in it.
    """
    flag = f"--token-file={path}"
    try:
        with open(path, "rb") as file:
            content = file.read(_LONGEST_TOKEN + 1)
    except OSError as error:
        raise InputError(f"{flag}: cannot be read ({one_line(error)})") from None
    words = content.decode(errors="replace").split()
    is_token = len(words) == 1 and words[0].isascii() and words[0].isprintable()
    if not is_token or len(content) > _LONGEST_TOKEN:
        raise InputError(
            f"{flag}: has to hold one line of letters and digits; make one with: openssl rand "
            "-hex 32"
        )
    return words[0]
