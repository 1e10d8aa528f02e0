"""Which requests are answered: those that name this server, from its own pages or from programs.

A page of somebody else's may give its own name this machine's address (DNS rebinding) and so have a visitor's browser
read from servers that answer this machine only. The name still stands in the request's Host header.
"""

import ipaddress
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from trainers.serving.problems import RefusedError, problem
from transforms.errors import UsageError

LOOPBACK = frozenset(("127.0.0.1", "localhost", "::1"))
HEALTH, METRICS = "/healthz", "/metrics"


@dataclass(frozen=True)
class Access:
    """What a server answers to.

    Attributes:
      names: that a request's Host may have, in lower case and without port; so may the address that it came to.
      allowed: those of them that the user gave: a proxy's, whose pages may send Origins that differ from Host.
      metrics: whether /metrics is answered.
      metrics_port: answers /metrics, and nothing else but /healthz; None: the port of the page does.
    """

    names: frozenset[str] = LOOPBACK
    allowed: frozenset[str] = frozenset()
    metrics: bool = True
    metrics_port: int | None = None

    @classmethod
    def of(cls, host: str, allowed: Sequence[str], metrics_port: int | None = None) -> "Access":
        """Return the rules of a server at an address: other machines only see /metrics at a port of its own.

        Raises:
          UsageError: a name is none.
        """
        for name in allowed:
            if not re.fullmatch(r"[\w.-]+", name) and not _is_address(_bare(name)):
                raise UsageError(f"--allow-host {name}: give a name or an address, such as music.example.com")
        names = frozenset(_bare(name).lower() for name in allowed)
        metrics = host in LOOPBACK or metrics_port is not None
        return cls(LOOPBACK | {host.lower()} | names, names, metrics, metrics_port)

    def check(self, scope: dict[str, Any]) -> None:
        """Raise a RefusedError for a request that is not answered; `scope` is of ASGI."""
        path, (address, port) = scope["path"], scope["server"]
        if (path == METRICS and self.metrics_port not in (None, port)) or (
            port == self.metrics_port and path not in (METRICS, HEALTH)
        ):
            raise RefusedError(404, "not_found", "Not Found")
        if path == HEALTH:  # it tells nothing, and load balancers ask for it by any name
            return
        host = _header(scope, b"host")
        # Only programs leave Host out, and only in HTTP/1.0.
        if host is not None and _name(host) not in self.names | {address}:
            message = "the request's Host is not this server: start it with --allow-host NAME if that is its name"
            raise RefusedError(421, "wrong_host", message)
        origin = _header(scope, b"origin")
        if origin is not None and not self._is_own(origin, host):
            raise RefusedError(403, "wrong_origin", "pages of other servers may not use this one")

    def _is_own(self, origin: str, host: str | None) -> bool:
        place = origin.partition("://")[2].lower()
        return bool(place) and (place == (host or "").lower() or _name(place) in self.allowed)


def check_proxies(addresses: Sequence[str]) -> None:
    """Raise a UsageError where one is neither an address nor a network."""
    for address in addresses:
        if not _is_address(address, ipaddress.ip_network):
            raise UsageError(f"--trust-proxy {address}: give an address or a network, such as 10.0.0.0/8")


def _bare(name: str) -> str:
    """Return an address of IPv6 without its brackets."""
    return name[1:-1] if name.startswith("[") and name.endswith("]") else name


def _is_address(text: str, parse: Callable[[str], Any] = ipaddress.ip_address) -> bool:
    try:
        parse(text)
    except ValueError:
        return False
    return True


def _header(scope: dict[str, Any], name: bytes) -> str | None:
    """Return a header's value, several of them joined as HTTP does, or None."""
    values = [value.decode("latin-1") for key, value in scope["headers"] if key == name]
    return ", ".join(values) if values else None


def _name(place: str) -> str:
    """Return the name in NAME, NAME:PORT or [ADDRESS]:PORT, in lower case; an empty text where there is none."""
    try:
        return urlsplit(f"//{place}").hostname or ""
    except ValueError:
        return ""


class Guard:
    """ASGI middleware that refuses what `Access` does not answer."""

    def __init__(self, app: Any, access: Access):
        self._app, self._access = app, access

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        try:
            self._access.check(scope)
        except RefusedError as error:
            await problem(error.status, error.error, error.message)(scope, receive, send)
            return
        await self._app(scope, receive, send)
