"""A survey as one HTML file: figures inline, no script, nothing fetched, all text from sources escaped."""

from collections.abc import Sequence
from html import escape

from agents.survey.exports import label_of, link_of
from agents.survey.figures import flow_figure, taxonomy_figure, timeline_figure
from agents.survey.prose import CITATION
from core.types.work import Repository, Survey, Work

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#222;max-width:1060px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem}h2{font-size:1.2rem;margin-top:2.2rem}svg{max-width:100%;height:auto}
table{border-collapse:collapse;width:100%;font-size:13px}th,td{text-align:left;vertical-align:top;padding:.3rem .5rem;
border-bottom:1px solid #dde}th{background:#f4f6fa}.quiet{color:#667}.gone{color:#a33}details{margin:1rem 0}
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def to_html(survey: Survey, title: str) -> str:
    """Return the report."""
    sections = [
        f"<h1>Survey: {escape(title)}</h1>",
        _summary(survey),
        _figure("Flow of numbers", flow_figure(survey)),
        _figure("Taxonomy", taxonomy_figure(survey)),
        _figure("Timeline", timeline_figure(survey)),
        _coverage(survey),
        *(f"<p>{_cited(paragraph, survey)}</p>" for paragraph in survey.prose),
        *(_category(key, survey) for key in survey.taxonomy),
        _borderline(survey.borderline),
        _ledger(survey),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">'
        f"<title>Survey: {escape(title)}</title><style>{_STYLE}</style></head><body>{''.join(sections)}</body></html>\n"
    )


def _summary(survey: Survey) -> str:
    decided = (
        f"the language model {survey.model_used}" if survey.model_used else "deterministic policies, no language model"
    )
    return (
        f"<p>{len(survey.works)} works in scope, {len(survey.borderline)} borderline, {survey.dropped} dropped. "
        f"Stopped because {escape(survey.stop_reason)}. Decided by {escape(decided)}.</p>"
    )


def _figure(title: str, svg: str) -> str:
    return f"<h2>{escape(title)}</h2><figure>{svg}</figure>" if svg else ""


def _coverage(survey: Survey) -> str:
    if survey.coverage is None:
        return ""
    return (
        f"<h2>How complete this is</h2><p>{escape(survey.coverage.note)}</p>"
        f'<p class="quiet">{escape(survey.coverage.method)}</p>'
    )


def _cited(paragraph: str, survey: Survey) -> str:
    works = {w.key: w for w in survey.works}
    parts = CITATION.split(paragraph)
    # Odd parts are keys: the pattern has one group.
    return "".join(
        (_link(works[part], label_of(works[part])) if part in works else "") if number % 2 else escape(part)
        for number, part in enumerate(parts)
    )


def _link(work: Work, text: str) -> str:
    url = link_of(work)
    return f'<a href="{escape(url)}" rel="noopener noreferrer">{escape(text)}</a>' if url else escape(text)


def _category(key: str, survey: Survey) -> str:
    works = [w for w in survey.works if w.categories and w.categories[0] == key]
    if not works:
        return ""
    name, _, what = survey.taxonomy[key].partition(": ")
    head = "".join(f"<th>{h}</th>" for h in ("work", "year", "for", "against", "code", "why here"))
    rows = "".join(_row(w) for w in sorted(works, key=lambda w: (-(w.year or 0), w.title)))
    return (
        f'<h2 id="{escape(key)}">{escape(name)} ({len(works)})</h2><p class="quiet">{escape(what)}</p>'
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    )


def _row(work: Work) -> str:
    cells = (
        _link(work, work.title),
        str(work.year or ""),
        escape("; ".join(work.pros)),
        escape("; ".join(work.cons)),
        "<br>".join(_code(r) for r in work.repositories),
        f'<span class="quiet">{escape(work.evidence)}</span>',
    )
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _code(repository: Repository) -> str:
    facts = [repository.status.value, repository.licence, "archived" if repository.archived else None]
    facts += [f"{repository.stars} stars" if repository.stars is not None else None, repository.last_commit]
    name = repository.url.removeprefix("https://")
    said = escape(", ".join(f for f in facts if f))
    return f'<span class="{escape(repository.status.value)}">{escape(name)}</span> <span class="quiet">{said}</span>'


def _borderline(works: Sequence[Work]) -> str:
    if not works:
        return ""
    items = "".join(f"<li>{_link(w, w.title)}: {escape(w.evidence)}</li>" for w in works)
    return f"<h2>Borderline ({len(works)})</h2><ul>{items}</ul>"


def _ledger(survey: Survey) -> str:
    head = "".join(f"<th>{h}</th>" for h in ("source", "query", "page", "found", "new", "kept", "dropped", "note"))
    rows = "".join(
        "<tr>"
        + "".join(
            f"<td>{escape(str(v))}</td>"
            for v in (r.source, r.query, r.page, r.found, r.new, r.kept, r.dropped, r.reason or ("cache" * r.cached))
        )
        + "</tr>"
        for r in survey.ledger
    )
    return (
        f"<h2>What was asked</h2><details><summary>{len(survey.ledger)} rows</summary>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></details>"
    )
