"""A survey as one HTML file: figures inline, no script, nothing fetched, all text from sources escaped."""

from collections.abc import Sequence
from html import escape

from agents.survey.exports import is_plain_link, label_of, link_of
from agents.survey.figures import flow_figure, taxonomy_figure, timeline_figure
from agents.survey.language import Say, count_of_works, in_language, name_of_source, sentence
from agents.survey.prose import CITATION
from agents.survey.taxonomy import in_parts
from core.types.work import LedgerRow, Repository, RepositoryStatus, Survey, Work

_STYLE = """
body{font:15px/1.55 system-ui,"Noto Sans CJK SC",sans-serif;color:#222;max-width:1080px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem;line-height:1.25}h2{font-size:1.2rem;margin-top:2.4rem}
svg{max-width:100%;height:auto}figure{margin:.8rem 0}
nav ul{columns:2;padding-left:1.2rem;font-size:14px}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:13px}
th,td{text-align:left;vertical-align:top;padding:.35rem .5rem;border-bottom:1px solid #dde}
th{background:#f4f6fa;white-space:nowrap}td:first-child{min-width:16rem}td.number{white-space:nowrap}
.quiet{color:#667}.gone{color:#a33;text-decoration:line-through}details{margin:1rem 0}
a{color:#24527a}
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def to_html(survey: Survey, title: str, language: str = "en") -> str:
    """Return the report."""
    say = in_language(language)
    named = f"{say('Survey')}: {title}"
    sections = [
        f"<h1>{escape(named)}</h1>",
        _summary(survey, say),
        _contents(survey, say),
        _figure(say("Flow of numbers"), flow_figure(survey, say)),
        _figure(say("Taxonomy"), taxonomy_figure(survey, say)),
        _figure(say("Timeline"), timeline_figure(survey, say)),
        _coverage(survey, say),
        f"<h2>{say('What the works do')}</h2>" if survey.prose else "",
        *(f"<p>{_cited(paragraph, survey)}</p>" for paragraph in survey.prose),
        *(_category(key, survey, say) for key in survey.taxonomy),
        _borderline(survey.borderline, say),
        _ledger(survey.ledger, say),
    ]
    return (
        f'<!doctype html><html lang="{"zh-Hans" if language == "zh" else "en"}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">'
        f"<title>{escape(named)}</title><style>{_STYLE}</style></head><body>{''.join(sections)}</body></html>\n"
    )


def _summary(survey: Survey, say: Say) -> str:
    decided = (
        say("Decided by the language model {model}.").format(model=survey.model_used)
        if survey.model_used
        else say("Decided by deterministic policies; no language model was used.")
    )
    counted = say("{found} distinct works were found; {kept} are in scope, {borderline} borderline, {dropped} dropped.")
    numbers = counted.format(
        found=len(survey.works) + len(survey.borderline) + survey.dropped, kept=len(survey.works),
        borderline=len(survey.borderline), dropped=survey.dropped,
    )  # fmt: skip
    stopped = say("Stopped because {reason}.").format(reason=say(survey.stop_reason))
    return f"<p>{escape(numbers)} {escape(stopped)} {escape(decided)}</p>"


def _contents(survey: Survey, say: Say) -> str:
    items = []
    for key, described in survey.taxonomy.items():
        count = sum(bool(w.categories) and w.categories[0] == key for w in survey.works)
        if count:
            name = escape(say(in_parts(described)[0]))
            items.append(f'<li><a href="#{escape(key)}">{name}</a> <span class="quiet">{count}</span></li>')
    return f"<nav><ul>{''.join(items)}</ul></nav>" if len(items) > 1 else ""


def _figure(title: str, svg: str) -> str:
    return f"<h2>{escape(title)}</h2><figure>{svg}</figure>" if svg else ""


def _coverage(survey: Survey, say: Say) -> str:
    if survey.coverage is None:
        return ""
    return (
        f"<h2>{say('How complete this is')}</h2><p>{escape(say(survey.coverage.note))}</p>"
        f'<p class="quiet">{escape(say(survey.coverage.method))}</p>'
    )


def _cited(paragraph: str, survey: Survey) -> str:
    works = {w.key: w for w in survey.works}
    parts = CITATION.split(paragraph)
    # Odd parts are keys: the pattern has one group.
    return "".join(
        (f"({_link(works[part], label_of(works[part]))})" if part in works else "") if number % 2 else escape(part)
        for number, part in enumerate(parts)
    )


def _link(work: Work, text: str) -> str:
    url = link_of(work)
    return f'<a href="{escape(url)}" rel="noopener noreferrer">{escape(text)}</a>' if url else escape(text)


def _category(key: str, survey: Survey, say: Say) -> str:
    works = [w for w in survey.works if w.categories and w.categories[0] == key]
    if not works:
        return ""
    name, what, typical = in_parts(survey.taxonomy[key])
    rows = [_row(w, say) for w in sorted(works, key=lambda w: (-(w.year or 0), w.title))]
    columns = ("work", "year", "for", "against", "code", "why here")
    # A column without a single entry says nothing.
    shown = [c for c in range(len(columns)) if any(row[c] for row in rows)]
    head = "".join(f"<th>{escape(say(columns[c]))}</th>" for c in shown)
    body = "".join("<tr>" + "".join(f"<td>{row[c]}</td>" for c in shown) + "</tr>" for row in rows)
    return (
        f'<h2 id="{escape(key)}">{escape(say(name))} ({count_of_works(len(works), say)})</h2>'
        f'<p class="quiet">{escape(sentence(say(what)))} {escape(say(typical))}</p>'
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _row(work: Work, say: Say) -> tuple[str, ...]:
    quiet = f'<span class="quiet">{escape(say(work.evidence))}</span>' if work.evidence else ""
    return (
        _link(work, work.title),
        str(work.year or ""),
        escape("; ".join(map(say, work.pros))),
        escape("; ".join(map(say, work.cons))),
        "<br>".join(_code(r, say) for r in work.repositories),
        quiet,
    )


def _code(repository: Repository, say: Say) -> str:
    facts = [say(repository.status.value), repository.licence, say("archived") if repository.archived else None]
    facts += [say("{n} stars").format(n=repository.stars) if repository.stars is not None else None]
    facts += [say("last commit {date}").format(date=repository.last_commit) if repository.last_commit else None]
    name = repository.url.removeprefix("https://github.com/").removeprefix("https://")
    said = escape(", ".join(f for f in facts if f))
    shown = escape(name)
    if is_plain_link(repository.url) and repository.status is not RepositoryStatus.GONE:
        shown = f'<a href="{escape(repository.url)}" rel="noopener noreferrer">{shown}</a>'
    return f'<span class="{escape(repository.status.value)}">{shown}</span> <span class="quiet">{said}</span>'


def _borderline(works: Sequence[Work], say: Say) -> str:
    if not works:
        return ""
    items = "".join(f"<li>{_link(w, w.title)}: {escape(say(w.evidence))}</li>" for w in works)
    return f"<h2>{say('Borderline')} ({len(works)})</h2><ul>{items}</ul>"


def _ledger(rows: Sequence[LedgerRow], say: Say) -> str:
    columns = ("source", "query", "page", "found", "new", "kept", "dropped", "note")
    head = "".join(f"<th>{escape(say(c))}</th>" for c in columns)
    lines = "".join(
        "<tr>"
        + "".join(
            f"<td>{escape(str(v))}</td>"
            for v in (
                name_of_source(r.source, say), r.query, r.page, r.found, r.new, r.kept, r.dropped,
                r.reason or (say("cache") if r.cached else ""),
            )
        )
        + "</tr>"
        for r in rows
    )  # fmt: skip
    return (
        f"<h2>{say('What was asked')}</h2><details><summary>{say('{n} rows').format(n=len(rows))}</summary>"
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div></details>'
    )
