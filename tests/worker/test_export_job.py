"""The export job: what a worker puts into the store for a confirmed winner."""

from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM

from core.artifacts import Blobs
from core.recipes import method_recipe
from core.settings import Settings
from core.types.job import Exported, MergeExport
from core.types.sow import ModelRef, Models
from tests.worker.merge.models import load_bank, write_models
from worker.merge.norms import task_vector_norms
from worker.perform import make_perform


@pytest.mark.parametrize("card", ["---\nlicense: mit\n---\n\n# The card\n", ""])
def test_an_export_names_the_sows_models_and_carries_the_card(tmp_path: Path, card: str) -> None:
    write_models(tmp_path, "llama", experts=2)
    settings = Settings(state_dir=tmp_path / "state", device="cpu", threads=1)
    models = Models(
        base=ModelRef(name="origin", model="base"),
        experts=(ModelRef(name="one", model="expert1"), ModelRef(name="two", model="expert2")),
    )
    recipe = method_recipe("task_arithmetic", models, {"one": 0.5, "two": 0.25})
    payload = MergeExport(candidate_id="c", models=models, recipe=recipe, card=card, root=str(tmp_path))
    found = make_perform(settings)(payload, lambda *_: None)
    assert isinstance(found, Exported)
    folder = tmp_path / "out"
    folder.mkdir()
    for name, digest in found.files.items():
        (folder / name).symlink_to(Blobs(settings.artifact_dir).path_of(digest))
    config = yaml.safe_load((folder / "mergekit_config.yml").read_text())
    assert config["base_model"] == "base"
    assert {entry["model"] for entry in config["models"]} == {"base", "expert1", "expert2"}
    readme = (folder / "README.md").read_text()
    assert readme == card if card else "library_name: transformers" in readme
    merged = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    base, one, two = (
        AutoModelForCausalLM.from_pretrained(tmp_path / n, dtype=torch.float32).state_dict()
        for n in ("base", "expert1", "expert2")
    )
    name = "model.layers.0.mlp.up_proj.weight"
    wanted = base[name] + 0.5 * (one[name] - base[name]) + 0.25 * (two[name] - base[name])
    assert torch.allclose(merged[name].float(), wanted, atol=1e-2)


def test_task_vectors_are_as_long_as_they_are(tmp_path: Path) -> None:
    write_models(tmp_path, "llama", torch.float32, experts=2)
    bank = load_bank(tmp_path, 2)
    base, *experts = (AutoModelForCausalLM.from_pretrained(tmp_path / n) for n in ("base", "expert1", "expert2"))
    for name, expert in zip(("expert1", "expert2"), experts, strict=True):
        gaps = [(b - e).detach().square().sum() for b, e in zip(base.parameters(), expert.parameters(), strict=True)]
        wanted = float(torch.stack(gaps).sum().sqrt())
        assert task_vector_norms(bank)[name] == pytest.approx(wanted, rel=1e-5)
