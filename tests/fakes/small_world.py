"""Two small reading lists, made by rule, for tests that need no big world."""

import json
from pathlib import Path

TOPIC = "model merging"
_METHODS = (
    ("Weighted-based Merging Methods", "Fisher-weighted coefficients for {}"),
    ("Subspace-based Merging Method", "Sparse low-rank subspace {}"),
    ("Routing-based Merging Methods", "Dynamic routing of experts in {}"),
    ("Post-calibration based Methods", "Representation surgery after {}"),
)
_DOMAINS = ("vision", "speech", "code", "math", "retrieval", "medicine", "robotics", "translation", "dialog", "graphs")
_OTHER = ("Client selection", "Secure aggregation", "Byzantine defense", "Personalization", "Gradient compression")


def merging_rows() -> list[dict]:
    rows = [_row("Model merging: a survey of methods", 0, ["Survey"], is_survey=True)]
    for number, domain in enumerate(_DOMAINS):
        for kind, (heading, form) in enumerate(_METHODS):
            subject = f"{'model merging' if (number + kind) % 4 else 'fused experts'} for {domain}"
            rows.append(_row(form.format(subject), 1 + number * 4 + kind, ["Methods", heading]))
    return rows


def distractor_rows() -> list[dict]:
    titles = [f"{what} in federated learning on {domain} devices" for what in _OTHER for domain in _DOMAINS[:6]]
    return [_row(title, 100 + number, ["Federated", "Papers"]) for number, title in enumerate(titles)]


def write_lists(directory: Path) -> tuple[Path, Path]:
    paths = directory / "model_merging.jsonl", directory / "federated_learning.jsonl"
    for path, rows in zip(paths, (merging_rows(), distractor_rows()), strict=True):
        path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return paths


def _row(title: str, number: int, sections: list[str], *, is_survey: bool = False) -> dict:
    arxiv = f"2{number % 5 + 1}0{number % 9 + 1}.{10000 + number}" if number % 4 else None
    return {
        "title": title,
        "arxiv_id": arxiv,
        "url": f"https://arxiv.org/abs/{arxiv}" if arxiv else None,
        "year": 2026 if is_survey else 2021 + number % 5,
        "venue": None,
        "code_url": None,
        "is_survey": is_survey,
        "all_sections": [sections],
    }
