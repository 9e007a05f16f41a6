"""The merge pack: what it offers, what it says of the rest, and what its jobs may read."""

from pathlib import Path

from agents.tasks.merge import MergePack
from core.merging_table import DECLARATIONS
from core.sow_reader import SowFormat, read_sow
from core.types.candidate import CandidateKind, Fidelity
from core.types.job import MergeEvaluate
from core.types.sow import Role, StatementOfWork
from core.types.work import Survey

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "smollm-merge" / "sow.yaml"


def example(methods: str | None = None) -> StatementOfWork:
    sow = read_sow(EXAMPLE.read_bytes(), SowFormat.YAML)
    return sow if methods is None else sow.evolve(experiments=sow.experiments.evolve(methods=methods))


def test_the_quickstart_keeps_its_six_methods() -> None:
    offered = MergePack().candidates(example(), ())
    names = [c.id for c in offered if c.kind is CandidateKind.METHOD]
    assert names == ["linear", "task_arithmetic", "ties", "dare_ties", "slerp", "model_stock"]


def test_all_offers_every_applicable_row_and_every_row_is_told() -> None:
    sow, pack = example("all"), MergePack()
    rows = pack.applicability(sow, Survey(works=()))
    assert {r.method for r in rows} == set(DECLARATIONS)
    assert [r.method for r in rows if r.fidelity is Fidelity.NOT_APPLICABLE] == ["ra_moma"]
    assert all(r.reason for r in rows if r.fidelity is not Fidelity.EXACT)
    methods = {c.id: c for c in pack.candidates(sow, rows) if c.kind is CandidateKind.METHOD}
    assert set(methods) == {n for n, d in DECLARATIONS.items() if d.runnable}
    assert all(methods[n].note.startswith(DECLARATIONS[n].difference) for n in methods)
    assert methods["ra_evolutionary"].recipe is not None
    assert methods["ra_evolutionary"].recipe.config["parameters"]["trials"] == sow.optimization.trials


def test_jobs_carry_text_of_the_search_items_for_methods_that_learn() -> None:
    sow, pack = example("all"), MergePack()
    for candidate in pack.candidates(sow, pack.applicability(sow, Survey(works=()))):
        for payload in pack.payloads(sow, candidate, Role.SCREEN, ""):
            assert isinstance(payload, MergeEvaluate)
            if candidate.id in {"ra_regmean", "ra_surgery", "ra_df"}:
                assert payload.calibration is not None
                assert {t.expert: t.benchmark.name for t in payload.calibration.texts} == {
                    s: f"{s}-search" for s in ("code", "math", "instruction")
                }
            elif candidate.id in {"linear", "base", "ra_mass"}:
                assert payload.calibration is None
