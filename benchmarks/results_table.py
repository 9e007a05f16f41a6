"""The table of `results_merge`: ranked by the mean of three skills, with intervals, paired differences, tie groups."""

import gzip
import json
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Any

from core.merging import Fidelity
from core.merging_table import DECLARATIONS
from core.statistics.bootstrap import Difference, paired_difference, score_interval
from core.statistics.strata import Stratum, weighted_mean
from core.statistics.ties import tie_groups

RESAMPLES = 1999
NAMES = {"base": "base alone", "code": "code expert", "math": "math expert", "instruction": "instruction expert"}

Verdicts = dict[str, dict[str, dict[str, float]]]


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """Return each method's verdicts (skill, item, seed), its seeds joined, and what it took."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("*.json.gz")):
        one = json.loads(gzip.decompress(path.read_bytes()))
        into = found.setdefault(one["method"], {"verdicts": defaultdict(dict), "merge_s": [], "runs": []})
        for skill, items in one["verdicts"].items():
            for item, by_seed in items.items():
                into["verdicts"][skill].setdefault(item, {}).update(by_seed)
        into["merge_s"].append(one["merge_s"])
        into["runs"].append(one)
    return found


def strata(verdicts: Verdicts) -> tuple[Stratum, ...]:
    """Return per-item scores by skill: an item's mean over its seeds, so that seeds are no further items."""
    return tuple(
        Stratum({item: sum(v.values()) / len(v) for item, v in items.items()}) for _, items in sorted(verdicts.items())
    )


def spread(verdicts: Verdicts) -> float:
    """Return the range of the mean score over the seeds."""
    seeds = sorted({seed for items in verdicts.values() for v in items.values() for seed in v})
    means = [
        sum(sum(v[seed] for v in items.values()) / len(items) for items in verdicts.values()) / len(verdicts)
        for seed in seeds
    ]
    return max(means) - min(means)


def write_table(folder: Path, target: Path) -> None:
    """Write the Markdown table of what is in the folder; nothing where there is nothing."""
    found = read(folder)
    full = {seed for one in found.values() for seed in seeds(one)}
    complete = {name: one for name, one in found.items() if seeds(one) == full}
    if not complete:
        return
    scores = {name: strata(one["verdicts"]) for name, one in complete.items()}
    order = sorted(scores, key=lambda name: (-weighted_mean(scores[name]), name))

    @cache
    def compare(first: int, second: int) -> Difference:
        return paired_difference(scores[order[first]], scores[order[second]], resamples=RESAMPLES)

    groups = tie_groups(len(order), lambda i, j: compare(i, j).p_value)
    lines = [
        "| tie group | method | mean | 95 % | behind the first | code | math | instruction | over seeds | merge s |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for place, name in enumerate(order):
        behind = compare(place, 0) if place else None
        lines.append(_row(name, groups[place], complete[name], (scores[name], behind)))
    missing = sorted(set(found) - set(complete))
    text = _head(complete, full) + "\n".join(lines) + "\n\n" + _notes(order)
    if missing:
        text += f"\nNot every seed was finished, so not ranked: {', '.join(missing)}.\n"
    target.write_text(text)


def seeds(one: dict[str, Any]) -> frozenset[str]:
    """Return the seeds that every item of a method was scored with."""
    sets = [frozenset(v) for items in one["verdicts"].values() for v in items.values()]
    return frozenset.intersection(*sets)


def _row(name: str, group: int, one: dict[str, Any], measured: tuple[tuple[Stratum, ...], Difference | None]) -> str:
    scores, behind = measured
    interval = score_interval(scores, resamples=RESAMPLES)
    skills = (100 * sum(s.scores.values()) / len(s.scores) for s in (scores[0], scores[2], scores[1]))
    title = NAMES.get(name) or DECLARATIONS[name].title
    cells = [
        str(group),
        title + ("" if name in NAMES else f" (`{name}`{_sign(name)})"),
        f"{100 * weighted_mean(scores):.1f}",
        f"{100 * interval.low:.1f}–{100 * interval.high:.1f}",
        "–" if behind is None else _gap(behind),
        *(f"{skill:.1f}" for skill in skills),
        f"{100 * spread(one['verdicts']):.1f}",
        f"{sum(one['merge_s']) / len(one['merge_s']):.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def _gap(behind: Difference) -> str:
    low, high = 100 * behind.interval.low, 100 * behind.interval.high
    return f"{100 * behind.value:+.1f} [{low:+.1f}, {high:+.1f}]"


def _sign(name: str) -> str:
    return ", adapted" if DECLARATIONS[name].fidelity is Fidelity.ADAPTED else ""


_HEAD = """# All applicable methods on the three small experts

Screen and confirm items ({total}), seeds {seeds}: three draws of every completion (temperature 0.2, top-p 0.95), and
for methods that draw masks three merges. In percent; ranked by the mean of the three skills. {engine}. Made by
`make results-merge`; verdicts by item lie in `merge-small/`.

Intervals: bootstrap over items within skills (an item's score is its mean over the seeds). `behind the first`: paired
difference to the best with its interval. Methods of one tie group can't be told from the group's first (paired
sign-flip tests, Holm, 5 %). `over seeds`: range of the mean over the seeds. Calibrated methods learnt from search items
only, which are not scored here; searches by score were bounded (`BOUNDED` in `results_merge.py`).

"""


def _head(complete: dict[str, dict[str, Any]], full: set[str]) -> str:
    first = next(iter(complete.values()))
    counts = {skill: len(items) for skill, items in sorted(first["verdicts"].items())}
    runs = [run for one in complete.values() for run in one["runs"]]
    made = sorted({f"{r['engine']['version']} in {r['engine']['dtype']} on {r['device']}" for r in runs})
    total = ", ".join(f"{n} {skill}" for skill, n in counts.items())
    return _HEAD.format(total=total, seeds=", ".join(sorted(full)), engine="; ".join(made))


def _notes(order: list[str]) -> str:
    lines = ["Adapted methods, and what differs:\n"]
    for name in sorted(n for n in order if n not in NAMES and DECLARATIONS[n].difference):
        lines.append(f"- {DECLARATIONS[name].title}: {DECLARATIONS[name].difference}")
    left = [d for d in DECLARATIONS.values() if d.fidelity is Fidelity.NOT_APPLICABLE]
    lines += ["\nNot applicable:\n", *(f"- {d.title}: {d.difference}" for d in left)]
    return "\n".join(lines) + "\n"
