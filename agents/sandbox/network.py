"""What a sandbox's network may be: nothing, or an allow-list of hosts behind a proxy with limits."""

from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum

from pydantic import Field

from core.types.base import Value
from core.types.host_rule import HostRule

EGRESS_PORT = 8101
"""Where the proxy answers inside, on loopback."""

LOOPBACK = "localhost,127.0.0.1"


class NetworkPolicy(StrEnum):
    """What a sandbox reaches beside the LLM gateway."""

    NONE = "none"
    ALLOW_LIST = "allow-list"


class EgressVerdict(StrEnum):
    """What became of a request: `cut` is one that was allowed and met a limit, `failed` one that the host failed."""

    ALLOWED = "allowed"
    REFUSED = "refused"
    CUT = "cut"
    FAILED = "failed"


class EgressLimits(Value):
    """What a sandbox may use of the network in all (`connections`: at a time; `idle_s`: silence of one)."""

    connections: int = Field(16, ge=1)
    requests: int = Field(2000, ge=1)
    bytes_in: int = Field(4 * 2**30, ge=0)
    bytes_out: int = Field(64 * 2**20, ge=0)
    idle_s: float = Field(60.0, gt=0)


class Network(Value):
    """A sandbox's network. Without hosts there is no proxy, and no socket that could lead to one."""

    hosts: tuple[HostRule, ...] = ()
    limits: EgressLimits = EgressLimits()
    index_url: str = ""

    @property
    def policy(self) -> NetworkPolicy:
        """Return what it amounts to."""
        return NetworkPolicy.ALLOW_LIST if self.hosts else NetworkPolicy.NONE

    def environment(self) -> Mapping[str, str]:
        """Return what programs inside need to find the proxy, and pip its index; nothing where there is no network."""
        if self.policy is NetworkPolicy.NONE:
            return {}
        proxy = f"http://127.0.0.1:{EGRESS_PORT}"
        names = {"HTTP_PROXY": proxy, "HTTPS_PROXY": proxy, "NO_PROXY": LOOPBACK}
        pip = {"PIP_DISABLE_PIP_VERSION_CHECK": "1"} | ({"PIP_INDEX_URL": self.index_url} if self.index_url else {})
        return names | {name.lower(): value for name, value in names.items()} | pip


class EgressRecord(Value):
    """One request of a sandbox, as it ended."""

    method: str
    host: str
    port: int
    verdict: EgressVerdict
    reason: str = ""
    bytes_in: int = 0
    bytes_out: int = 0

    @property
    def words(self) -> str:
        """Return it as a line of a journal."""
        where = f"{self.method} {self.host or '?'}:{self.port}"
        return f"{where} {self.verdict}" + (f": {self.reason}" if self.reason else f", {self.bytes_in} bytes received")


Report = Callable[[EgressRecord], Awaitable[None]]


async def ignore(record: EgressRecord) -> None:
    """Report to nobody."""
