"""Which addresses an alert is not sent to. Pure."""

from __future__ import annotations

import ipaddress

NETWORKS = tuple(map(ipaddress.ip_network, ("169.254.0.0/16", "fe80::/10")))


class LinkLocalRefusedError(Exception):
    """A receiver's address is link-local, and the policy does not allow that. Shows no address."""

    def __init__(self) -> None:
        super().__init__(
            "the address is link-local (169.254.0.0/16 or fe80::/10), where cloud machines keep their keys; nothing "
            "was sent. Set link_local: true (below webhooks: allow_link_local: true) if it is meant"
        )


def is_link_local(host: str) -> bool:
    """True for an address in NETWORKS, an IPv4 address within an IPv6 one included; False for a name."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0].strip("[]"))
    except ValueError:
        return False
    inner = [address]
    if isinstance(address, ipaddress.IPv6Address):
        sixth = int.from_bytes(address.packed[:12], "big")
        embedded = address.ipv4_mapped or address.sixtofour
        if embedded is None and sixth in (0, 0x64FF9B << 64):  # ::a.b.c.d, and NAT64's 64:ff9b::a.b.c.d
            embedded = ipaddress.IPv4Address(address.packed[12:])
        inner += [embedded] if embedded else []
    return any(one in network for one in inner for network in NETWORKS)
