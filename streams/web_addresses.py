"""Where the web view listens, and the networks of the proxies that it trusts, as the settings say."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from streams.errors import ExpectedError

if TYPE_CHECKING:
    from streams.settings import Settings

#: Networks in which a proxy of the web view may be.
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_LAST_PORT = 65_535


def web_address(settings: Settings) -> tuple[str, int]:
    """Host, without brackets, and port that the web view listens on.

    Raises:
        ExpectedError: `web_bind` is not an address.
    """
    text = settings.web_bind
    host, _, port = text.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if not bare or not port.isdecimal() or int(port) > _LAST_PORT or (":" in bare and bare == host):
        raise ExpectedError(f"web_bind: {text!r} is no address; write HOST:PORT, such as 127.0.0.1:8080 or [::1]:8080")
    return bare, int(port)


def web_proxies(settings: Settings) -> tuple[Network, ...]:
    """The networks in which an authenticating proxy of the web view may be.

    Raises:
        ExpectedError: `web_trusted_proxies` has something other than addresses and networks.
    """
    found = []
    for part in filter(None, (each.strip() for each in settings.web_trusted_proxies.split(","))):
        try:
            found.append(ipaddress.ip_network(part))
        except ValueError as error:
            raise ExpectedError(
                f"web_trusted_proxies: {error}; write addresses or networks, separated by commas"
            ) from None
    return tuple(found)
