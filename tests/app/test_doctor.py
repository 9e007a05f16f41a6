"""The doctor looks at this machine and at what a SoW needs."""

import json
import struct
from pathlib import Path

import pytest

from app.doctor import Check, Finding, examine, program_output
from app.doctor_sow import count_parameters, examine_sow
from core.settings import Settings
from core.sow_reader import validate_sow
from core.types.sow import StatementOfWork

NOWHERE = "http://127.0.0.1:9"


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {c.name: c for c in checks}


async def test_this_machine(database_url: str, tmp_path: Path) -> None:
    settings = Settings(
        state_dir=tmp_path / "deep" / "state", database_url=database_url, deepseek_api_key="sk-secret",
        deepseek_base_url=NOWHERE, arxiv_url=NOWHERE, semantic_scholar_url=NOWHERE, openalex_url=NOWHERE,
        github_url=NOWHERE, hub_url="not a url",
    )  # fmt: skip
    checks = by_name(await examine(settings))
    assert checks["PostgreSQL"].detail == "DATABASE_URL answers"
    assert checks["deepseek_api_key"].detail == "set"
    assert "secret" not in json.dumps([c.model_dump(mode="json") for c in checks.values()])
    assert "out of reach" in checks["arxiv_url"].detail
    assert checks["hub_url"].finding is Finding.NOTE
    assert checks["bubblewrap"].finding is Finding.OK
    assert "GB free" in checks["disk"].detail


async def test_a_database_that_is_away(tmp_path: Path) -> None:
    sources = {f"{n}_url": NOWHERE for n in ("deepseek_base", "arxiv", "semantic_scholar", "openalex", "github", "hub")}
    settings = Settings(state_dir=tmp_path, database_url="postgresql://nobody@127.0.0.1:9/none", **sources)
    check = by_name(await examine(settings))["PostgreSQL"]
    assert check.finding is Finding.MISSING
    assert check.fix is not None


@pytest.mark.parametrize("command", [["no-such-program"], ["false"]])
def test_a_program_that_fails_says_nothing(command: list[str]) -> None:
    assert program_output(command) is None


def weights(folder: Path, shapes: dict[str, list[int]]) -> None:
    """Write a safetensors file with a header only: nothing reads further."""
    folder.mkdir(parents=True, exist_ok=True)
    header = {n: {"dtype": "BF16", "shape": s, "data_offsets": [0, 0]} for n, s in shapes.items()}
    data = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(data)) + data)


def sow(**models: object) -> StatementOfWork:
    return validate_sow(
        {
            "sow": 1,
            "title": "abc",
            "models": {
                "base": {"name": "base", "model": "./base", "licence": "MIT"},
                "experts": [{"name": "code", "model": "package:no-such-package", "licence": "odd"}],
                **models,
            },
            "benchmarks": [
                {"name": "here", "dataset": "data.jsonl"},
                {"name": "gone", "dataset": "./gone.jsonl"},
                {"name": "hub", "dataset": "org/name"},
            ],
            "optimization": {"trials": 0},
        }
    )


def test_what_a_sow_lacks_here(tmp_path: Path) -> None:
    weights(tmp_path / "base", {"a": [1000, 1000], "b": [10]})
    (tmp_path / "data.jsonl").write_text("{}")
    settings = Settings(state_dir=tmp_path)
    models = sow().models
    assert models is not None
    # Intake would refuse it: the doctor says so of a SoW that was valid when it was written.
    strict = sow().evolve(models=models.evolve(allowed_licences=("MIT",)))
    checks = by_name(examine_sow(strict, tmp_path, settings))
    assert checks["model base"].finding is Finding.OK
    assert "1 M parameters" in checks["model base"].detail
    assert checks["model code"].finding is Finding.MISSING
    assert checks["licence base"].finding is Finding.OK
    assert checks["licence code"].finding is Finding.MISSING
    assert checks["data here"].finding is Finding.OK
    assert checks["data gone"].finding is Finding.MISSING
    assert checks["data hub"].finding is Finding.NOTE
    assert checks["needs"].finding is Finding.OK


def test_models_that_are_too_large(tmp_path: Path) -> None:
    weights(tmp_path / "base", {"a": [10**6, 10**6]})
    settings = Settings(state_dir=tmp_path)
    assert by_name(examine_sow(sow(), tmp_path, settings))["needs"].finding is Finding.MISSING
    limited = by_name(examine_sow(sow(max_parameters=10), tmp_path, settings))["needs"]
    assert "the SoW allows 10" in limited.detail


@pytest.mark.parametrize("content", [b"", b"\xff" * 20, struct.pack("<Q", 5) + b"nope!"])
def test_broken_weights_are_not_counted(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    assert count_parameters(tmp_path) is None
