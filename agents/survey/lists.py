"""Curated lists: whether a README is one, and the works it names under which headings.

Reads the two usual forms, bullets and tables. The README is hostile text: only titles, ids and links are taken, nothing
is rendered or followed here, and what is taken must still be found by a scholarly source before it counts as a work.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from agents.survey.sources.ports import ListCandidate, ListedWork
from agents.survey.taxonomy import plain_heading
from agents.survey.text import arxiv_id, doi, github_repositories, normalize_title, stems, words
from agents.survey.topic import Topic

MAX_ENTRIES = 5000
MIN_ENTRIES = 8
_HEADING = re.compile(r"^(#{1,6})\s+(.*?)\s*#*\s*$")
_BULLET = re.compile(r"^\s*(?:[-*+]|\d+[.)])\s+(.*)$")
_ROW = re.compile(r"^\s*\|(.+)\|\s*$")
_LINK = re.compile(
    r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(<?([^()\s<>]+(?:\([^()\s]*\)[^()\s<>]*)*)>?(?:\s+\"[^\"]*\")?\)"
)
_BOLD = re.compile(r"\*\*(.+?)\*\*|__(.+?)__")
_LABEL_WORDS = (
    "abs arxiv blog code colab data dataset demo doi github here html link models official openreview page paper "
    "papers pdf poster preprint project projects slides url video website weights"
)
_LABELS = frozenset(_LABEL_WORDS.split())
_SCHOLARLY = (
    "arxiv.org", "openreview.net", "aclanthology.org", "doi.org", "neurips.cc", "nips.cc", "mlr.press", "thecvf.com",
    "ieee.org", "acm.org", "springer.com", "sciencedirect.com", "nature.com", "semanticscholar.org", "aaai.org",
    "ijcai.org", "isca-archive.org", "jmlr.org", "biorxiv.org", "medrxiv.org", "ecva.net", "wiley.com",
)  # fmt: skip


@dataclass(frozen=True)
class CuratedList:
    """A list that was read: whose it is and what it names."""

    full_name: str
    entries: tuple[ListedWork, ...]


def is_topical(candidate: ListCandidate, topic: Topic) -> bool:
    """Return whether a repository's name or description names the topic."""
    name = candidate.full_name.rsplit("/", 1)[-1].replace("-", " ").replace("_", " ")
    return topic.directness(stems(f"{name} {candidate.description}")) > 0


def read_list(full_name: str, readme: str) -> CuratedList | None:
    """Return the list that a README holds, or None when it names too few works to be one."""
    entries: dict[tuple[str, tuple[str, ...]], ListedWork] = {}
    for headings, line in _lines(readme):
        entry = _entry(line, headings)
        if entry is not None:
            entries.setdefault((normalize_title(entry.title), entry.headings), entry)
        if len(entries) >= MAX_ENTRIES:
            break
    scholarly = [e for e in entries.values() if e.arxiv or e.doi or _is_scholarly(e.url)]
    return CuratedList(full_name, tuple(scholarly)) if len(scholarly) >= MIN_ENTRIES else None


def _lines(readme: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the lines that may name a work, with the path of headings above each."""
    path: list[tuple[int, str]] = []
    fenced = False
    for line in readme.splitlines():
        if line.lstrip().startswith(("```", "~~~")):
            fenced = not fenced
        heading = None if fenced else _HEADING.match(line)
        if heading:
            level = len(heading.group(1))
            path = [(depth, text) for depth, text in path if depth < level]
            path.append((level, plain_heading(_LINK.sub(lambda m: m.group(2), heading.group(2)))))
        elif not fenced:
            found = _BULLET.match(line) or _ROW.match(line)
            if found:
                # The document's own title is no category.
                yield tuple(text for depth, text in path if depth > 1 and text), found.group(1)


def _entry(line: str, headings: tuple[str, ...]) -> ListedWork | None:
    links = [(text.strip(), url) for image, text, url in _LINK.findall(line) if not image]
    papers = [(text, url) for text, url in links if url.startswith(("http://", "https://")) and not _is_code(url)]
    if not papers:
        return None
    named = next(((text, url) for text, url in papers if not _is_label(text)), None)
    title = _plain(named[0]) if named else _leading_title(line)
    url = named[1] if named else papers[0][1]
    scholarly = next((u for _, u in papers if arxiv_id(u) or _is_scholarly(u)), url)
    # Writing without blanks between words says in six signs what takes eight letters and a blank.
    count = len(words(title))
    if count < 2 or (len(title) < 8 and count < 6):
        return None
    return ListedWork(
        title=title,
        url=scholarly,
        arxiv=next((i for i in (arxiv_id(u) for _, u in papers if "arxiv" in u or "hf.co" in u) if i), None),
        doi=next((d for d in (doi(u) for _, u in papers) if d), None),
        code=github_repositories(" ".join(u for _, u in links)),
        headings=headings,
    )


def _leading_title(line: str) -> str:
    bold = _BOLD.search(line)
    if bold:
        return _plain(bold.group(1) or bold.group(2))
    return _plain(re.split(r"[\[|]", line, maxsplit=1)[0])


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[*`_]{1,3}|<[^>]*>", "", text).split()).strip(' .,:;"“”')


def _is_label(text: str) -> bool:
    bare = normalize_title(text).split()
    return len(bare) <= 2 and (not bare or any(w in _LABELS or w.isdigit() for w in bare))


def _is_code(url: str) -> bool:
    host = (urlsplit(url).hostname or "").removeprefix("www.")
    return host in {"github.com", "gitlab.com", "img.shields.io", "colab.research.google.com"}


def _is_scholarly(url: str | None) -> bool:
    host = urlsplit(url or "").hostname or ""
    return any(host == home or host.endswith(f".{home}") for home in _SCHOLARLY)
