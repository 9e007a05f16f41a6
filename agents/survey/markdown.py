"""A survey as a Markdown report: numbers first, then a table per category, what was asked and how complete it is.

Titles and all other text from sources are escaped, so that they can't make markup, links or HTML. Every question is in
the survey's ledger.csv; here they are summed up by source.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from agents.survey.exports import is_plain_link, label_of, link_of
from agents.survey.figures import flow_of
from agents.survey.language import Say, count_of_works, in_language, name_of_source, sentence
from agents.survey.prose import CITATION
from agents.survey.taxonomy import in_parts
from core.types.work import LedgerRow, Repository, Survey, Work

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#!~$])")
_MOST_FAILURES = 20


def escape(text: str) -> str:
    """Return text that Markdown shows as it is."""
    flat = " ".join(text.split()).replace("&", "&amp;")
    return _SPECIAL.sub(lambda m: {"<": "&lt;", ">": "&gt;"}.get(m.group(1), "\\" + m.group(1)), flat)


def to_markdown(survey: Survey, title: str, language: str = "en") -> str:
    """Return the report."""
    say = in_language(language)
    parts = [f"# {say('Survey')}: {escape(title)}", _summary(survey, say), _flow(survey, say), _taxonomy(survey, say)]
    parts += [_timeline(survey, say), _coverage(survey, say)]
    if survey.prose:
        parts.append(f"## {say('What the works do')}")
        parts += [_cited(paragraph, survey) for paragraph in survey.prose]
    for key, described in survey.taxonomy.items():
        works = [w for w in survey.works if w.categories and w.categories[0] == key]
        if works:
            parts.append(_category(described, works, say))
    if survey.borderline:
        parts.append(_borderline(survey.borderline, say))
    parts.append(_ledger(survey.ledger, say))
    return "\n\n".join(p for p in parts if p) + "\n"


def _summary(survey: Survey, say: Say) -> str:
    decided = (
        say("Decided by the language model {model}.").format(model=escape(survey.model_used))
        if survey.model_used
        else say("Decided by deterministic policies; no language model was used.")
    )
    counted = say("{found} distinct works were found; {kept} are in scope, {borderline} borderline, {dropped} dropped.")
    numbers = counted.format(
        found=len(survey.works) + len(survey.borderline) + survey.dropped,
        kept=f"**{len(survey.works)}**", borderline=len(survey.borderline), dropped=survey.dropped,
    )  # fmt: skip
    stopped = say("Stopped because {reason}.").format(reason=escape(say(survey.stop_reason)))
    return f"{numbers} {stopped} {decided}"


def _flow(survey: Survey, say: Say) -> str:
    flow = flow_of(survey)
    sources = ", ".join(f"{escape(name_of_source(name, say))} {count}" for name, count in flow.by_source)
    rows = (
        ("Records identified", flow.records, sources),
        ("Merged as duplicates", max(0, flow.records - flow.distinct), ""),
        ("Distinct works screened", flow.distinct, ""),
        ("Dropped", flow.dropped, ""),
        ("Borderline", flow.borderline, ""),
        ("In scope", flow.kept, say("{n} with code").format(n=flow.with_code)),
    )
    lines = [f"| {say(name)} | {number} | {note} |" for name, number, note in rows]
    return "\n".join([f"## {say('Flow of numbers')}", "", "| | | |", "|---|---:|---|", *lines])


def _taxonomy(survey: Survey, say: Say) -> str:
    first = Counter(w.categories[0] for w in survey.works if w.categories)
    every = Counter(c for w in survey.works for c in w.categories)
    code = Counter(w.categories[0] for w in survey.works if w.categories and w.repositories)
    columns = (say("category"), say("works"), say("also here"), say("with code"), say("what belongs here"))
    lines = [f"## {say('Taxonomy')}", "", f"| {' | '.join(columns)} |", "|---|---:|---:|---:|---|"]
    for key, described in survey.taxonomy.items():
        if first[key] or every[key]:
            name, what, _ = in_parts(described)
            lines.append(
                f"| {escape(say(name))} | {first[key]} | {every[key] - first[key] or ''} | {code[key] or ''} | "
                f"{escape(sentence(say(what)))} |"
            )
    return "\n".join(lines) if len(lines) > 4 else ""


def _timeline(survey: Survey, say: Say) -> str:
    years = Counter(w.year for w in survey.works if w.year)
    if not years:
        return ""
    shown = sorted(years)[-12:]
    head = f"## {say('Timeline')}\n\n| {say('year')} | {' | '.join(map(str, shown))} |\n|---{'|---:' * len(shown)}|\n"
    return head + f"| {say('works')} | {' | '.join(str(years[y]) for y in shown)} |"


def _coverage(survey: Survey, say: Say) -> str:
    if survey.coverage is None:
        return ""
    coverage = survey.coverage
    return f"## {say('How complete this is')}\n\n{escape(say(coverage.note))}\n\n*{escape(say(coverage.method))}*"


def _cited(paragraph: str, survey: Survey) -> str:
    """Return a paragraph with its citations as links; odd parts of the split are keys."""
    works = {w.key: w for w in survey.works}
    parts = CITATION.split(paragraph)
    return "".join(
        (f"({_named(works[part], label_of(works[part]))})" if part in works else "") if number % 2 else _edged(part)
        for number, part in enumerate(parts)
    )


def _edged(text: str) -> str:
    """Return escaped text that keeps the blanks at its ends, where a citation follows or went before."""
    before, after = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :]
    return f"{before}{escape(text)}{after}" if text.strip() else text


def _named(work: Work, text: str) -> str:
    link = link_of(work)
    return f"[{escape(text)}](<{link}>)" if link else escape(text)


def _category(described: str, works: Sequence[Work], say: Say) -> str:
    name, what, typical = in_parts(described)
    rows = [(_named(w, w.title), *_facts(w, say)) for w in sorted(works, key=lambda w: (-(w.year or 0), w.title))]
    columns = [say(c) for c in ("work", "year", "for", "against", "code", "method", "why here")]
    # A column without a single entry says nothing.
    shown = [c for c in range(len(columns)) if any(row[c] for row in rows)]
    lines = [f"| {' | '.join(columns[c] for c in shown)} |", "|---" * len(shown) + "|"]
    lines += [f"| {' | '.join(row[c] for c in shown)} |" for row in rows]
    head = (
        f"## {escape(say(name))} ({count_of_works(len(works), say)})\n\n"
        f"{escape(sentence(say(what)))} {escape(say(typical))}".rstrip()
        + "\n\n"
    )
    return head + "\n".join(lines)


def _facts(work: Work, say: Say) -> tuple[str, ...]:
    return (
        str(work.year or ""),
        _list(work.pros, say),
        _list(work.cons, say),
        "; ".join(_code(r, say) for r in work.repositories[:2]),
        escape(work.method or ""),
        escape(say(work.evidence)),
    )


def _list(items: Iterable[str], say: Say) -> str:
    return "; ".join(escape(say(i)) for i in items)


def _code(repository: Repository, say: Say) -> str:
    facts = [say(repository.status.value), repository.licence, say("archived") if repository.archived else None]
    facts += [say("last commit {date}").format(date=repository.last_commit) if repository.last_commit else None]
    name = repository.url.removeprefix("https://github.com/").removeprefix("https://")
    linked = f"[{escape(name)}](<{repository.url}>)" if is_plain_link(repository.url) else escape(name)
    return f"{linked} ({', '.join(escape(f) for f in facts if f)})"


def _borderline(works: Sequence[Work], say: Say) -> str:
    rows = [f"- {_named(w, w.title)} ({w.year or say('no year')}): {escape(say(w.evidence))}" for w in works]
    return f"## {say('Borderline')}\n\n" + "\n".join(rows)


def _ledger(rows: Sequence[LedgerRow], say: Say) -> str:
    sources = dict.fromkeys(r.source for r in rows)
    columns = [say(c) for c in ("source", "questions", "failed", "found", "new", "kept", "dropped")]
    lines = [f"## {say('What was asked')}", "", f"| {' | '.join(columns)} |", "|---" + "|---:" * 6 + "|"]
    for source in sources:
        own = [r for r in rows if r.source == source]
        failed = sum(r.reason.startswith("failed") for r in own)
        counted = (sum(r.found for r in own), sum(r.new for r in own), sum(r.kept for r in own))
        numbers = " | ".join(map(str, (len(own), failed, *counted, sum(r.dropped for r in own))))
        lines.append(f"| {escape(name_of_source(source, say))} | {numbers} |")
    failures = [r for r in rows if r.reason.startswith("failed")]
    if failures:
        lines += ["", say("Questions that were not answered:"), ""]
        lines += [f"- {escape(r.source)}, {escape(r.query)}: {escape(r.reason)}" for r in failures[:_MOST_FAILURES]]
    lines += ["", say("Each question, with what became of its works, is a row of ledger.csv.")]
    return "\n".join(lines)
