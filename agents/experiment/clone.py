"""A work's repository cloned inside its sandbox: from any host that the operator allows, by https, through the proxy.

Git reads what is hostile there and not here: no hook, no other protocol, no submodule, no credential, one commit.
"""

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from agents.sandbox.openhands_events import write_whole
from agents.sandbox.port import WORKSPACE, Sandbox, place, run
from core.errors import SourceError
from core.types.host_rule import HTTPS, HostRule

CLONE_S = 600.0
FOLDER = f"{WORKSPACE}/task/repository"
_PATH = re.compile(r"(?:/[A-Za-z0-9_~][A-Za-z0-9._~-]*){1,8}")
# What the hosts' own pages put behind a repository's address.
_PAGES = ("/-/", "/tree/", "/blob/")
_GIT = (
    *("git", "-c", "core.hooksPath=/dev/null", "-c", "credential.helper="),
    *("-c", "protocol.allow=never", "-c", "protocol.https.allow=always"),
)
_COMMIT = re.compile(r"[0-9a-f]{40,64}")


def clonable(url: str, hosts: Sequence[HostRule]) -> str | None:
    """Return where a repository can be cloned from, or None where its address is none that the rules allow."""
    try:
        parts = urlsplit(url.strip())
        host, port = (parts.hostname or "").rstrip("."), parts.port or HTTPS
    except ValueError:
        return None
    path = parts.path.rstrip("/")
    for mark in _PAGES:
        path = path.partition(mark)[0]
    if parts.scheme != "https" or "@" in parts.netloc or not _PATH.fullmatch(path):
        return None
    if not any(rule.covers(host, port) for rule in hosts):
        return None
    return f"https://{host}{'' if port == HTTPS else f':{port}'}{path}"


async def clone(sandbox: Sandbox, url: str) -> str:
    """Clone into the task's folder unless it was done, and return the commit; raise SourceError with git's reason."""
    mark = sandbox.private / "cloned"
    if mark.exists():
        return mark.read_text()
    await run(sandbox, ["rm", "-rf", FOLDER], seconds=60)
    asked = ["env", "GIT_TERMINAL_PROMPT=0", "GIT_LFS_SKIP_SMUDGE=1", *_GIT, "clone", "-q", "--depth", "1", "--no-tags"]
    done = await run(sandbox, [*asked, "--", url, FOLDER], seconds=CLONE_S)
    if not done.ok:
        raise SourceError(f"{url} can't be cloned: {done.stderr.strip()[-300:] or done.exit.ending}")
    said = await run(sandbox, [*_GIT, "-C", FOLDER, "rev-parse", "HEAD"], seconds=60)
    commit = said.stdout.strip()
    if not _COMMIT.fullmatch(commit) or not place(sandbox.workspace, "task/repository").is_dir():
        raise SourceError(f"{url} was cloned without a commit.")
    write_whole(mark, commit)
    return commit
