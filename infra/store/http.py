"""Files on web servers, with one thing forbidden: a URL, a redirect or a name server that leads to a link-local address.

There cloud machines keep their credentials (169.254.169.254, fd00:ec2::254): a URL that a user may give must not read them.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

from aiohttp import ClientSession, TCPConnector
from fsspec.implementations.http import HTTPFileSystem

from infra.errors import Forbidden

FORBIDDEN = [ipaddress.ip_network(block) for block in ("169.254.0.0/16", "fe80::/10", "fd00:ec2::254/128")]


class HTTP(HTTPFileSystem):  # type: ignore[misc]
    """fsspec's file system, which looks where every connection goes. allowed: hosts and addresses that may be reached although they are forbidden."""

    def __init__(self, *args: Any, allowed: tuple[str, ...] = (), **kwargs: Any) -> None:
        async def client(loop: Any, **more: Any) -> ClientSession:
            return ClientSession(loop=loop, connector=TCPConnector(socket_factory=lambda to: connected(to, allowed)), **more)

        super().__init__(*args, **{"get_client": client, **kwargs})

    async def _info(self, url: str, **kwargs: Any) -> dict[str, Any]:
        try:
            found: dict[str, Any] = await super()._info(url, **kwargs)
        except FileNotFoundError as error:  # what fsspec makes of every error
            if isinstance(error.__cause__, Forbidden):
                raise error.__cause__ from None
            raise
        return found


def connected(to: Any, allowed: tuple[str, ...]) -> socket.socket:
    """A socket for an address that a name, or a literal, was resolved to. Raises Forbidden."""
    family, kind, protocol, _, (host, *_rest) = to
    address = ipaddress.ip_address(host.partition("%")[0])
    address = getattr(address, "ipv4_mapped", None) or address
    if any(address in block for block in FORBIDDEN) and str(address) not in {at for name in allowed for at in (name, *resolved(name))}:
        raise Forbidden(f"{host}: a URL leads to this link-local address, which is refused; where it is meant, name it in STOCKPOT_ALLOW_HOSTS")
    made = socket.socket(family, kind, protocol)
    made.setblocking(False)
    return made


def resolved(name: str) -> set[str]:
    """The addresses of a host."""
    try:
        return {str(at[4][0]) for at in socket.getaddrinfo(name, None)}
    except OSError:
        return set()
