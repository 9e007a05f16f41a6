"""Figures of a survey as inline SVG: the flow of numbers, the taxonomy, the timeline. No script, all text escaped."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from agents.survey.language import Say, name_of_source
from agents.survey.taxonomy import in_parts
from agents.survey.text import shorten
from core.types.work import Survey

WIDTH = 760
_PALETTE = (
    "#3b6ea5",
    "#c8743a",
    "#4f8f5b",
    "#a34d6b",
    "#7a68ae",
    "#8a8a3c",
    "#4a9aa3",
    "#9c6b4f",
    "#6b6b6b",
    "#b0a14a",
)
_INK = "#222"
_QUIET = "#667"
_MOST_CATEGORIES = 18
_MOST_SERIES = 8


@dataclass(frozen=True)
class Flow:
    """The numbers of a PRISMA-style flow."""

    by_source: tuple[tuple[str, int], ...]
    records: int
    distinct: int
    dropped: int
    borderline: int
    kept: int
    with_code: int


def flow_of(survey: Survey) -> Flow:
    """Return how many records came in from where and what became of them."""
    found: Counter[str] = Counter()
    for row in survey.ledger:
        found[row.source] += row.found
    by_source = tuple((s, n) for s, n in found.most_common() if n)
    kept, borderline = len(survey.works), len(survey.borderline)
    return Flow(
        by_source=by_source,
        records=sum(n for _, n in by_source),
        distinct=kept + borderline + survey.dropped,
        dropped=survey.dropped,
        borderline=borderline,
        kept=kept,
        with_code=sum(bool(w.repositories) for w in survey.works),
    )


def flow_figure(survey: Survey, say: Say) -> str:
    """Return the flow of numbers from records to works in scope."""
    flow = flow_of(survey)
    sources = ", ".join(f"{name_of_source(name, say)} {count}" for name, count in flow.by_source) or say("none")
    merged = f"{say('Merged as duplicates')}: {max(0, flow.records - flow.distinct)}"
    left = f"{say('Dropped')}: {flow.dropped}; {say('Borderline')}: {flow.borderline}"
    boxes = [
        (f"{say('Records identified')}: {flow.records}", sources, None),
        (f"{say('Distinct works')}: {flow.distinct}", "", merged),
        (f"{say('Screened')}: {flow.distinct}", "", left),
        (f"{say('In scope')}: {flow.kept}", say("{n} with code").format(n=flow.with_code), None),
    ]
    parts = []
    for number, (head, below, aside) in enumerate(boxes):
        top = 10 + number * 84
        parts.append(f'<rect x="10" y="{top}" width="470" height="54" rx="4" fill="#f4f6fa" stroke="{_PALETTE[0]}"/>')
        parts.append(_text(24, top + 22, head, weight="600"))
        parts.append(_text(24, top + 42, below[:78], size=11, color=_QUIET))
        if number:
            parts.append(f'<path d="M245 {top - 30} V{top - 4}" stroke="{_QUIET}" marker-end="url(#tip)"/>')
        if aside:
            parts.append(f'<path d="M480 {top + 27} H510" stroke="{_QUIET}" marker-end="url(#tip)"/>')
            parts.append(f'<rect x="514" y="{top + 6}" width="236" height="42" rx="4" fill="#fff" stroke="{_QUIET}"/>')
            parts.append(_text(524, top + 31, aside, size=12))
    return _svg(10 + len(boxes) * 84, say("Flow of records from the sources to the works in scope"), parts)


def taxonomy_figure(survey: Survey, say: Say) -> str:
    """Return the number of works in each category, a work counted in its first one."""
    counts = _first_categories(survey)
    shown = counts.most_common(_MOST_CATEGORIES)
    longest = max((n for _, n in shown), default=1)
    parts = []
    for number, (key, count) in enumerate(shown):
        top = 8 + number * 24
        name = say(in_parts(survey.taxonomy.get(key, key))[0])
        parts.append(_text(8, top + 15, shorten(name, 48), size=12))
        parts.append(
            f'<rect x="350" y="{top + 2}" width="{max(2, 350 * count // longest)}" height="17" '
            f'fill="{_PALETTE[number % len(_PALETTE)]}"/>'
        )
        parts.append(_text(356 + max(2, 350 * count // longest), top + 15, str(count), size=12))
    return _svg(16 + len(shown) * 24, say("Works by category"), parts)


def timeline_figure(survey: Survey, say: Say) -> str:
    """Return the works by year, stacked by category."""
    years = [w.year for w in survey.works if w.year]
    if not years:
        return ""
    first, last = min(years), max(years)
    first = max(first, last - 24)
    series = [key for key, _ in _first_categories(survey).most_common(_MOST_SERIES)]
    stacks = Counter((w.year, _series(w.categories, series)) for w in survey.works if w.year and w.year >= first)
    totals = Counter(y for y in years if y >= first)
    tallest = max(totals.values())
    step = (WIDTH - 60) / (last - first + 1)
    parts = []
    for year in range(first, last + 1):
        left, bottom = 40 + (year - first) * step, 210.0
        for number, key in enumerate([*series, "rest"]):
            height = 180 * stacks[year, key] / tallest
            bottom -= height
            if height:
                fill = _PALETTE[number % len(_PALETTE)]
                parts.append(_bar(left + 2, bottom, step - 4, height, fill))
        parts.append(_text(left + step / 2, 226, str(year)[-2:] if step < 34 else str(year), size=10, anchor="middle"))
        if totals[year]:
            parts.append(_text(left + step / 2, bottom - 4, str(totals[year]), size=10, anchor="middle"))
    legend = [*series, *(["rest"] if any(stacks[y, "rest"] for y in range(first, last + 1)) else [])]
    for number, key in enumerate(legend):
        name = say(in_parts(survey.taxonomy.get(key, key))[0])
        x, y = 40 + (number % 3) * 240, 250 + (number // 3) * 18
        parts.append(_bar(x, y - 9, 10, 10, _PALETTE[number % len(_PALETTE)]))
        parts.append(_text(x + 16, y, shorten(name, 36), size=11))
    return _svg(262 + 18 * (-(-len(legend) // 3) - 1), say("Works by year and category"), parts)


def _first_categories(survey: Survey) -> Counter[str]:
    return Counter(w.categories[0] for w in survey.works if w.categories)


def _series(categories: Sequence[str], series: Sequence[str]) -> str:
    return categories[0] if categories and categories[0] in series else "rest"


def _bar(x: float, y: float, width: float, height: float, fill: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(1.0, width):.1f}" height="{height:.1f}" fill="{fill}"/>'


def _text(x: float, y: float, text: str, *, size: int = 13, **style: str) -> str:
    anchor, weight = style.get("anchor", "start"), style.get("weight", "400")
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" font-weight="{weight}" '
        f'fill="{style.get("color", _INK)}">{escape(text)}</text>'
    )


def _svg(height: float, title: str, parts: Iterable[str]) -> str:
    tip = (
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0 L8 4 L0 8 z" fill="{_QUIET}"/></marker></defs>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" role="img" '
        f'font-family="system-ui, sans-serif"><title>{escape(title)}</title>{tip}{"".join(parts)}</svg>'
    )
