"""Methods that read text, gradients or a score, on tiny random Llama and Gemma-2 models."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from core.errors import InvalidInputError
from core.merging_table import recipe_config
from core.types.recipe import Recipe
from tests.worker.merge.models import (
    EXPERTS,
    SMALL,
    calibrated_recipe,
    calibration,
    load_bank,
    load_model,
    near_third,
    text,
)
from worker.merge.apply import merge_into, resolve
from worker.merge.blocks import LayerInputs, decoder_layers
from worker.merge.context import Calibration, MergeContext
from worker.merge.gradients import language_loss
from worker.merge.gradients import load_model as write_model
from worker.merge.plan import make_plan
from worker.merge.registry import method
from worker.merge.targets import resident_targets


@pytest.mark.parametrize("name", SMALL)
def test_every_calibrated_method_merges_repeatably(name: str, models_dir: Path) -> None:
    bank, model = load_bank(models_dir), load_model(models_dir)
    before = {n: p.clone() for n, p in model.named_parameters()}
    scored = calibration(near_third if name in {"ra_df", "ra_hi", "ra_evolutionary"} else None)
    report = merge_into(model, bank, calibrated_recipe(name), scored)
    assert torch.equal(model.get_input_embeddings().weight, before["model.embed_tokens.weight"])
    assert any(not torch.equal(p, before[n]) for n, p in model.named_parameters())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert merge_into(model, bank, calibrated_recipe(name), scored).checksum == report.checksum


@pytest.mark.parametrize("name", ["ra_regmean", "ra_sens", "ra_calm", "ra_df"])
def test_text_is_asked_for_before_anything_is_changed(name: str, llama_dir: Path) -> None:
    bank, model = load_bank(llama_dir), load_model(llama_dir)
    before = {n: p.clone() for n, p in model.named_parameters()}
    with pytest.raises(InvalidInputError, match="calibration text"):
        merge_into(model, bank, calibrated_recipe(name), Calibration({"expert1": text(0)}))
    if name == "ra_regmean":
        assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())


def test_layer_by_layer_is_the_whole_model(models_dir: Path) -> None:
    model = load_model(models_dir)
    inputs = LayerInputs.record(model, text(3))
    name, layers = decoder_layers(model)
    assert name == "model.layers"
    for index, layer in enumerate(layers):
        inputs.hidden = inputs.through(layer, index)
    with torch.no_grad():
        want = [model.model(input_ids=b, use_cache=False).last_hidden_state for b in text(3)]
        got = [model.model.norm(h) for h in inputs.hidden]
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b)


def naive_grams(directory: Path, expert: str, batches: tuple[torch.Tensor, ...]) -> dict[str, torch.Tensor]:
    model, found = load_model(directory, expert), {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):

            def hook(_m: nn.Module, args: tuple[torch.Tensor, ...], key: str = f"{name}.weight") -> None:
                x = args[0].reshape(-1, args[0].shape[-1]).float()
                found[key] = found.get(key, 0) + x.T @ x

            module.register_forward_pre_hook(hook)
    with torch.no_grad():
        for batch in batches:
            model(input_ids=batch, use_cache=False)
    return found


def test_regmean_grams_are_those_of_each_expert_alone(models_dir: Path) -> None:
    bank, model = load_bank(models_dir), load_model(models_dir)
    resolution = resolve(calibrated_recipe("ra_regmean").config, bank, model, calibration())
    want = [naive_grams(models_dir, e, text(i)) for i, e in enumerate(EXPERTS)]
    for layer in range(bank.layers):
        for name in (n for n in bank.names if f"layers.{layer}." in n and "norm" not in n):
            got = resolution.statistics.for_tensor(name)
            for i in range(3):
                torch.testing.assert_close(got[f"gram{i}"], want[i][name], rtol=1e-4, atol=1e-4)


def test_regmean_pp_sees_the_merged_layers(llama_dir: Path) -> None:
    bank = load_bank(llama_dir)
    reports = [
        merge_into(load_model(llama_dir), bank, calibrated_recipe(n), calibration())
        for n in ("ra_regmean", "ra_regmean_pp")
    ]
    assert reports[0].checksum != reports[1].checksum


def test_a_search_ends_at_the_best_it_saw(llama_dir: Path) -> None:
    bank, model, scores = load_bank(llama_dir), load_model(llama_dir), []

    def noted(candidate: nn.Module) -> float:
        scores.append(near_third(candidate))
        return scores[-1]

    merge_into(model, bank, calibrated_recipe("ra_evolutionary"), calibration(noted))
    assert len(scores) == SMALL["ra_evolutionary"]["trials"]
    assert near_third(model) == max(scores)


def test_learning_lowers_the_loss(llama32_dir: Path) -> None:
    bank, model = load_bank(llama32_dir), load_model(llama32_dir)
    losses = []
    for steps in (0, 40):
        config = recipe_config("ra_adaptive_lora", "base", dict.fromkeys(EXPERTS, 0.4), steps=steps, rank=8, prune=0.0)
        merge_into(model, bank, Recipe(method="ra_adaptive_lora", config=config), calibration())
        with torch.no_grad():
            losses.append(sum(float(language_loss(model, b)) for i in range(3) for b in text(i)))
    assert losses[1] < losses[0] - 0.01


def context(directory: Path, name: str, **parameters: Any) -> MergeContext:
    bank = load_bank(directory)
    config = recipe_config(name, "base", dict.fromkeys(EXPERTS, 0.4), **parameters)
    return MergeContext(bank, make_plan(config, method(name), bank), load_model(directory), calibration())


@pytest.mark.parametrize("name", ["ra_mass", "ra_dawin"])
def test_routing_gives_every_prompt_one_merge(name: str, models_dir: Path) -> None:
    found = context(models_dir, name, **({"clusters": 2} if name == "ra_dawin" else {}))
    prompts = [text(i, 1)[0][0] for i in range(6)]
    route = method(name).route
    assert route is not None
    groups = route(found, prompts)
    assert sorted(p for g in groups for p in g.prompts) == list(range(6))
    for group in groups:
        report = merge_into(found.need_model(), found.bank, Recipe(method="x", config=dict(group.config)))
        assert report.probe is not None


def test_routed_and_module_methods_are_not_plain_merges(llama_dir: Path) -> None:
    bank, model = load_bank(llama_dir), load_model(llama_dir)
    for name in ("ra_dawin", "ra_mass", "ra_surgery", "ra_phatgoose"):
        with pytest.raises(InvalidInputError, match=r"route|attach"):
            merge_into(model, bank, calibrated_recipe(name), calibration())


def distance(model: nn.Module, want: torch.Tensor, ids: torch.Tensor) -> float:
    with torch.no_grad():
        return float((model(input_ids=ids).logits.float() - want).abs().mean())


@pytest.mark.parametrize("name", ["ra_surgery", "ra_surgery_v2"])
def test_surgery_moves_towards_the_target_and_comes_off(name: str, models_dir: Path) -> None:
    found = context(models_dir, name, steps=60)
    model, ids = found.need_model(), text(0)[0]
    with torch.no_grad():
        want = load_model(models_dir, "expert1")(input_ids=ids).logits.float()
    attach = method(name).attach
    assert attach is not None
    extension = attach(found)
    corrected = distance(model, want, ids)
    extension.remove()
    assert corrected < distance(model, want, ids)


def test_phatgoose_routes_and_comes_off(models_dir: Path) -> None:
    found = context(models_dir, "ra_phatgoose", steps=4, rank=8)
    model, ids = found.need_model(), text(1)[0]
    with torch.no_grad():
        base = model(input_ids=ids).logits.clone()
        attach = method("ra_phatgoose").attach
        assert attach is not None
        extension = attach(found)
        routed = model(input_ids=ids).logits.clone()
        extension.remove()
        assert not torch.equal(routed, base)
        assert torch.equal(model(input_ids=ids).logits, base)


def test_loading_an_expert_is_that_expert(models_dir: Path) -> None:
    bank, model = load_bank(models_dir), load_model(models_dir)
    write_model(resident_targets(model, bank.shapes), bank, "expert2")
    want = dict(load_model(models_dir, "expert2").named_parameters())
    assert all(torch.equal(p, want[n]) for n, p in model.named_parameters())
    assert replace(bank, layers=3).experts == EXPERTS
