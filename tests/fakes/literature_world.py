"""A small world of literature for the fake server, built from reading lists and nothing random.

Facts come from the files (title, arXiv id, year, venue, headings). Everything else that services would know is made up
deterministically from hashes: authors, DOIs, who holds what, titles that differ between services, repositories and who
cites whom. Assumptions, the same for every topic: a work's references go to its own topic (60 %), to classics that
everybody cites (30 %) and to other topics (10 %), regardless of headings; abstracts don't exist; headings are shown by
the curated list alone.
"""

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

_SURNAMES = """Abara Bianchi Castillo Dubois Eriksson Fischer Gupta Haddad Ivanova Jensen Kowalski Larsen Moreau
Nakamura Okafor Petrov Quispe Rossi Schmidt Tanaka Ueda Vargas Wagner Xu Yilmaz Zhang"""
SURNAMES = _SURNAMES.split()
_CLASSICS = """
Attention Is All You Need
Deep Residual Learning for Image Recognition
Adam: A Method for Stochastic Optimization
BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding
Language Models are Few-Shot Learners
Learning Transferable Visual Models From Natural Language Supervision
An Image is Worth 16x16 Words
LoRA: Low-Rank Adaptation of Large Language Models
Training language models to follow instructions with human feedback
Llama 2: Open Foundation and Fine-Tuned Chat Models
Dropout: A Simple Way to Prevent Neural Networks from Overfitting
Batch Normalization: Accelerating Deep Network Training
ImageNet Large Scale Visual Recognition Challenge
Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer
Decoupled Weight Decay Regularization
Measuring Massive Multitask Language Understanding
Training Verifiers to Solve Math Word Problems
Evaluating Large Language Models Trained on Code
Gradient-based learning applied to document recognition
Learning multiple layers of features from tiny images
Generative Adversarial Nets
Denoising Diffusion Probabilistic Models
Overcoming catastrophic forgetting in neural networks
Distilling the Knowledge in a Neural Network
Chain-of-Thought Prompting Elicits Reasoning in Large Language Models
Proximal Policy Optimization Algorithms
Direct Preference Optimization
Scaling Laws for Neural Language Models
Mixed Precision Training
RoBERTa: A Robustly Optimized BERT Pretraining Approach
GLUE: A Multi-Task Benchmark for Natural Language Understanding
Long Short-Term Memory
Very Deep Convolutional Networks for Large-Scale Image Recognition
Mask R-CNN
Auto-Encoding Variational Bayes
Playing Atari with Deep Reinforcement Learning
Neural Machine Translation of Rare Words
"""
CLASSICS = _CLASSICS.strip().splitlines()
SCHOLARS = ("arxiv", "semantic_scholar", "openalex", "hub")


def share(*parts: object) -> float:
    """Return a number in [0, 1) that depends on the parts alone."""
    digest = hashlib.sha256("|".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def number(limit: int, *parts: object) -> int:
    return int(share(*parts) * limit)


def normal(title: str) -> str:
    """Return a title in lower case without accents and punctuation; writing without blanks is cut into characters."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", title).casefold() if not unicodedata.combining(c))
    return " ".join(re.findall(r"[\u3040-\u30ff\u3400-\u9fff]|(?:[^\W_\u3040-\u30ff\u3400-\u9fff]|\+)+", plain))


def stemmed(text: str) -> list[str]:
    """Return what a search engine indexes of a text: lower-case words without common endings."""
    return [re.sub(r"(ing|ed|es|s|er|e)$", "", w) if len(w) > 4 else w for w in normal(text).split()]


@dataclass(frozen=True)
class WorldRepository:
    full_name: str
    readme: str
    description: str = ""
    stars: int = 0
    licence: str | None = None
    pushed_at: str = "2025-01-01T00:00:00Z"
    archived: bool = False
    moved_to: str | None = None
    gone: bool = False


@dataclass(frozen=True)
class WorldWork:
    uid: str
    topic: str
    title: str
    year: int
    arxiv: str | None
    doi: str | None
    s2: str
    openalex: str
    authors: tuple[str, ...]
    venue: str | None = None
    sections: tuple[tuple[str, ...], ...] = ()
    is_survey: bool = False
    held_by: frozenset[str] = frozenset()
    repository: str | None = None
    comment: str = ""
    references: tuple[str, ...] = ()
    outside_citations: int = 0
    references_withheld: bool = False

    def title_at(self, source: str) -> str:
        """Return the title that a service shows: now and then that of another version."""
        if source != "arxiv" and self.arxiv and share("retitled", source, self.uid) < 0.03:
            _, colon, rest = self.title.partition(":")
            return rest.strip() if colon and len(rest.split()) > 3 else f"{self.title} (extended version)"
        return self.title.upper() if share("case", source, self.uid) < 0.01 else self.title


@dataclass
class World:
    works: dict[str, WorldWork]
    repositories: dict[str, WorldRepository]
    cited_by: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for work in self.works.values():
            for cited in work.references:
                self.cited_by.setdefault(cited, []).append(work.uid)

    def of_topic(self, topic: str) -> list[WorldWork]:
        return [w for w in self.works.values() if w.topic == topic]

    def citations_of(self, uid: str) -> list[str]:
        return self.cited_by.get(uid, [])


def build_world(files: Sequence[Path], *, lists: bool = True, surveys: bool = True, seed: int = 0) -> World:
    """Return the world of some reading lists, with or without the curated lists and the survey papers.

    Another seed gives another world of the same works: who holds them, who cites whom, and all else that is made up.
    """
    works: dict[str, WorldWork] = {}
    for path in files:
        for work in _works_of(path, seed):
            works.setdefault(work.uid, work)
    if not surveys:
        works = {uid: w for uid, w in works.items() if not w.is_survey}
    for title in CLASSICS:
        work = _work({"title": title, "year": 2012 + number(9, title)}, "classics", seed)
        works[work.uid] = replace(work, outside_citations=20_000 + number(100_000, title))
    famous = sorted(works.values(), key=lambda w: share("fame", w.uid))
    cited = {uid: _references(work, famous) for uid, work in works.items()}
    works = {uid: replace(w, references=cited[uid]) for uid, w in works.items()}
    repositories = {r.full_name: r for r in _code(works.values())}
    if lists:
        for path in files:
            repository = _curated_list(path.stem, [w for w in works.values() if w.topic == path.stem])
            repositories[repository.full_name] = repository
    return World(works, repositories)


def _works_of(path: Path, seed: int) -> Iterable[WorldWork]:
    rows: dict[str, dict] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        same = rows.setdefault(normal(row["title"]), row)
        if same is not row:
            same["all_sections"] = [*same["all_sections"], *row["all_sections"]]
            same["arxiv_id"] = same["arxiv_id"] or row["arxiv_id"]
    return [_work(row, path.stem, seed) for row in rows.values()]


def _work(row: dict, topic: str, seed: int) -> WorldWork:
    title, arxiv = row["title"].strip(), row.get("arxiv_id")
    uid = hashlib.sha256(f"{normal(title)}{seed or ''}".encode()).hexdigest()[:12]
    year = row.get("year") or (2000 + int(arxiv[:2]) if arxiv else 2019 + number(5, "year", uid))
    authors = tuple(
        f"{chr(65 + number(26, 'given', uid, i))}. {SURNAMES[number(len(SURNAMES), 'family', uid, i)]}"
        for i in range(1 + number(5, "authors", uid))
    )
    code = None
    if share("has code", uid) < 0.4:
        words = re.findall(r"[A-Za-z0-9]+", title.split(":")[0])[:3]
        code = f"{authors[0].split()[1].lower()}-lab/{'-'.join(words)}-{uid[:3]}"
    return WorldWork(
        uid=uid,
        topic=topic,
        title=title,
        year=year,
        arxiv=arxiv,
        doi=f"10.5555/{uid}" if not arxiv and share("doi", uid) < 0.8 else None,
        s2=hashlib.sha1(uid.encode()).hexdigest(),
        openalex=f"W{4_000_000_000 + number(399_999_999, 'openalex', uid)}",
        authors=authors,
        venue=row.get("venue"),
        sections=tuple(tuple(s) for s in row.get("all_sections", ())),
        is_survey=bool(row.get("is_survey")),
        held_by=_holders(uid, arxiv),
        repository=code,
        comment=f"Code: https://github.com/{code}" if code and share("comment", uid) < 0.5 else "",
        outside_citations=number(60, "outside", uid),
        references_withheld=share("withheld", uid) < 0.12,
    )


def _holders(uid: str, arxiv: str | None) -> frozenset[str]:
    held = {s for s, p in (("semantic_scholar", 0.9), ("openalex", 0.8)) if share("held", s, uid) < p}
    if arxiv:
        held |= {"arxiv"} | ({"hub"} if share("held", "hub", uid) < 0.45 else set())
    return frozenset(held or {"semantic_scholar"})


def _references(work: WorldWork, famous: Sequence[WorldWork]) -> tuple[str, ...]:
    if work.topic == "classics":
        return ()
    older = [w for w in famous if w.year <= work.year and w.uid != work.uid]
    own = [w for w in older if w.topic == work.topic]
    if work.is_survey:
        return tuple(w.uid for w in own if share("surveyed", work.uid, w.uid) < 0.6)
    classics = [w for w in older if w.topic == "classics"]
    others = [w for w in older if w.topic not in {work.topic, "classics"}]
    chosen: dict[str, None] = {}
    for i in range(10 + number(25, "references", work.uid)):
        draw = share("kind", work.uid, i)
        group = own if draw < 0.6 else classics if draw < 0.9 else others
        if group:
            # A power of a uniform draw favors the famous, who come first.
            chosen[group[int(share("which", work.uid, i) ** 1.6 * len(group))].uid] = None
    return tuple(chosen)


def _code(works: Iterable[WorldWork]) -> Iterable[WorldRepository]:
    for work in works:
        if work.repository is None:
            continue
        link = f"https://arxiv.org/abs/{work.arxiv}" if work.arxiv else f"https://doi.org/{work.doi}"
        fate = share("fate", work.uid)
        yield WorldRepository(
            full_name=work.repository,
            readme=f"# {work.repository.split('/')[1]}\n\nOfficial code of “{work.title}” ({link}).\n",
            description=f"Official implementation of {work.title}",
            stars=number(900, "stars", work.uid),
            licence=("MIT", "Apache-2.0", "NOASSERTION", None)[number(4, "licence", work.uid)],
            pushed_at=f"{min(2026, work.year + 1)}-0{1 + number(9, 'pushed', work.uid)}-15T12:00:00Z",
            archived=share("archived", work.uid) < 0.1,
            moved_to=f"{work.repository}-new" if fate < 0.08 else None,
            gone=0.08 <= fate < 0.14,
        )


def _curated_list(topic: str, works: Sequence[WorldWork]) -> WorldRepository:
    """Return the topic's awesome list: nine tenths of its works under their headings, as bullets or tables."""
    name = " ".join(w.capitalize() for w in topic.replace("_", " ").split())
    listed = [w for w in works if share("listed", w.uid) < 0.9]
    sections: dict[tuple[str, ...], list[WorldWork]] = {}
    for work in listed:
        for path in work.sections:
            sections.setdefault(path, []).append(work)
    lines = [f"# Awesome {name}", "", f"A curated list of papers on {name.lower()}.", "", "## Contents", ""]
    shown: tuple[str, ...] = ()
    for path in sorted(sections):
        for depth, heading in enumerate(path):
            if shown[: depth + 1] != path[: depth + 1]:
                lines += ["", f"{'#' * (depth + 2)} {heading}", ""]
        shown = path
        lines += _entries(path, sections[path])
    return WorldRepository(
        full_name=f"reading-circle/Awesome-{name.replace(' ', '-')}",
        readme="\n".join([*lines, "", "## Citation", "", "Please cite [us](https://example.org)."]) + "\n",
        description=f"A curated list of awesome papers on {name.lower()}",
        stars=700,
        licence="MIT",
    )


def _entries(path: tuple[str, ...], works: Sequence[WorldWork]) -> list[str]:
    if share("table", *path) < 0.5:
        rows = [f"| [{w.title}]({_link(w)}) | {w.year} | {w.venue or ''} |" for w in works]
        return ["| Paper Title | Year | Venue |", "|---|---|---|", *rows]
    code = {w.uid: f" [[code]](https://github.com/{w.repository})" for w in works if w.repository}
    return [
        f"- **{w.title}**, {w.venue or 'preprint'} {w.year}. [[paper]]({_link(w)}){code.get(w.uid, '')}" for w in works
    ]


def _link(work: WorldWork) -> str:
    if work.arxiv:
        return f"https://arxiv.org/{'pdf' if share('pdf', work.uid) < 0.3 else 'abs'}/{work.arxiv}"
    return f"https://doi.org/{work.doi}" if work.doi else f"https://openreview.net/forum?id={work.uid}"
