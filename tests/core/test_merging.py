"""The method table: no row is lost, every row says what it is, and the worker runs what the table promises."""

import re
from pathlib import Path

import pytest

from core.errors import NotFoundError
from core.merging import Engine, Fidelity, Kind, MethodDeclaration
from core.merging_table import DECLARATIONS, TABLE_ROWS, declaration, recipe_config
from worker.merge.registry import OWN, runnable_names

DESIGN = Path(__file__).resolve().parents[3] / "shared" / "design" / "merging.md"
MERGEKITS = (
    "linear", "slerp", "nuslerp", "multislerp", "karcher", "task_arithmetic", "ties", "dare_linear", "dare_ties",
    "della", "della_linear", "breadcrumbs", "breadcrumbs_ties", "sce", "ram", "model_stock", "nearswap",
    "arcee_fusion",
)  # fmt: skip
ROWS = (
    "mergekit's own", "Task arithmetic", "TIES", "DARE", "RegMean, RegMean++", "CALM", "Evolutionary merge",
    "Sens-Merging", "Hi-Merging", "Adaptive LoRA merge", "LoRI", "AdaRank", "STAR", "MetaGPT", "TVQ / RTVQ",
    "DF-Merge", "MASS", "CAMEx", "DaWin", "PHATGOOSE", "Model Tinting / SyMerge", "FT-Classifier / MOMA",
    "Representation Surgery",
)  # fmt: skip


def test_no_row_is_lost() -> None:
    assert set(TABLE_ROWS) == set(ROWS)
    assert set(MERGEKITS) <= set(DECLARATIONS)


@pytest.mark.skipif(not DESIGN.is_file(), reason="the design document isn't beside this checkout")
def test_rows_are_those_of_the_design() -> None:
    table = DESIGN.read_text().split("## Methods of the tutorial")[1].split("\nCost classes")[0]
    designed = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")][1:]
    for row in designed:
        plain = re.sub(r" \(.*", "", row)
        assert any(ours.startswith(plain) or plain.startswith(ours) for ours in TABLE_ROWS), row


def test_the_worker_has_what_the_table_promises() -> None:
    promised = {n for n, d in DECLARATIONS.items() if d.engine is Engine.OWN and d.runnable}
    assert promised == set(OWN)
    for name, entry in DECLARATIONS.items():
        if name in OWN:
            parameters = {p.name for p in OWN[name].parameters}
            assert set(entry.defaults) <= parameters, name
            assert entry.neutral is None or entry.neutral[0] in parameters, name
            assert (OWN[name].attach is not None) == (entry.kind is Kind.MODULES), name
            assert (OWN[name].route is not None) == (entry.kind is Kind.ROUTED), name
    assert set(runnable_names()) == {n for n, d in DECLARATIONS.items() if d.runnable}


def test_a_method_is_exact_or_says_what_differs() -> None:
    with pytest.raises(ValueError, match="says what differs"):
        MethodDeclaration("x", "X", "X", fidelity=Fidelity.ADAPTED)
    with pytest.raises(NotFoundError, match="no merging method"):
        declaration("alchemy")


def test_recipes_keep_embeddings_from_the_base() -> None:
    config = recipe_config("slerp", "base", {"a": 1.0})
    assert config["parameters"] == {
        "t": [{"filter": "embed_tokens", "value": 0.0}, {"filter": "lm_head", "value": 0.0}, {"value": 0.5}]
    }
    linear = recipe_config("linear", "base", {"a": 1.0})
    assert linear["models"][0]["parameters"]["weight"][0] == {"filter": "embed_tokens", "value": 1.0}  # type: ignore[index]
