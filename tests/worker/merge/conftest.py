"""Session-wide checkpoints for the merging tests."""

from pathlib import Path

import pytest
import torch

from tests.worker.merge.models import write_models


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def llama_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("llama"), "llama")


@pytest.fixture(scope="session")
def gemma_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("gemma2"), "gemma2")


@pytest.fixture(scope="session")
def llama32_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("llama32"), "llama", torch.float32)


@pytest.fixture(params=["llama", "gemma2"])
def models_dir(request: pytest.FixtureRequest, llama_dir: Path, gemma_dir: Path) -> Path:
    return llama_dir if request.param == "llama" else gemma_dir
