"""The worked example's data and results hold what its README says."""

import gzip
import hashlib
import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from safetensors import safe_open

from worker.benchmark import load_items
from worker.protocols.constraints import read_constraint

SKILLS = ("code", "math", "instruction")
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
Item = dict[str, Any]


def committed(example: SimpleNamespace, skill: str) -> list[Item]:
    return [json.loads(line) for line in (example.root / "benchmarks" / f"{skill}.jsonl").read_text().splitlines()]


def read(example: SimpleNamespace, name: str) -> Item:
    found: Item = json.loads((example.root / name).read_text())
    return found


@pytest.fixture(scope="module")
def training(example: SimpleNamespace) -> dict[str, list[Item]]:
    return {skill: example.build.SKILLS[skill].training() for skill in SKILLS}


@pytest.mark.parametrize("skill", SKILLS)
def test_benchmarks_come_out_bit_for_bit(example: SimpleNamespace, skill: str) -> None:
    file = example.root / "benchmarks" / f"{skill}.jsonl"
    assert file.read_text() == example.build.to_lines(example.build.benchmark(skill))


@pytest.mark.parametrize(("skill", "least"), [("code", 200), ("math", 200), ("instruction", 200)])
def test_no_item_is_in_two_splits(example: SimpleNamespace, skill: str, least: int) -> None:
    items = committed(example, skill)
    splits = Counter(item["split"] for item in items)
    assert len({item["prompt"] for item in items}) == len({item["task_id"] for item in items}) == len(items) >= least
    assert set(splits) == {"search", "screen", "confirm"}
    assert min(splits.values()) >= 60
    assert {item["seen"] for item in items} == {True, False}


def test_code_shares_nothing_with_training(example: SimpleNamespace, training: dict[str, list[Item]]) -> None:
    held_out, taught = committed(example, "code"), training["code"]
    for key in ("prompt", "canonical_solution"):
        assert not {item[key] for item in held_out} & {item[key] for item in taught}
    assert not {item["family"] for item in held_out if not item["seen"]} & {item["family"] for item in taught}


def test_math_shares_no_prompt_and_no_numbers_with_training(
    example: SimpleNamespace, training: dict[str, list[Item]]
) -> None:
    held_out, taught = committed(example, "math"), training["math"]
    assert not {item["prompt"] for item in held_out} & {item["prompt"] for item in taught}
    assert not {(i["family"], i["solution"]) for i in held_out} & {(i["family"], i["solution"]) for i in taught}
    assert not {item["family"] for item in held_out if not item["seen"]} & {item["family"] for item in taught}


def test_instructions_are_about_topics_that_training_never_mentions(
    example: SimpleNamespace, training: dict[str, list[Item]]
) -> None:
    held_out, taught = committed(example, "instruction"), training["instruction"]
    topics = example.instruction_texts.HELD_OUT_TOPICS
    assert all(any(topic in item["prompt"] for topic in topics) for item in held_out)
    assert not [item for item in taught if any(f" {topic} " in f" {item['prompt']} " for topic in topics)]
    assert not {item["family"] for item in held_out if not item["seen"]} & {item["family"] for item in taught}


def test_canonical_solutions_pass_and_their_tests_can_fail(example: SimpleNamespace) -> None:
    for item in committed(example, "code"):
        scope: Item = {}
        exec(item["prompt"] + item["canonical_solution"] + item["test"], scope)
        scope["check"](scope[item["entry_point"]])
        with pytest.raises((AssertionError, TypeError)):
            scope["check"](lambda *_: None)
        outputs = {repr(scope[item["entry_point"]](*case)) for case in item["base_input"]}
        assert len(outputs) > 1, item["task_id"]


def test_the_grader_cuts_runs_and_times_out(example: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    item = committed(example, "code")[0]
    right = "\n" + item["canonical_solution"]
    answers = [right, right + "\ndef broken(:", "\n    return None", "\n    return ("]
    assert example.grading.grade("code", [item] * 4, answers) == [True, True, False, False]
    monkeypatch.setattr(example.grading, "SECONDS", 1)
    assert not example.grading.code_passes(item, "\n    while True: pass")


def test_math_answers_follow_from_their_solutions(example: SimpleNamespace, training: dict[str, list[Item]]) -> None:
    for item in [*committed(example, "math"), *training["math"]]:
        assert example.grading.math_correct(item, item["solution"])
        for step in item["solution"].split(". ")[:-1]:
            left, right = step.split(" = ")
            assert eval(left) == int(right)
    assert not example.grading.math_correct({"answer": "7"}, "The answer is 17.")
    assert not example.grading.math_correct({"answer": "7"}, "seven")


def test_the_product_checks_instructions_as_the_reference_does(
    example: SimpleNamespace, training: dict[str, list[Item]]
) -> None:
    pool = [item["solution"] for item in training["instruction"][::97]]
    pool += ["", "...", '"', "[]", "HELLO", '{"a": 1}', "- a\n- b", "a | b | c", "warm Warm, warm"]
    verdicts = Counter()
    for item in committed(example, "instruction")[::3] + training["instruction"][::40]:
        for row in item["constraints"]:
            constraint = read_constraint(row, item["family"])
            for text in [*pool, item.get("solution", "")]:
                met = example.constraints.holds(row, text)
                assert constraint.met(text.strip()) == met, (row, text)
                verdicts[met] += 1
    assert min(verdicts[True], verdicts[False]) > 100


@pytest.mark.parametrize("skill", SKILLS)
def test_the_product_reads_every_item(example: SimpleNamespace, skill: str) -> None:
    items = load_items(str(example.root / "benchmarks" / f"{skill}.jsonl"))
    assert [item.item_id for item in items] == [item["task_id"] for item in committed(example, skill)]
    assert {item.labels["seen"] for item in items} == {"True", "False"} or {item.labels["seen"] for item in items} == {
        "true",
        "false",
    }


@pytest.mark.parametrize("skill", ["math", "instruction"])
def test_the_adapters_were_trained_on_this_data(
    example: SimpleNamespace, training: dict[str, list[Item]], skill: str
) -> None:
    digest = hashlib.sha256(example.build.to_lines(training[skill]).encode()).hexdigest()
    assert digest == read(example, "decontamination.json")["training"][skill]["sha256"]
    assert digest == read(example, f"adapters/{skill}/training.json")["data_sha256"]


def test_the_code_adapter_was_trained_on_the_reported_data(example: SimpleNamespace) -> None:
    report = read(example, "decontamination.json")
    assert report["training"]["code"]["sha256"] == read(example, "adapters/code/training.json")["data_sha256"]
    assert report["library"]
    assert {source["licence"] for source in report["library"]} <= {"MIT", "BSD-3-Clause"}


@pytest.mark.skipif(not SHARED.is_dir(), reason="the public benchmarks are not beside this checkout")
def test_public_benchmarks_are_kept_out(example: SimpleNamespace, training: dict[str, list[Item]]) -> None:
    index = example.decontaminate.public_index(SHARED)
    report = read(example, "decontamination.json")
    assert index.sources == report["public"]
    for skill in SKILLS:
        kept, _ = example.decontaminate.cleaned(training[skill], index)
        library = sum(len(source["functions"]) for source in report["library"]) if skill == "code" else 0
        assert len(kept) + library == report["training"][skill]["kept"]
    rows = gzip.decompress((SHARED / "gsm8k-test.jsonl.gz").read_bytes()).splitlines()
    texts = [json.loads(row)["question"] for row in rows]
    assert all(index.why({"prompt": text, "solution": "1"}) for text in texts)


def test_the_check_finds_what_is_planted(example: SimpleNamespace, tmp_path: Path) -> None:
    row = {
        "entry_point": "has_close",
        "prompt": "one two three four five six seven eight nine ten eleven",
        "answer": "Yes!",
    }
    file = tmp_path / "public.jsonl.gz"
    file.write_bytes(gzip.compress(json.dumps(row).encode()))
    index = example.decontaminate.Index()
    index.add("public", file, ("prompt", "answer"))
    plant = {"prompt": "new", "solution": "new", "entry_point": "mine"}
    assert index.why(plant) is None
    assert index.why(plant | {"entry_point": "has_close"}) == "name"
    assert index.why(plant | {"solution": " yes !"}) == "exact"
    assert index.why(plant | {"prompt": "zero ONE two  three four five six seven eight nine ten."}) == "10-gram"
    assert index.why(plant | {"prompt": "one two three four five six seven eight nine"}) is None


def test_adapters_are_small_plain_and_in_bf16(example: SimpleNamespace) -> None:
    files = sorted((example.root / "adapters").glob("*/adapter_model.safetensors"))
    assert [file.parent.name for file in files] == sorted(SKILLS)
    assert sum(file.stat().st_size for file in files) <= 20_000_000
    modules = [f"self_attn.{name}_proj" for name in "qkvo"] + [f"mlp.{name}_proj" for name in ("gate", "up", "down")]
    wanted = {
        f"base_model.model.model.layers.{layer}.{module}.lora_{side}.weight"
        for layer in range(30)
        for module in modules
        for side in "AB"
    }
    for file in files:
        config = json.loads((file.parent / "adapter_config.json").read_text())
        assert config["base_model_name_or_path"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
        with safe_open(file, framework="pt") as opened:
            assert set(opened.keys()) == wanted
            assert {opened.get_slice(name).get_dtype() for name in opened.keys()} == {"BF16"}  # noqa: SIM118


def test_every_expert_beats_the_base_and_none_is_best_at_all(example: SimpleNamespace) -> None:
    result = read(example, "scores.json")
    for skill in SKILLS:
        gain, scores = result["gain"][skill], result["scores"]
        assert gain["interval"][0] > 0.1
        assert scores[f"{skill} expert"][skill]["all"]["interval"][0] > scores["base"][skill]["all"]["interval"][1]
        best = max(SKILLS, key=lambda other: float(scores[f"{other} expert"][skill]["all"]["score"]))
        assert best == skill


def test_some_merge_beats_every_expert_on_the_mean(example: SimpleNamespace) -> None:
    scores = read(example, "scores.json")["scores"]
    means = {name: sum(found[skill]["confirm"]["score"] for skill in SKILLS) / 3 for name, found in scores.items()}
    experts = max(mean for name, mean in means.items() if name.endswith("expert"))
    assert max(means[name] for name in example.scores.MERGES) > experts + 0.1


def test_scores_count_the_committed_items(example: SimpleNamespace) -> None:
    for skill in SKILLS:
        sizes = Counter(item["split"] for item in committed(example, skill))
        for found in read(example, "scores.json")["scores"].values():
            assert {name: found[skill][name]["of"] for name in sizes} == sizes
            assert sum(found[skill][name]["passed"] for name in sizes) == found[skill]["all"]["passed"]


def test_cards_say_what_the_scores_say(example: SimpleNamespace) -> None:
    for file, text in example.cards.cards().items():
        assert file.read_text(encoding="utf-8") == text


def test_the_kept_recipe_is_the_one_that_trained_the_adapters(example: SimpleNamespace) -> None:
    found = read(example, "variants.json")
    judged = {name: variant["judged by"] for name, variant in found["variants"].items()}
    assert found["kept"] == max(judged, key=lambda name: float(judged[name]))
    for skill in SKILLS:
        assert read(example, f"adapters/{skill}/training.json")["recipe"] == found["variants"][found["kept"]]["recipe"]


def test_wilson_interval(example: SimpleNamespace) -> None:
    low, high = example.grading.wilson(8, 10)
    assert (round(low, 4), round(high, 4)) == (0.4902, 0.9433)
    assert example.grading.wilson(0, 0) == (0.0, 1.0)
