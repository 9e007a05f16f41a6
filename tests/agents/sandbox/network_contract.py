"""What every tier promises of a sandbox's network. A tier's test module subclasses it and gives the tier."""

import socket
import stat
import time

import pytest

from agents.sandbox.egress_request import CHUNK
from agents.sandbox.network import EgressLimits, EgressRecord, EgressVerdict, Network, NetworkPolicy
from agents.sandbox.port import Finished, SandboxSpec, Tier, run, upload
from core.types.host_rule import HostRule
from tests.agents.sandbox.contract import PYTHON, python, started
from tests.fakes.package_host import NAME, SAID, PackageHost

FETCH = """
import http.client, ssl, sys, urllib.request
for url in sys.argv[1:]:
    try:
        context = ssl.create_default_context(cafile="certificate.pem") if url.startswith("https") else None
        print(urllib.request.urlopen(url, timeout=20, context=context).read()[:200].decode())
    except (OSError, http.client.HTTPException) as error:
        detail = error.read().decode().strip() if hasattr(error, "read") else ""
        print("failed:", error, detail)
"""


def network(host: PackageHost, **limits: float) -> Network:
    rules = tuple(HostRule(host=NAME, port=port, private=True) for port in (host.http_port, host.https_port))
    index = f"https://{NAME}:{host.https_port}/simple/"
    return Network(hosts=rules, limits=EgressLimits(**limits), index_url=index)


async def fetched(tier: Tier, host: PackageHost, network: Network, *urls: str) -> tuple[Finished, list[EgressRecord]]:
    records: list[EgressRecord] = []

    async def report(record: EgressRecord) -> None:
        records.append(record)

    sandbox = await tier.start(SandboxSpec(id=f"net-{time.monotonic_ns()}", network=network), report)
    try:
        upload(sandbox, "certificate.pem", host.certificate.read_bytes())
        done = await run(sandbox, [PYTHON, "-c", FETCH, *urls], seconds=60)
    finally:
        await sandbox.close()
    assert done.ok, done.stderr
    return done, records


class NetworkContract:
    """Subclasses give `tier` as a fixture."""

    async def test_an_allowed_host_is_reached_plainly_and_by_tls(self, tier: Tier, packages: PackageHost) -> None:
        plain, tls = (f"http://{NAME}:{packages.http_port}/a?b=c", f"https://{NAME}:{packages.https_port}/d")
        done, records = await fetched(tier, packages, network(packages), plain, tls)
        assert done.stdout == f"hello from {NAME}\n" * 2
        assert [path for path, _ in packages.asked] == ["/a?b=c", "/d"]
        assert [(r.method, r.host, r.port, r.verdict) for r in records] == [
            ("GET", NAME, packages.http_port, EgressVerdict.ALLOWED),
            ("CONNECT", NAME, packages.https_port, EgressVerdict.ALLOWED),
        ]
        assert all(r.bytes_in > 100 and r.bytes_out > 50 for r in records), records

    async def test_what_is_not_on_the_list_is_refused_with_the_reason(self, tier: Tier, packages: PackageHost) -> None:
        open_port = packages.http_port
        allowed = network(packages)
        # A public rule whose name leads to this machine: the list alone must not open it.
        allowed = allowed.evolve(hosts=(*allowed.hosts, HostRule(host="localhost.", port=open_port)))
        allowed = allowed.evolve(hosts=(*allowed.hosts, HostRule(host="ip6-localhost", port=open_port)))
        elsewhere = ["https://elsewhere.test/", "http://elsewhere.test/", f"https://sub.{NAME}:{packages.https_port}/"]
        inner = [f"https://{NAME}:{open_port + 1}/", "https://169.254.169.254/", "http://0x7f000001/"]
        done, records = await fetched(tier, packages, allowed, *elsewhere, *inner)
        said = done.stdout.splitlines()
        assert [line.partition(":")[0] for line in said] == ["failed"] * 6, said
        assert all("is not on the list of this sandbox" in line for line in said[:4]), said
        assert all("hosts are asked for by their names" in line for line in said[4:]), said
        assert {r.verdict for r in records} == {EgressVerdict.REFUSED}
        assert len(records) == 6
        assert packages.asked == []

    async def test_this_machine_is_not_reached(self, tier: Tier, packages: PackageHost) -> None:
        port = packages.http_port
        allowed = network(packages).evolve(hosts=(HostRule(host="localhost", port=port),))
        async with started(tier, network=allowed) as sandbox:
            code = (
                "import socket\n"
                f"for host in ('127.0.0.1', 'localhost', '{NAME}'):\n"
                f"    try: socket.create_connection((host, {port}), 2); print('reached', host)\n"
                "    except OSError: pass\n"
                "for host in ('127.0.0.1', 'localhost', '[::1]', '127.1', '2130706433'):\n"
                "    proxy = socket.create_connection(('127.0.0.1', 8101), 5)\n"
                f"    proxy.sendall(f'CONNECT {{host}}:{port} HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'.encode())\n"
                "    print(proxy.recv(1000).decode().split('\\r\\n')[0])\n"
            )
            done = await python(sandbox, code)
        lines = done.stdout.splitlines()
        assert len(lines) == 5, done
        assert all(line.startswith("HTTP/1.1 403 sandbox network: ") for line in lines), lines
        assert "which is no public address" in lines[1]
        assert packages.asked == []

    async def test_pip_installs_from_the_index_that_is_handed_in(self, tier: Tier, packages: PackageHost) -> None:
        certificate = {"PIP_CERT": "/workspace/certificate.pem"}
        async with started(tier, network=network(packages), environment=certificate) as sandbox:
            upload(sandbox, "certificate.pem", packages.certificate.read_bytes())
            script = (
                f"{PYTHON} -m venv own && own/bin/pip install -q --no-cache-dir tinypackage && "
                "own/bin/python -c 'import tinypackage; print(tinypackage.SAID)'"
            )
            done = await run(sandbox, ["sh", "-c", script], seconds=240)
        assert done.stdout == f"{SAID}\n", done.stderr
        assert [path for path, _ in packages.asked] == [
            "/simple/tinypackage/",
            "/files/tinypackage-1.0-py3-none-any.whl",
        ]

    async def test_bytes_are_limited_over_the_life_of_a_sandbox(self, tier: Tier, packages: PackageHost) -> None:
        records: list[EgressRecord] = []

        async def report(record: EgressRecord) -> None:
            records.append(record)

        base = f"https://{NAME}:{packages.https_port}"
        limited = network(packages, bytes_in=300_000)
        spec = SandboxSpec(id=f"net-{time.monotonic_ns()}", network=limited, persistent=True)
        said = []
        for urls in ([f"{base}/bytes/100000", f"{base}/bytes/900000"], [f"{base}/after"]):
            sandbox = await tier.start(spec, report)
            upload(sandbox, "certificate.pem", packages.certificate.read_bytes())
            said += (await run(sandbox, [PYTHON, "-c", FETCH, *urls], seconds=60)).stdout.splitlines()
            await sandbox.close(delete=len(urls) == 1)
        assert said[0] == "x" * 200
        assert said[1].startswith("failed: "), said
        assert "the 300000 bytes that it may download are used up" in said[2]
        assert [r.verdict for r in records] == [EgressVerdict.ALLOWED, EgressVerdict.CUT, EgressVerdict.CUT]
        assert 300_000 - CHUNK <= sum(r.bytes_in for r in records) <= 300_000
        assert "/after" not in {path for path, _ in packages.asked}

    async def test_no_list_no_proxy(self, tier: Tier) -> None:
        code = (
            "import os, socket\n"
            "print(sorted(os.listdir('/run/host')), [n for n in os.environ if 'proxy' in n.lower()])\n"
            "try: socket.create_connection(('127.0.0.1', 8101), 2); print('reached')\nexcept OSError: print('nothing')"
        )
        async with started(tier) as sandbox:
            assert sandbox.spec.network.policy is NetworkPolicy.NONE
            done = await python(sandbox, code)
        assert done.stdout == "['tunnel.sock'] []\nnothing\n", done

    async def test_the_proxy_goes_with_its_sandbox(
        self, tier: Tier, packages: PackageHost, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        spec = SandboxSpec(id=f"net-{time.monotonic_ns()}", network=network(packages), persistent=True)
        sandbox = await tier.start(spec)
        path = sandbox.workspace.parent / "host" / "egress.sock"
        assert stat.S_ISSOCK(path.stat().st_mode)
        await sandbox.close(delete=False)
        short = tmp_path_factory.mktemp("s") / "s"
        short.symlink_to(path)
        with socket.socket(socket.AF_UNIX) as client, pytest.raises(OSError, match=r"refused|No such file"):
            client.connect(str(short))
        # A list that was taken away leaves nothing of the one before.
        again = await tier.start(spec.evolve(network=Network()))
        assert not path.exists()
        await again.close()
