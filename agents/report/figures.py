"""Figures as inline SVG: drawn by matplotlib without a display, the same bytes for the same data.

Text stays text, set by the reader's own fonts, so Chinese needs no font here and labels can be searched and copied.
Colors are told apart by people who see few of them, and every series also has its own shape or position.
"""

import io
import re
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

INK, QUIET, FAINT = "#1d2730", "#6b7780", "#d9dfe3"
ACCENT, WARM, COOL = "#0f6f78", "#c2571a", "#5a6fb0"
KINDS = {"baseline": (WARM, "s"), "method": (COOL, "o"), "reproduction": (COOL, "^"), "trial": (ACCENT, "D")}
PALETTE = (ACCENT, WARM, COOL, "#9a8c3c", QUIET, "#7d4f7a", "#b9c3c9")
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 9.5,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": QUIET,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "text.color": INK,
    "legend.frameon": False,
    # Names come from papers and models: a dollar sign is no formula.
    "text.parse_math": False,
}
_SETTINGS = threading.RLock()


class Drawing:
    """One figure under way: `axes` to draw on, then `svg`."""

    def __init__(self, name: str, width: float, height: float) -> None:
        self.name = name
        self._canvas = Canvas(figsize=(width, height), layout="constrained")
        self.axes: Axes = self._canvas.add_subplot()
        self.svg = ""

    def finish(self) -> None:
        """Write the SVG, without anything that depends on the day or the machine."""
        buffer = io.StringIO()
        with warnings.catch_warnings():
            # Glyphs that our measuring font lacks are set by the reader's browser.
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            FigureCanvasSVG(self._canvas).print_svg(buffer, metadata={"Date": None, "Creator": None})
        self.svg = _cleaned(buffer.getvalue(), self.name)


@contextmanager
def drawing(name: str, width: float = 7.2, height: float = 3.2) -> Iterator[Drawing]:
    """Give a figure to draw on; after the block it holds its SVG."""
    # matplotlib's settings are the process's: two reports written at once must not mix theirs.
    with _SETTINGS, mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Drawing(name, width, height)
        yield figure
        figure.finish()


def _cleaned(svg: str, name: str) -> str:
    """Return only the svg element, with ids that stay unique among several figures of one page."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    used = set(re.findall(r"url\(#([^)]+)\)", body)) | set(re.findall(r'href="#([^"]+)"', body))
    body = re.sub(r' id="([^"]+)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", body)
    body = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", body)
    body = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', body)
    body = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", body, count=1)
    body = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", body, count=1)
    return re.sub(r"<!--.*?-->", "", body, flags=re.DOTALL).strip()


def forest(
    name: str,
    labels: Sequence[str],
    scores: Sequence[tuple[float, float, float]],
    kinds: Sequence[str],
    axis: str,
) -> str:
    """Draw scores with intervals, best on top. `scores`: (low, value, high), in percent."""
    with drawing(name, height=0.75 + 0.30 * len(labels)) as figure:
        axes = figure.axes
        best = scores[0][1]
        axes.axvline(best, color=FAINT, lw=1, zorder=0)
        for row, ((low, value, high), kind) in enumerate(zip(scores, kinds, strict=True)):
            color, marker = KINDS.get(kind, KINDS["method"])
            axes.plot([low, high], [row, row], color=color, lw=1.6, alpha=0.55, solid_capstyle="round")
            axes.plot([value], [row], marker=marker, color=color, ms=5.5)
            axes.annotate(
                f"{value:.1f}", (high, row), xytext=(5, 0), textcoords="offset points", va="center", fontsize=8.5
            )
        axes.set_yticks(range(len(labels)), labels, color=INK)
        axes.set_ylim(len(labels) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(axis)
        axes.margins(x=0.08)
    return figure.svg


def pareto(dots: Sequence[tuple[float, float, str, str]], labels: tuple[str, str], legend: dict[str, str]) -> str:
    """Draw quality against cost. `dots`: (seconds, percent, kind, name); names are written at the front only."""
    front = pareto_front([(x, y) for x, y, _, _ in dots])
    with drawing("pareto", height=3.6) as figure:
        axes = figure.axes
        line = sorted((dots[i][0], dots[i][1]) for i in front)
        axes.plot(*zip(*line, strict=True), color=FAINT, lw=5, solid_capstyle="round", zorder=0)
        for kind in dict.fromkeys(d[2] for d in dots):
            color, marker = KINDS.get(kind, KINDS["method"])
            own = [d for d in dots if d[2] == kind]
            axes.plot(
                [d[0] for d in own], [d[1] for d in own], ls="", marker=marker, color=color, ms=6.5, mec="white",
                label=legend.get(kind, kind),
            )  # fmt: skip
        for place, index in enumerate(front):
            x, y, _, name = dots[index]
            axes.annotate(
                name, (x, y), xytext=(8, 5 if place % 2 else -11), textcoords="offset points", fontsize=8.5, color=INK
            )
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])
        axes.margins(x=0.16, y=0.14)
        axes.grid(axis="y", color=FAINT, lw=0.6)
        axes.set_axisbelow(True)
        axes.legend(fontsize=8.5, ncols=4, handletextpad=0.2, loc="lower right", bbox_to_anchor=(1.0, 1.0))
    return figure.svg


def pareto_front(dots: Sequence[tuple[float, float]]) -> list[int]:
    """Return the indices of points that no other beats in both cost (less) and quality (more), cheapest first."""
    front, best = [], float("-inf")
    for index in sorted(range(len(dots)), key=lambda i: (dots[i][0], -dots[i][1])):
        if dots[index][1] > best:
            front.append(index)
            best = dots[index][1]
    return front


def history(
    trials: Sequence[tuple[int, float, str]], best: Sequence[tuple[int, float]], lines: dict[str, float],
    words: dict[str, str],
) -> str:  # fmt: skip
    """Draw a search: each trial's value by state, the best so far, and what it has to beat. Values in percent."""
    looks = {"complete": (ACCENT, "D", ACCENT), "dropped": (QUIET, "o", "white"), "repeated": (QUIET, "x", QUIET)}
    with drawing("history", height=3.4) as figure:
        axes = figure.axes
        for name, value in lines.items():
            axes.axhline(value, color=WARM, lw=1, ls=(0, (4, 3)), zorder=0)
            axes.annotate(
                f"{name} {value:.1f}", (0.0, value), xycoords=("axes fraction", "data"), xytext=(3, 3),
                textcoords="offset points", fontsize=8.5, color=WARM,
            )  # fmt: skip
        if best:
            axes.step([b[0] for b in best], [b[1] for b in best], where="post", color=ACCENT, lw=2, label=words["best"])
        for state, (color, marker, fill) in looks.items():
            own = [t for t in trials if t[2] == state]
            if own:
                axes.plot(
                    [t[0] for t in own], [t[1] for t in own], ls="", marker=marker, color=color, mfc=fill, ms=5,
                    label=words[state],
                )  # fmt: skip
        axes.set_xlabel(words["trial"])
        axes.set_ylabel(words["score"])
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.margins(x=0.03, y=0.12)
        axes.legend(fontsize=8.5, ncols=4, handletextpad=0.3, loc="lower right", bbox_to_anchor=(1.0, 1.0))
    return figure.svg


def timeline(years: Sequence[int], series: Mapping[str, Sequence[int]], axis: str) -> str:
    """Draw counts by year, stacked. `series`: name -> a count a year."""
    with drawing("timeline", height=2.9) as figure:
        axes = figure.axes
        below = [0] * len(years)
        for place, (name, counts) in enumerate(series.items()):
            axes.bar(years, counts, 0.72, bottom=below, color=PALETTE[place % len(PALETTE)], label=name)
            below = [b + c for b, c in zip(below, counts, strict=True)]
        axes.set_ylabel(axis)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
        axes.grid(axis="y", color=FAINT, lw=0.6)
        axes.set_axisbelow(True)
        axes.legend(fontsize=8.5, ncols=4, handletextpad=0.4, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure.svg


def bars(name: str, labels: Sequence[str], values: Sequence[float], axis: str, digits: int = 0) -> str:
    """Draw one bar a label, the first on top."""
    with drawing(name, height=0.7 + 0.27 * len(labels)) as figure:
        axes = figure.axes
        axes.barh(range(len(labels)), values, color=ACCENT, height=0.55)
        for row, value in enumerate(values):
            axes.annotate(
                f"{value:.{digits}f}",
                (value, row),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8.5,
            )
        axes.set_yticks(range(len(labels)), labels, color=INK)
        axes.set_ylim(len(labels) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(axis)
        axes.margins(x=0.1)
    return figure.svg


def grouped_bars(skills: Sequence[str], series: Mapping[str, Sequence[tuple[float, float, float]]], axis: str) -> str:
    """Draw candidates' scores by skill with intervals. `series`: name -> (low, value, high) a skill, in percent."""
    width = 0.8 / max(1, len(series))
    with drawing("skills", height=3.3) as figure:
        axes = figure.axes
        for place, (name, values) in enumerate(series.items()):
            xs = [i - 0.4 + width * (place + 0.5) for i in range(len(skills))]
            heights = [v for _, v, _ in values]
            axes.bar(xs, heights, width * 0.88, color=PALETTE[place % len(PALETTE)], label=name)
            below = [v - low for low, v, _ in values]
            above = [high - v for _, v, high in values]
            axes.errorbar(xs, heights, yerr=[below, above], fmt="none", ecolor=INK, elinewidth=0.9, capsize=2)
        axes.set_xticks(range(len(skills)), skills, color=INK)
        axes.tick_params(axis="x", length=0)
        axes.set_ylabel(axis)
        axes.set_ylim(bottom=0)
        axes.grid(axis="y", color=FAINT, lw=0.6)
        axes.set_axisbelow(True)
        axes.legend(fontsize=8.5, ncols=min(3, len(series)), loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure.svg
