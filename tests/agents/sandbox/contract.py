"""What every sandbox tier promises. A tier's test module subclasses it and gives the tier."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import psutil
import pytest

from agents.sandbox.port import (
    Ending,
    Exit,
    Finished,
    Limits,
    Mount,
    Output,
    Sandbox,
    SandboxSpec,
    Tier,
    download,
    run,
    upload,
)
from tests.conftest import ROOT
from tests.fakes.openai_server import FakeOpenAI, text

PYTHON = "python3"


@contextlib.asynccontextmanager
async def started(tier: Tier, **rest: object) -> AsyncIterator[Sandbox]:
    sandbox = await tier.start(SandboxSpec(id=f"test-{time.monotonic_ns()}", **rest))
    try:
        yield sandbox
    finally:
        await sandbox.close()


async def python(sandbox: Sandbox, code: str, **rest: float) -> Finished:
    return await run(sandbox, [PYTHON, "-c", code], **rest)


class SandboxContract:
    """Subclasses give `tier` and `root` as fixtures."""

    async def test_a_command_runs_in_the_workspace(self, tier: Tier) -> None:
        async with started(tier) as sandbox:
            upload(sandbox, "in/name.txt", b"world")
            done = await python(sandbox, "print('hello', open('in/name.txt').read()); open('out','w').write('x' * 9)")
            assert (done.exit, done.stdout) == (Exit(code=0), "hello world\n"), done.stderr
            assert download(sandbox, "out") == b"x" * 9
            done = await python(sandbox, "open('in/name.txt', 'a').write('!'); open('in/more', 'w').write('')")
            assert done.ok, "what is uploaded does not belong to the sandbox's user: " + done.stderr
            folder = sandbox.workspace
        assert not folder.exists()

    async def test_codes_and_both_streams(self, tier: Tier) -> None:
        async with started(tier) as sandbox:
            done = await run(sandbox, ["sh", "-c", "echo out; echo err >&2; exit 7"])
            assert (done.exit.code, done.stdout, done.stderr) == (7, "out\n", "err\n")
            assert (await run(sandbox, ["no-such-program"])).exit.code == 127

    async def test_output_streams_as_it_comes(self, tier: Tier) -> None:
        async with started(tier) as sandbox:
            script = "import time\nprint('one', flush=True)\ntime.sleep(1.5)\nprint('two', flush=True)"
            seen = [(time.monotonic(), piece) async for piece in sandbox.stream([PYTHON, "-c", script])]
            texts = [(at, p.text) for at, p in seen if isinstance(p, Output)]
            assert "".join(t for _, t in texts) == "one\ntwo\n"
            one, two = (next(at for at, t in texts if word in t) for word in ("one", "two"))
            assert two - one > 1.0, texts
            assert seen[-1][1] == Exit(code=0)

    async def test_leaving_early_ends_the_command(self, tier: Tier) -> None:
        async with started(tier) as sandbox:
            stream = sandbox.stream([PYTHON, "-c", BEAT])
            async for piece in stream:
                assert isinstance(piece, Output)
                break
            await stream.aclose()
            assert await stopped(sandbox)

    async def test_time_is_limited(self, tier: Tier) -> None:
        async with started(tier) as sandbox:
            done = await python(sandbox, BEAT, seconds=1.5)
            assert done.exit == Exit(code=None, ending=Ending.TIME)
            assert await stopped(sandbox)

    async def test_memory_is_limited(self, tier: Tier) -> None:
        async with started(tier, limits=Limits(memory_mb=200)) as sandbox:
            done = await python(sandbox, "x = []\nwhile True: x.append(bytearray(b'x' * 10_000_000))", seconds=60)
            assert not done.ok
            assert done.exit.ending is Ending.MEMORY or "MemoryError" in done.stderr or done.exit.code == 137

    async def test_many_processes_share_the_memory_limit(self, tier: Tier) -> None:
        async with started(tier, limits=Limits(memory_mb=300)) as sandbox:
            code = (
                "import os, time\nfor _ in range(6):\n    if os.fork() == 0:\n"
                "        x = bytearray(b'x' * 100_000_000)\n        time.sleep(20)\n        os._exit(0)\n"
                "for _ in range(6):\n    if os.wait()[1]: raise SystemExit(1)"
            )
            assert not (await python(sandbox, code, seconds=60)).ok

    async def test_processes_are_limited(self, tier: Tier) -> None:
        async with started(tier, limits=Limits(processes=30)) as sandbox:
            code = "import os, time\nfor _ in range(200):\n    if os.fork() == 0:\n        time.sleep(20)\n"
            done = await python(sandbox, code + "time.sleep(20)\nprint('all made')", seconds=30)
            assert done.exit.ending is Ending.PROCESSES or "BlockingIOError" in done.stderr
            assert "all made" not in done.stdout

    async def test_disk_is_limited(self, tier: Tier) -> None:
        async with started(tier, limits=Limits(disk_mb=20)) as sandbox:
            code = (
                "import time\nfor i in range(100):\n    open(f'f{i}', 'wb').write(b'x' * 5_000_000)\n    time.sleep(.1)"
            )
            assert (await python(sandbox, code, seconds=60)).exit.ending is Ending.DISK

    async def test_cpus_are_limited(self, tier: Tier) -> None:
        if len(os.sched_getaffinity(0)) < 2:
            pytest.skip("one CPU can't be shared out")
        async with started(tier, limits=Limits(cpus=1)) as sandbox:
            code = (
                "import os, time\nends = time.time() + 2\nchildren = [os.fork() for _ in range(2)]\n"
                "while time.time() < ends: pass\nif all(children):\n    os.wait(); os.wait()\n"
                "    t = os.times()\n    print(t.user + t.system + t.children_user + t.children_system)"
            )
            used = float((await python(sandbox, code)).stdout.split()[-1])
            assert used < 3.0, "two CPUs' worth of time in two seconds"

    async def test_there_is_no_network(self, tier: Tier) -> None:
        with FakeOpenAI([]) as server:
            host, port = "127.0.0.1", int(server.base_url.split(":")[2].split("/")[0])
            async with started(tier) as sandbox:
                code = (
                    "import socket, sys\n"
                    f"for where in [('{host}', {port}), ('1.1.1.1', 53), ('8.8.8.8', 443)]:\n"
                    "    try:\n        socket.create_connection(where, 2); print('reached', where)\n"
                    "    except OSError as error: pass\n"
                    "try:\n    socket.getaddrinfo('example.org', 80); print('resolved')\nexcept OSError: pass"
                )
                done = await python(sandbox, code)
        assert (done.stdout, done.exit.code) == ("", 0)

    async def test_the_gateway_alone_is_reached(self, tier: Tier) -> None:
        with FakeOpenAI([text("hello from outside")]) as server:
            address = server.base_url.removeprefix("http://").removesuffix("/v1")
            async with started(tier, gateway=address) as sandbox:
                code = (
                    "import json, urllib.request as u\n"
                    "body = json.dumps({'messages': []}).encode()\n"
                    f"head = {{'Authorization': 'Bearer {server.api_key}', 'Content-Type': 'application/json'}}\n"
                    "r = u.Request('http://127.0.0.1:8100/v1/chat/completions', body, head)\n"
                    "print(json.load(u.urlopen(r))['choices'][0]['message']['content'])"
                )
                done = await python(sandbox, code)
        assert done.stdout == "hello from outside\n", done.stderr

    async def test_a_server_inside_is_reached_through_the_socket(self, tier: Tier) -> None:
        async with started(tier, agent_port=8200) as sandbox:
            upload(sandbox, "hello.txt", b"from inside")
            task = asyncio.create_task(
                run(sandbox, [PYTHON, "-m", "http.server", "8200", "--bind", "127.0.0.1"], seconds=60)
            )
            transport = httpx.AsyncHTTPTransport(uds=str(sandbox.agent_socket), retries=3)
            async with httpx.AsyncClient(transport=transport, base_url="http://inside", timeout=25) as client:
                answers = await asyncio.gather(*(client.get("/hello.txt") for _ in range(6)))
            assert {a.text for a in answers} == {"from inside"}
            await sandbox.kill()
            assert (await task).exit.ending is Ending.KILLED or (await task).exit.code == 137

    async def test_our_files_and_environment_are_out_of_reach(
        self, tier: Tier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        secret = "canary-5e1f-outside"
        (tmp_path / "secret.txt").write_text(secret)
        monkeypatch.setenv("DEEPSEEK_API_KEY", secret)
        code = (
            "import glob, os\nprint(dict(os.environ))\n"
            f"for path in [*glob.glob('/proc/[0-9]*/environ'), {str(tmp_path / 'secret.txt')!r}]:\n"
            "    try: print(open(path).read())\n    except OSError as error: print('refused', path)\n"
        )
        async with started(tier) as sandbox:
            done = await python(sandbox, code)
            assert done.ok, done.stderr
            assert secret not in done.stdout
            assert f"refused {tmp_path}" in done.stdout
            home = await python(sandbox, f"import os; print(os.path.exists({str(Path.home() / '.bashrc')!r}))")
            assert "True" not in home.stdout

    async def test_mounts_are_read_only(self, tier: Tier, tmp_path: Path) -> None:
        (tmp_path / "data").mkdir(mode=0o755)
        (tmp_path / "data" / "items").write_text("42")
        async with started(tier, mounts=(Mount(source=tmp_path / "data", target="/data"),)) as sandbox:
            done = await python(sandbox, "print(open('/data/items').read()); open('/data/items', 'w').write('43')")
            assert done.stdout == "42\n"
            assert "Read-only file system" in done.stderr
        assert (tmp_path / "data" / "items").read_text() == "42"

    async def test_beside_a_mount_in_the_workspace_can_be_written(self, tier: Tier, tmp_path: Path) -> None:
        (tmp_path / "data").mkdir(mode=0o755)
        mount = Mount(source=tmp_path / "data", target="/workspace/task/models/data")
        async with started(tier, mounts=(mount,)) as sandbox:
            done = await python(sandbox, "import os; os.mkdir('task/submission'); open('task/notes', 'w').write('')")
            assert done.ok, done.stderr
            assert not (await python(sandbox, "open('task/models/data/x', 'w')")).ok

    async def test_kill_ends_everything(self, tier: Tier) -> None:
        async with started(tier) as sandbox:
            task = asyncio.create_task(run(sandbox, [PYTHON, "-c", f"import os\nos.fork()\n{BEAT}"], seconds=60))
            while not (sandbox.workspace / "beat").exists():
                await asyncio.sleep(0.05)
            await sandbox.kill()
            assert not (await asyncio.wait_for(task, 10)).ok
            assert await stopped(sandbox)

    async def test_endless_output_is_cut(self, tier: Tier) -> None:
        async with started(tier) as sandbox:
            said, last = 0, None
            async with asyncio.timeout(120):
                async for piece in sandbox.stream(["yes", "0123456789012345678901234567890123456789"], seconds=100):
                    said += len(piece.text) if isinstance(piece, Output) else 0
                    last = piece
                    # A reader slower than the command: what waits to be read must not keep the end from coming.
                    await asyncio.sleep(0.002)
            assert last == Exit(code=None, ending=Ending.OUTPUT)
            assert 8_000_000 < said < 9_000_000

    async def test_a_persistent_workspace_is_found_again(self, tier: Tier) -> None:
        spec = SandboxSpec(id=f"keep-{time.monotonic_ns()}", persistent=True)
        first = await tier.start(spec)
        upload(first, "kept", b"1")
        await first.close(delete=False)
        second = await tier.start(spec)
        assert download(second, "kept") == b"1"
        await second.close(delete=False)
        assert await tier.sweep() == []
        assert second.workspace.exists()
        week_ago = time.time() - 8 * 86400
        os.utime(second.workspace.parent, (week_ago, week_ago))
        await tier.sweep()
        assert not second.workspace.parent.exists()

    async def test_what_a_crash_of_ours_leaves_is_swept(self, tier: Tier, root: Path) -> None:
        image = f", {tier._image!r}" if tier.name == "docker" else ""
        made = f"{type(tier).__name__}(pathlib.Path({str(root)!r}){image})"
        mark = f"crashed-in-{root}"  # the other tier's test may run beside
        code = CRASHING.format(module=type(tier).__module__, tier=type(tier).__name__, made=made, beat=BEAT, mark=mark)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        assert process.stdout
        assert (await process.stdout.readline()).strip() == b"running"
        os.kill(process.pid, signal.SIGKILL)
        await process.wait()
        assert "crashed-1" in await tier.sweep()
        assert not (root / "crashed-1").exists()
        assert not [p for p in psutil.process_iter(["cmdline"]) if mark in (p.info["cmdline"] or [])]
        assert await tier.sweep() == []

    async def test_sandboxes_of_the_living_are_left_alone(self, tier: Tier) -> None:
        async with started(tier) as sandbox:
            assert await tier.sweep() == []
            assert (await run(sandbox, ["true"])).ok


BEAT = "import time\nwhile True:\n    open('beat', 'a').write('.')\n    print('.', flush=True)\n    time.sleep(0.1)"
CRASHING = """
import asyncio, pathlib
from {module} import {tier}
from agents.sandbox.port import SandboxSpec, Output
async def main():
    sandbox = await {made}.start(SandboxSpec(id="crashed-1"))
    async for piece in sandbox.stream(["python3", "-c", {beat!r}, {mark!r}]):
        print("running", flush=True)
asyncio.run(main())
"""


async def stopped(sandbox: Sandbox) -> bool:
    """Whether nothing writes `beat` any more."""
    beat = sandbox.workspace / "beat"
    await asyncio.sleep(0.3)
    before = beat.stat().st_size if beat.exists() else 0
    await asyncio.sleep(0.7)
    return (beat.stat().st_size if beat.exists() else 0) == before
