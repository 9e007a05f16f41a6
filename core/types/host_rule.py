"""Which hosts may be reached: rules of an allow-list, and the addresses that no public name may lead to."""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from typing import Self

from core.types.base import Value

HTTPS = 443
MAX_HOST = 253
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class HostRule(Value):
    """A host and a port that may be reached: `packages.example`, `*.example` (what is below it), `mirror.example:8443`.

    `private` lets the host be an address, or a name that leads to one, of this machine or a network that is not public.
    """

    host: str
    port: int = HTTPS
    private: bool = False

    @classmethod
    def parse(cls, text: str, *, private: bool = False) -> Self:
        """Read `host` or `host:port`; raise ValueError for what is none."""
        host, colon, port = text.strip().lower().rpartition(":") if ":" in text else (text.strip().lower(), "", "")
        if colon and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise ValueError(f"{text!r} has no port after the colon")
        if not is_host(host.removeprefix("*.")):
            raise ValueError(
                f"{text!r} is no host: give a name such as packages.example or *.example, without a scheme"
            )
        if private and host.startswith("*."):
            raise ValueError(f"{text!r} is no single host: a private one is named exactly")
        if not private and is_address(host.removeprefix("*.")):
            raise ValueError(f"{text!r} is an address: only private hosts may be given as one")
        return cls(host=host, port=int(port) if colon else HTTPS, private=private)

    @classmethod
    def wanted(cls, text: str) -> Self:
        """Read a rule of a list that only narrows another, which says whether an address may be named."""
        return cls.parse(text, private=is_address(text.strip().partition(":")[0]))

    def covers(self, host: str, port: int) -> bool:
        """Return whether a host in lower case, or a rule's pattern, is one that this rule means."""
        if port != self.port:
            return False
        return host == self.host or (self.host.startswith("*.") and host.endswith(self.host[1:]))

    def __str__(self) -> str:
        return self.host if self.port == HTTPS else f"{self.host}:{self.port}"


def read_rules(text: str, *, private: bool = False) -> tuple[HostRule, ...]:
    """Read rules that commas separate; raise ValueError for what is none."""
    return tuple(HostRule.parse(part, private=private) for part in text.split(",") if part.strip())


def narrowed(rules: Sequence[HostRule], wanted: Iterable[HostRule]) -> tuple[HostRule, ...]:
    """Return what both lists allow: a wanted rule counts as far as one of `rules` covers it, and no further."""
    found: dict[tuple[str, int], HostRule] = {}
    for asked in wanted:
        for rule in rules:
            if rule.covers(asked.host, asked.port):
                kept = asked.evolve(private=rule.private)
            elif asked.covers(rule.host, rule.port):
                kept = rule
            else:
                continue
            known = found.get((kept.host, kept.port))
            found[kept.host, kept.port] = kept if known is None or kept.private else known
    return tuple(found.values())


def is_host(text: str) -> bool:
    """Return whether a text in lower case is a host's name or an IPv4 address."""
    return len(text) <= MAX_HOST and _NAME.fullmatch(text) is not None


def is_address(host: str) -> bool:
    """Return whether a host is an address in any of the ways in which systems write one (`127.1`, `0x7f000001`)."""
    last = host.rstrip(".").rpartition(".")[2]
    return ":" in host or re.fullmatch(r"[0-9]+|0x[0-9a-f]*", last) is not None


def is_public(address: str) -> bool:
    """Return whether an IP address is one of the public internet, and so is every address that it stands for."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
        if ip in _NAT64:
            inner.append(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF))
        if not all(is_public(str(i)) for i in inner if i is not None):
            return False
        if ip.ipv4_mapped is not None:
            return True
    return ip.is_global and not ip.is_multicast
