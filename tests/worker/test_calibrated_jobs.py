"""Jobs with methods that need more than weights, through the worker's own path on tiny real checkpoints."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from core.errors import InvalidInputError
from core.merging import Kind
from core.merging_table import DECLARATIONS, recipe_config
from core.settings import Settings
from core.types.evaluation import Evaluation, Sampling
from core.types.job import CalibrationData, CalibrationText, Exported, MergeEvaluate, MergeExport
from core.types.recipe import Recipe
from core.types.sow import Benchmark, ModelRef, Models, Role
from tests.worker.merge.models import EXPERTS, SMALL, write_models
from worker.generate.port import InPlaceMerge
from worker.generate.registry import ENGINES
from worker.generate.transformers_engine import TransformersEngine
from worker.merge.apply import merge_into
from worker.merge.bank import ExpertBank, Placement
from worker.merge.bank import ModelRef as Reference
from worker.perform import Performer

SMALLER: dict[str, dict[str, Any]] = SMALL | {
    "ra_surgery": {"steps": 3}, "ra_surgery_v2": {"steps": 3}, "ra_phatgoose": {"steps": 2, "rank": 4},
    "ra_mass": {}, "ra_dawin": {"clusters": 2},
}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_models(tmp_path_factory.mktemp("jobs"), "llama", torch.float32)
    rows = [
        {
            "task_id": f"q/{split}/{i}",
            "question": f"w{20 + i} w{30 + i} w{40 + i} w{5 + i}",
            "answer": "5",
            "split": split,
        }
        for split in ("search", "screen")
        for i in range(5)
    ]
    (folder / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def performer(tmp_path: Path) -> Performer:
    return Performer(Settings(state_dir=tmp_path, device="cpu", threads=1))


def models() -> Models:
    return Models(
        base=ModelRef(name="base", model="./base"),
        experts=tuple(ModelRef(name=e, model=f"./{e}") for e in EXPERTS),
    )


def benchmark(role: Role) -> Benchmark:
    return Benchmark(
        name=role.value, dataset="items.jsonl", split=role.value, metric="exact_match", protocol="exact_match",
        role=role, sampling=Sampling(max_new_tokens=8),
    )  # fmt: skip


def data(**more: Any) -> CalibrationData:
    texts = tuple(CalibrationText(expert=e, benchmark=benchmark(Role.SEARCH)) for e in EXPERTS)
    return CalibrationData(texts=texts, tokens=16, sequences=4, score_items=2, **more)


def recipe(name: str) -> Recipe:
    return Recipe(method=name, config=recipe_config(name, "base", dict.fromkeys(EXPERTS, 0.4), **SMALLER.get(name, {})))


def evaluate(performer: Performer, root: Path, name: str, calibration: CalibrationData | None = None) -> Evaluation:
    payload = MergeEvaluate(
        candidate_id=name, models=models(), recipe=recipe(name), benchmark=benchmark(Role.SCREEN),
        calibration=calibration, root=str(root),
    )  # fmt: skip
    done = performer(payload, lambda *_: None)
    assert isinstance(done, Evaluation)
    return done


def test_every_method_of_the_table_that_needs_more_is_tried_here() -> None:
    plain = {n for n, d in DECLARATIONS.items() if d.kind is Kind.WEIGHTS and len(d.needs) == 1}
    assert set(SMALLER) == {n for n, d in DECLARATIONS.items() if d.runnable} - plain


@pytest.mark.parametrize("name", sorted(SMALLER))
def test_a_job_with_calibration_is_done_and_leaves_no_trace(name: str, performer: Performer, root: Path) -> None:
    before = evaluate(performer, root, "task_arithmetic")
    found = evaluate(performer, root, name, data())
    assert [o.item_id for o in found.outcomes] == [f"q/screen/{i}" for i in range(5)]
    assert found.model_checksum != before.model_checksum
    assert found.cost.merge_s > 0
    after = evaluate(performer, root, "task_arithmetic")
    assert (after.model_checksum, after.outcomes) == (before.model_checksum, before.outcomes)


class ElsewhereEngine(TransformersEngine):
    """Holds its bank by itself and merges in its own place, as an engine with a worker process does."""

    def hold(self, base: Reference, experts: Mapping[str, Reference], placement: str = "auto") -> Mapping[str, Any]:
        self.bank = ExpertBank.load(base, experts, Placement(placement))
        return {"parameters": self.bank.parameters}

    def merge(self, config: Mapping[str, Any]) -> InPlaceMerge:
        report = merge_into(self.model, self.bank, Recipe(method=config["merge_method"], config=dict(config)))
        return InPlaceMerge(report.seconds, report.checksum, report.peak_mb)


def test_an_engine_that_holds_its_weights_elsewhere_merges_there(
    performer: Performer, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENGINES, "vllm", f"{__name__}:ElsewhereEngine")
    apart = Performer(Settings(state_dir=tmp_path, device="cpu", threads=1, engine="vllm"))
    for name in ("task_arithmetic", "ra_ties", "model_stock"):
        here, there = evaluate(performer, root, name), evaluate(apart, root, name)
        assert (there.model_checksum, there.outcomes) == (here.model_checksum, here.outcomes)
    assert apart._session.bank.placement is Placement.STREAMED


def test_a_method_without_its_text_says_what_it_needs(performer: Performer, root: Path) -> None:
    with pytest.raises(InvalidInputError, match="calibration text"):
        evaluate(performer, root, "ra_regmean")


def test_a_base_that_is_too_large_is_refused_before_it_is_read(performer: Performer, root: Path) -> None:
    payload = MergeEvaluate(
        candidate_id="x", models=models().evolve(max_parameters=1000), recipe=recipe("linear"),
        benchmark=benchmark(Role.SCREEN), root=str(root),
    )  # fmt: skip
    with pytest.raises(InvalidInputError, match="max_parameters is 1,000"):
        performer(payload, lambda *_: None)


def test_calibration_never_reads_what_decides() -> None:
    with pytest.raises(ValidationError, match="search"):
        CalibrationText(expert="expert1", benchmark=benchmark(Role.CONFIRM))
    leaking = benchmark(Role.SEARCH).evolve(split="screen")
    texts = (CalibrationText(expert="expert1", benchmark=leaking),)
    with pytest.raises(ValidationError, match="calibration reads"):
        MergeEvaluate(
            candidate_id="x", models=models(), recipe=recipe("ra_regmean"), benchmark=benchmark(Role.SCREEN),
            calibration=CalibrationData(texts=texts),
        )  # fmt: skip


def test_too_little_text_is_refused(performer: Performer, root: Path) -> None:
    with pytest.raises(InvalidInputError, match="less than one sequence"):
        evaluate(performer, root, "ra_regmean", data().evolve(tokens=4096))


def test_a_calibrated_candidate_is_exported_as_it_was_evaluated(
    performer: Performer, root: Path, tmp_path: Path
) -> None:
    evaluate(performer, root, "ra_regmean", data())
    model = performer._session.engine.model
    resident = {n: p.detach().clone() for n, p in model.named_parameters()}
    payload = MergeExport(
        candidate_id="x", models=models(), recipe=recipe("ra_regmean"), calibration=data(), card="", root=str(root)
    )
    done = performer(payload, lambda *_: None)
    assert isinstance(done, Exported)
    written = load_file(str(next((tmp_path / "artifacts").rglob(done.files["model.safetensors"]))))
    for name, tensor in resident.items():
        # The engine may hold the model in bfloat16 where the checkpoint is in float32.
        torch.testing.assert_close(written[name].to(tensor.dtype), tensor)
    with pytest.raises(InvalidInputError, match=r"resident|calibration text"):
        performer(payload.evolve(calibration=None), lambda *_: None)
