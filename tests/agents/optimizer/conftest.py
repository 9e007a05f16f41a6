"""What the optimizer's tests share: one small space."""

import pytest

from agents.optimizer.space import SearchSpace
from tests.fakes.surface_jobs import MODELS


@pytest.fixture
def space() -> SearchSpace:
    """Give a space with one weight an expert."""
    return SearchSpace(MODELS)
