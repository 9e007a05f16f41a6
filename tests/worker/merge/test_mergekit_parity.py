"""Every method mergekit has: a merge in memory, an export, and mergekit's own run of the exported YAML agree."""

from pathlib import Path

import pytest
import torch
import yaml
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions

from core.merging import Engine
from core.merging_table import DECLARATIONS, declaration, recipe_config
from core.types.recipe import Recipe
from tests.worker.merge.models import SMALL, calibrated_recipe, calibration, load_bank, load_model, near_third
from worker.merge import mergekit_plugin
from worker.merge.apply import merge_into
from worker.merge.checkpoint import Checkpoint
from worker.merge.export import RECIPE_FILE, ExportOptions, export

MERGEKITS = [n for n, d in DECLARATIONS.items() if d.engine is Engine.MERGEKIT or not n.startswith("ra_")]
WEIGHTS_ONLY = ["ra_ties", "ra_dare_linear", "ra_dare_ties", "ra_star", "ra_metagpt", "ra_tvq", "ra_rtvq", "ra_lori"]


def small_recipe(name: str, count: int) -> Recipe:
    entry = declaration(name)
    count = min(count, entry.experts[1] or count)
    experts = {f"expert{i}": 0.2 * i for i in range(1, count + 1)}
    config = recipe_config(name, "base", experts)
    for model in config["models"]:
        if "density" in entry.defaults and model["model"] != "base":
            model["parameters"]["density"] = [0.4, 0.7]
    return Recipe(method=name, config=config)


def mergekit_run(recipe: Path, out: Path, seed: int = 0) -> Checkpoint:
    config = MergeConfiguration.model_validate(yaml.safe_load(recipe.read_text()))
    run_merge(config, str(out), MergeOptions(quiet=True, random_seed=seed))
    return Checkpoint.open(out)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MERGEKITS)
def test_mergekit_makes_the_same_tensors(name: str, models_dir: Path, tmp_path: Path) -> None:
    bank, model, recipe = load_bank(models_dir), load_model(models_dir), small_recipe(name, 3)
    merge_into(model, bank, recipe)
    export(bank, recipe, tmp_path / "ours")
    ours, theirs = (
        Checkpoint.open(tmp_path / "ours"),
        mergekit_run(tmp_path / "ours" / RECIPE_FILE, tmp_path / "theirs"),
    )
    resident = dict(model.named_parameters())
    assert set(ours.headers) == set(theirs.headers) == set(bank.names)
    for tensor in bank.names:
        torch.testing.assert_close(ours.tensor(tensor), theirs.tensor(tensor), rtol=0, atol=0)
        torch.testing.assert_close(resident[tensor].data, theirs.tensor(tensor), rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [n for n in SMALL if n != "ra_evolutionary"])
def test_calibrated_methods_run_inside_mergekit_from_their_statistics(
    name: str, gemma_dir: Path, tmp_path: Path
) -> None:
    mergekit_plugin.register_all()
    bank = load_bank(gemma_dir)
    scored = calibration(near_third if name in {"ra_df", "ra_hi"} else None)
    options = ExportOptions(model=load_model(gemma_dir), calibration=scored)
    export(bank, calibrated_recipe(name), tmp_path / "ours", options)
    ours, theirs = (
        Checkpoint.open(tmp_path / "ours"),
        mergekit_run(tmp_path / "ours" / RECIPE_FILE, tmp_path / "theirs"),
    )
    for tensor in bank.names:
        torch.testing.assert_close(ours.tensor(tensor), theirs.tensor(tensor), rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", WEIGHTS_ONLY)
def test_own_methods_run_inside_mergekit(name: str, llama_dir: Path, tmp_path: Path) -> None:
    mergekit_plugin.register_all()
    bank, recipe = load_bank(llama_dir), small_recipe(name, 3)
    if name == "ra_ties":
        for entry in recipe.config["models"]:
            entry["parameters"]["density"] = 0.3
    export(bank, recipe, tmp_path / "ours")
    ours, theirs = (
        Checkpoint.open(tmp_path / "ours"),
        mergekit_run(tmp_path / "ours" / RECIPE_FILE, tmp_path / "theirs"),
    )
    for tensor in bank.names:
        torch.testing.assert_close(ours.tensor(tensor), theirs.tensor(tensor), rtol=0, atol=0)
