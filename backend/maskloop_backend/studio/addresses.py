"""Where images may be fetched from: checked against the address that is connected to, after the name was resolved.

A task is written by whoever may import into Label Studio, and the server follows what stands in it. On a developer's
machine that is wanted wherever it leads; on a network, hosts that only the server reaches are not an annotator's to see.
"""

from __future__ import annotations

import fnmatch
import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from .errors import StudioError

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

# Names of this machine that mean one address, so that `localhost` in a task is `127.0.0.1` in an option.
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1", "ip6-localhost"})
# IPv6 that carries an IPv4 address which a gateway connects to: NAT64 (RFC 6052).
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class AddressError(StudioError):
    """A host that images may not be fetched from."""


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """Which hosts may be fetched from; the default is every one.

    Attributes:
        allow_hosts: patterns of names (``images.example.com``, ``*.example.com``, ``minio:9000``) and networks
            (``10.1.0.0/16``); a host that no pattern fits is refused. Empty, or ``*`` among them: every host.
        deny_private: refuse addresses that are not on the public internet (loopback, 10.0.0.0/8, link-local, ...),
            unless a pattern other than ``*`` fits.
        own: origins, (host, port), that are always allowed: where the operator said that Label Studio is.
    """

    allow_hosts: tuple[str, ...] = ()
    deny_private: bool = False
    own: frozenset[tuple[str, int]] = frozenset()

    @classmethod
    def parse(cls, allow_hosts: Iterable[str], deny_private: bool, studio_url: str | None = None) -> AddressPolicy:
        """Return the policy that options ask for.

        Args:
            allow_hosts: patterns, several in one text separated by commas or spaces.
            deny_private: see above.
            studio_url: the operator's own address of Label Studio.

        Raises:
            StudioError: a pattern that is an address with a path or a malformed network.
        """
        patterns = tuple(each.lower() for text in allow_hosts for each in text.replace(",", " ").split())
        for pattern in patterns:
            if "//" in pattern or ("/" in pattern and _network(pattern) is None):
                raise StudioError(
                    f"--allow-hosts: expected a host ('images.example.com', '*.example.com', 'minio:9000') or a network "
                    f"('10.1.0.0/16'), got {pattern!r}"
                )
        return cls(patterns, deny_private, frozenset({origin(studio_url)[1:]}) if studio_url else frozenset())

    def arguments(self) -> list[str]:
        """Return the options that ask for the same policy; see :mod:`maskloop_backend.cli.options`."""
        allowed = ["--allow-hosts", ",".join(self.allow_hosts)] if self.allow_hosts else []
        return [*allowed, "--deny-private" if self.deny_private else "--no-deny-private"]

    @property
    def restricts(self) -> bool:
        """Whether any host is refused."""
        return self.deny_private or bool(self.allow_hosts and "*" not in self.allow_hosts)

    def resolve(self, host: str, port: int) -> list[str]:
        """Return the addresses of a host that may be connected to, as numbers: whoever connects asks no name again.

        Raises:
            AddressError: there are addresses, and none is allowed.
            OSError: the name has no address.
        """
        found = [entry[4][0] for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        numbers = list(dict.fromkeys(str(number) for number in found))
        allowed = [
            number for number in numbers if self.allows(host, port, ipaddress.ip_address(number.partition("%")[0]))
        ]
        if not allowed:
            raise AddressError(f"{host}:{port} is not among the hosts that images may be fetched from")
        return allowed

    def allows(self, host: str, port: int, address: IpAddress) -> bool:
        """Return whether a host may be fetched from at one of its addresses."""
        if (canonical(host), port) in self.own or self.names(host, port, address):
            return True
        if self.allow_hosts and "*" not in self.allow_hosts:
            return False
        return not self.deny_private or is_public(address)

    def names(self, host: str, port: int, address: IpAddress) -> bool:
        """Return whether the operator's patterns name a host or its address, ``*`` not counted."""
        return any(_fits(pattern, host, port, address) for pattern in self.allow_hosts if pattern != "*")

    def discreet(self, host: str, port: int) -> bool:
        """Return whether reasons may not tell what answers at a host.

        That is so where it is on a private network and nobody said that it is meant for annotators: otherwise whoever
        writes tasks reads from the reasons which ports are open there.
        """
        if (canonical(host), port) in self.own:
            return False
        try:
            numbers = {str(entry[4][0]).partition("%")[0] for entry in socket.getaddrinfo(host, port)}
        except (OSError, UnicodeError):
            return True
        addresses = [ipaddress.ip_address(number) for number in numbers]
        return not all(is_public(address) or self.names(host, port, address) for address in addresses)


def is_public(address: IpAddress) -> bool:
    """Return whether an address is on the public internet, also where IPv6 carries an IPv4 address."""
    if isinstance(address, ipaddress.IPv6Address):
        carried = address.ipv4_mapped or address.sixtofour
        if carried is None and address in _NAT64:
            carried = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if carried is not None:
            return is_public(carried)
        if address.teredo is not None:
            return False
    return address.is_global and not address.is_multicast


def canonical(host: str) -> str:
    """Return a host's name as it is compared: lower case, without brackets, one name for this machine's loopback."""
    name = host.lower().strip("[]").rstrip(".")
    return "localhost" if name in _LOOPBACK_NAMES else name


def origin(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port of an http(s) address, as they are compared.

    Raises:
        ValueError: malformed.
    """
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    return scheme, canonical(parts.hostname or ""), parts.port or (443 if scheme == "https" else 80)


def _network(pattern: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(pattern, strict=False)
    except ValueError:
        return None


def _fits(pattern: str, host: str, port: int, address: IpAddress) -> bool:
    network = _network(pattern)
    if network is not None:
        return address in network
    name, colon, number = pattern.rpartition(":")
    if colon and number.isdigit():
        if int(number) != port:
            return False
        pattern = name
    return fnmatch.fnmatchcase(canonical(host), canonical(pattern))
