"""Checkpoints, adapters, validation, placements and what a resident model is told apart by."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from core.errors import InvalidInputError, RunError
from core.merging import Kind, Need
from core.merging_table import DECLARATIONS, recipe_config
from core.recipes import redrawn
from core.types.recipe import Recipe
from tests.worker.merge.models import load_bank, load_model
from worker.merge.adapter import LoraAdapter
from worker.merge.apply import merge_into, merge_tensors, resolve, write_targets
from worker.merge.bank import ExpertBank, ModelRef, Placement, choose_placement
from worker.merge.checkpoint import Checkpoint
from worker.merge.export import ExportOptions, export
from worker.merge.memory import mapped_from_files, resident_mb
from worker.merge.stores import MappedStore
from worker.merge.targets import FUSED, checksum, probe, resident_targets

EXPERTS = ("expert1", "expert2", "expert3")


def recipe(name: str = "task_arithmetic", weight: float = 0.4) -> Recipe:
    return Recipe(method=name, config=recipe_config(name, "base", dict.fromkeys(EXPERTS, weight)))


def copy_of(directory: Path, tmp_path: Path, name: str = "expert1") -> Path:
    shutil.copytree(directory / name, tmp_path / name)
    return tmp_path / name


def load_with(directory: Path, expert: Path, adapter: Path | None = None) -> ExpertBank:
    ref = ModelRef(str(expert), str(adapter) if adapter else None)
    return ExpertBank.load(ModelRef(str(directory / "base")), {"bad": ref})


def change_config(**values: object) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        config = json.loads((path / "config.json").read_text())
        (path / "config.json").write_text(json.dumps(config | values))

    return change


def change_weights(change: Callable[[dict[str, torch.Tensor]], None]) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        tensors = load_file(path / "model.safetensors")
        change(tensors)
        save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})

    return apply


def change_tokenizer(path: Path) -> None:
    content = json.loads((path / "tokenizer.json").read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary["w4"], vocabulary["w5"] = vocabulary["w5"], vocabulary["w4"]
    (path / "tokenizer.json").write_text(json.dumps(content))


def only_pickle(path: Path) -> None:
    (path / "model.safetensors").unlink()
    (path / "pytorch_model.bin").write_bytes(b"\x80\x04")


NORM = "model.norm.weight"
PROBLEMS: dict[str, tuple[Callable[[Path], None], str]] = {
    "architecture": (change_config(architectures=["MistralForCausalLM"]), "architecture MistralForCausalLM"),
    "layers": (change_config(num_hidden_layers=2), "num_hidden_layers 2 is not the base's 3"),
    "missing tensor": (change_weights(lambda t: t.pop(NORM)), "1 tensors are missing"),
    "extra tensor": (change_weights(lambda t: t.update(extra=t[NORM].clone())), "not in the base"),
    "vocabulary": (
        change_weights(lambda t: t.update({"model.embed_tokens.weight": t["model.embed_tokens.weight"][:-1].clone()})),
        "another vocabulary",
    ),
    "nan": (change_weights(lambda t: t[NORM].fill_(float("nan"))), "NaN or infinite"),
    "infinity": (change_weights(lambda t: t[NORM].fill_(float("-inf"))), "NaN or infinite"),
    "integer weights": (change_weights(lambda t: t.update({NORM: t[NORM].to(torch.int8)})), "stored as I8"),
    "tokenizer": (change_tokenizer, "other ids"),
    "chat template": (lambda p: (p / "chat_template.jinja").write_text("other"), "chat template"),
    "pickle": (only_pickle, "never opened"),
    "no config": (lambda p: (p / "config.json").unlink(), "config.json is missing"),
    "not safetensors": (lambda p: (p / "model.safetensors").write_bytes(b"\0" * 64), "not a safetensors file"),
}


@pytest.mark.parametrize("problem", PROBLEMS)
def test_bad_experts_get_one_clear_error(problem: str, llama_dir: Path, tmp_path: Path) -> None:
    damage, message = PROBLEMS[problem]
    path = copy_of(llama_dir, tmp_path)
    damage(path)
    with pytest.raises(InvalidInputError, match=message):
        load_with(llama_dir, path)


def test_all_problems_are_told_at_once(llama_dir: Path, tmp_path: Path) -> None:
    path = copy_of(llama_dir, tmp_path)
    change_config(num_hidden_layers=2, hidden_size=1)(path)
    with pytest.raises(InvalidInputError) as caught:
        load_with(llama_dir, path)
    assert {p["path"] for p in caught.value.problems} >= {"experts.bad.num_hidden_layers", "experts.bad.hidden_size"}


def test_a_named_tokenizer_may_differ(llama_dir: Path, tmp_path: Path) -> None:
    path = copy_of(llama_dir, tmp_path)
    change_tokenizer(path)
    refs = {"other": ModelRef(str(path))}
    bank = ExpertBank.load(ModelRef(str(llama_dir / "base")), refs, allow_tokenizer=True)
    assert bank.experts == ("other",)


def write_adapter(directory: Path, out: Path, seed: int = 3, **options: object) -> PeftModel:
    torch.manual_seed(seed)
    config = LoraConfig(r=4, lora_alpha=6, target_modules=["q_proj", "down_proj"], **options)
    model = get_peft_model(load_model(directory), config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.05)
    model.save_pretrained(out)
    return model


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(
    "options", [{}, {"use_rslora": True}, {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"down_proj": 9}}]
)
def test_adapters_fold_in_as_peft_does(llama32_dir: Path, tmp_path: Path, options: dict[str, object]) -> None:
    merged = write_adapter(llama32_dir, tmp_path / "lora", **options).merge_and_unload()
    base = str(llama32_dir / "base")
    bank = ExpertBank.load(ModelRef(base), {"lora": ModelRef(base, str(tmp_path / "lora"))})
    for name, parameter in merged.named_parameters():
        torch.testing.assert_close(bank.tensor("lora", name), parameter.data)
    untouched = bank.tensors("model.norm.weight", ("base", "lora"))
    assert untouched[0] is untouched[1]


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_every_rule_merges_adapters_by_its_own_recipe(llama32_dir: Path, tmp_path: Path) -> None:
    """Adapters leave most tensors as the base has them: a rule must bear task vectors of zero."""
    base, names = str(llama32_dir / "base"), ("one", "two", "three")
    for seed, name in enumerate(names):
        write_adapter(llama32_dir, tmp_path / name, seed)
    bank = ExpertBank.load(ModelRef(base), {n: ModelRef(base, str(tmp_path / n)) for n in names})
    entries = [d for d in DECLARATIONS.values() if d.kind is Kind.WEIGHTS and d.needs == {Need.WEIGHTS}]
    assert {"multislerp", "nuslerp", "ra_ties"} < {d.name for d in entries}
    for entry in entries:
        chosen = next(names[:count] for count in (3, 2, 1) if entry.accepts(count))
        config = recipe_config(entry.name, "base", dict.fromkeys(chosen, 0.4))
        for tensor, merged in merge_tensors(bank, resolve(config, bank)):
            assert bool(torch.isfinite(merged).all()), (entry.name, tensor)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_an_adapter_for_another_base_or_kind_is_refused(llama32_dir: Path, gemma_dir: Path, tmp_path: Path) -> None:
    write_adapter(llama32_dir, tmp_path / "lora")
    weights = tmp_path / "lora" / "adapter_model.safetensors"
    tensors = load_file(weights)
    save_file({k: t[:, :-1].clone() if "lora_A" in k else t for k, t in tensors.items()}, weights)
    with pytest.raises(InvalidInputError, match="adapter for another base"):
        load_with(llama32_dir, llama32_dir / "base", tmp_path / "lora")
    config = json.loads((tmp_path / "lora" / "adapter_config.json").read_text())
    (tmp_path / "lora" / "adapter_config.json").write_text(json.dumps(config | {"use_dora": True}))
    with pytest.raises(InvalidInputError, match="not a plain LoRA adapter"):
        LoraAdapter.open(tmp_path / "lora")


@pytest.mark.parametrize("placement", [Placement.PINNED, Placement.STREAMED])
def test_placement_does_not_change_the_merge(placement: Placement, models_dir: Path) -> None:
    want = merge_into(load_model(models_dir), load_bank(models_dir), recipe()).checksum
    got = merge_into(load_model(models_dir), load_bank(models_dir, placement=placement), recipe()).checksum
    assert got == want


def test_compressed_deltas_stay_close(llama32_dir: Path) -> None:
    bank = load_bank(llama32_dir, placement=Placement.COMPRESSED)
    exact = load_bank(llama32_dir)
    for name in bank.names:
        base, want, got = exact.tensor("base", name), exact.tensor("expert2", name), bank.tensor("expert2", name)
        reach = (want - base).max() - (want - base).min()
        assert (got - want).abs().max() <= reach / 30 * 1.01 + 1e-7


def test_placement_follows_what_fits() -> None:
    cpu = torch.device("cpu")
    assert choose_placement(1000, cpu) is Placement.PINNED
    assert choose_placement(1 << 60, cpu) is Placement.STREAMED


def test_zero_weights_restore_the_base(models_dir: Path) -> None:
    bank, model = load_bank(models_dir), load_model(models_dir)
    before, first = checksum(model.named_parameters()), probe(model)
    changed = merge_into(model, bank, recipe())
    assert changed.checksum != before
    assert changed.probe != first
    restored = merge_into(model, bank, recipe(weight=0.0))
    assert (restored.checksum, restored.probe) == (before, first)


def test_checksum_notices_a_single_bit() -> None:
    tensor = torch.randn(4, 5)
    before = checksum([("a", tensor)])
    tensor.view(torch.int32)[2, 3] ^= 1
    assert checksum([("a", tensor)]) != before
    assert checksum([("b", tensor)]) != checksum([("a", tensor)])


def test_a_broken_model_is_noticed(llama_dir: Path) -> None:
    model = load_model(llama_dir)
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    with pytest.raises(RunError, match="NaN"):
        probe(model)


class Fused(nn.Module):
    """Parameters as vLLM holds them: q, k, v and gate, up in one matrix each."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        own = dict(model.named_parameters())
        for name, parameter in own.items():
            for fused, parts in FUSED.items():
                if f".{parts[0]}." in name:
                    rows = [own[name.replace(parts[0], part)] for part in parts]
                    self._add(name.replace(parts[0], fused), torch.cat(rows))
            if not any(f".{part}." in name for parts in FUSED.values() for part in parts):
                self._add(name, parameter)

    def _add(self, name: str, value: torch.Tensor) -> None:
        *path, last = name.split(".")
        module: nn.Module = self
        for part in path:
            if part not in dict(module.named_children()):
                module.add_module(part, nn.Module())
            module = module.get_submodule(part)
        module.register_parameter(last, nn.Parameter(value.detach().clone()))


@pytest.mark.parametrize("name", ["task_arithmetic", "ra_star", "ra_dare_ties", "ra_ties"])
def test_fused_parameters_get_the_same_rows(name: str, models_dir: Path) -> None:
    bank, plain = load_bank(models_dir), load_model(models_dir)
    fused = Fused(plain)
    resolution = resolve(recipe(name).config, bank)
    views = resident_targets(fused, bank.shapes)
    write_targets(views, bank, resolution)
    merge_into(plain, bank, recipe(name))
    for tensor, parameter in plain.named_parameters():
        assert torch.equal(views[tensor], parameter.data)


@pytest.mark.parametrize("name", ["dare_ties", "della", "ra_dare_linear", "ra_lori"])
def test_another_seed_draws_another_model(name: str, llama_dir: Path) -> None:
    bank, model = load_bank(llama_dir), load_model(llama_dir)
    made = [merge_into(model, bank, redrawn(recipe(name), shift)).checksum for shift in (0, 1, 1)]
    assert made[0] != made[1] == made[2]
    assert merge_into(model, bank, recipe(name)).checksum == made[0]
    fixed = recipe("task_arithmetic")
    assert redrawn(fixed, 1) == fixed


def test_a_resident_model_of_other_shape_is_refused(llama_dir: Path, gemma_dir: Path) -> None:
    with pytest.raises(InvalidInputError, match="resident model"):
        merge_into(load_model(llama_dir), load_bank(gemma_dir), recipe())


def test_export_is_a_complete_sharded_checkpoint(llama_dir: Path, tmp_path: Path) -> None:
    bank, model = load_bank(llama_dir), load_model(llama_dir)
    report = export(bank, recipe(), tmp_path / "out", ExportOptions(shard_bytes=12_000, chat_template="{{ x }}"))
    merged = merge_into(model, bank, recipe())
    assert report.checksum == merged.checksum
    written = Checkpoint.open(tmp_path / "out")
    assert len({h.file for h in written.headers.values()}) > 3
    assert written.chat_template == "{{ x }}"
    assert written.vocabulary == Checkpoint.open(llama_dir / "base").vocabulary
    loaded = load_model(tmp_path, "out")
    assert checksum(loaded.named_parameters()) == merged.checksum
    assert "task_arithmetic" in (tmp_path / "out" / "README.md").read_text()
    with pytest.raises(InvalidInputError, match="not empty"):
        export(bank, recipe(), tmp_path / "out")


def test_facts_for_licence_and_size_checks(llama_dir: Path) -> None:
    opened = Checkpoint.open(llama_dir / "base")
    assert opened.parameters == sum(p.numel() for p in load_model(llama_dir).parameters())
    assert (opened.architecture, opened.layers, opened.tied) == ("LlamaForCausalLM", 3, True)


BAD_RECIPES = {
    "unknown parameter": ({"parameters": {"speed": 1}}, "no parameter 'speed'"),
    "no models": ({"models": []}, "lists no models"),
    "no base": ({"base_model": None}, "needs base_model"),
    "unknown model": ({"models": [{"model": "nowhere"}]}, "not in the bank"),
    "twice": ({"models": [{"model": "expert1"}] * 2}, "named before"),
    "slices": ({"slices": [{}]}, "can't be merged in memory"),
    "dtype": ({"dtype": "int8"}, "unknown"),
    "type": ({"parameters": {"lambda": "much"}}, "can't be 'much'"),
    "not applicable": ({"merge_method": "ra_moma"}, "not applicable"),
}


@pytest.mark.parametrize("problem", BAD_RECIPES)
def test_bad_recipes_change_nothing(problem: str, llama_dir: Path) -> None:
    bank, model = load_bank(llama_dir), load_model(llama_dir)
    before = checksum(model.named_parameters())
    change, message = BAD_RECIPES[problem]
    with pytest.raises(InvalidInputError, match=message):
        merge_into(model, bank, Recipe(method="x", config=recipe().config | change))
    assert checksum(model.named_parameters()) == before


def test_mapped_tensors_that_nobody_holds_leave_the_process(tmp_path: Path) -> None:
    count, size = 20, 1 << 20
    save_file({f"t{i}": torch.full((size,), float(i)) for i in range(count)}, tmp_path / "model.safetensors")
    with safe_open(tmp_path / "model.safetensors", framework="pt") as opened:
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (no mapping)
    tensors["made"] = torch.arange(size)
    assert mapped_from_files(tensors) == {f"t{i}" for i in range(count)}
    store = MappedStore(tensors)
    before = resident_mb()
    for name in [f"t{i}" for i in range(count)] * 2:
        assert float(store.get(name).sum()) == float(name[1:]) * size
    assert resident_mb() - before < 4 * size * 4 / 1e6
    held = [store.get(f"t{i}") for i in range(10)]
    assert [float(tensor.sum()) for tensor in held] == [float(i) * size for i in range(10)]
    assert resident_mb() - before > 8 * size * 4 / 1e6
    assert store.get("t3") is held[3]
    assert torch.equal(store.get("made"), torch.arange(size))


@pytest.mark.parametrize("name", ["task_arithmetic", "della", "dare_linear", "ties"])
def test_a_merge_holds_no_tensor_of_the_bank_when_it_ends(name: str, gemma_dir: Path) -> None:
    bank, model = load_bank(gemma_dir), load_model(gemma_dir)
    torch.set_num_threads(2)
    write_targets(resident_targets(model, bank.shapes), bank, resolve(recipe(name).config, bank, model))
    for store in bank.stores.values():
        assert isinstance(store, MappedStore)
        assert not store._lent
