"""What `sorted_between` keeps is what torch's own sort keeps, ties and all."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.merge.kernels import sort_order
from worker.merge.kernels.sort_order import sorted_between, sorted_rows

LONG = sort_order._WORTH + 1000


def by_sorting(values: torch.Tensor, start: int, stop: int, *, descending: bool) -> torch.Tensor:
    mask = torch.zeros(len(values), dtype=torch.bool)
    mask[torch.sort(values, descending=descending).indices[start:stop]] = True
    return mask


def magnitudes(kind: str, count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    noise, place = torch.randn(count, generator=generator), torch.arange(count)
    base = noise.mul(0.02).bfloat16()
    expert = (base.float() + 0.002 * torch.randn(count, generator=generator)).bfloat16()
    made = {
        "half precision": expert.float() - base.float(),
        "few values": torch.randint(7, (count,), generator=generator).float(),
        "one value": torch.full((count,), 0.25),
        "ascending": place.float(),
        "organ pipe": place.sub(count // 2).float(),
        "mostly zero": noise * (torch.rand(count, generator=generator) < 0.02),
        "huge": noise * 1e38,
    }
    return made[kind].abs()


KINDS = ["half precision", "few values", "one value", "ascending", "organ pipe", "mostly zero", "huge"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("count", [LONG, 3 * sort_order._BLOCK + 17])
def test_the_mask_is_the_sorts_own(kind: str, descending: bool, count: int) -> None:
    values = magnitudes(kind, count, seed=1)
    for start, stop in ((0, 1), (0, count // 5), (count // 20, count // 2), (count - 3, count), (7, 7), (0, count)):
        expected = by_sorting(values, start, stop, descending=descending)
        assert torch.equal(
            sorted_between(values.__getitem__, len(values), (start, stop), descending=descending), expected
        )


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_the_length_and_the_ties(data: st.DataObject) -> None:
    count = data.draw(st.integers(0, 2000))
    values = magnitudes(data.draw(st.sampled_from(KINDS)), count, data.draw(st.integers(0, 99)))
    start = data.draw(st.integers(0, count))
    stop = data.draw(st.integers(start, count))
    descending = data.draw(st.booleans())
    packed = sort_order._packed(values.__getitem__, count, descending=descending)  # short ones are sorted otherwise
    if sort_order._partition_around(packed, (start, stop)):
        found = sort_order._mask(packed, (start, stop))
        assert torch.equal(found, by_sorting(values, start, stop, descending=descending))


def test_torch_sorts_as_assumed_here() -> None:
    assert sort_order._sorts_as_expected(), "torch sorts otherwise: the emulation is not used and merges are slow"


def test_a_torch_that_sorts_otherwise_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sort_order, "_sorts_as_expected", lambda: False)
    monkeypatch.setattr(sort_order, "_packed", lambda *_, **__: pytest.fail("emulated"))
    values = magnitudes("few values", LONG, 0)
    assert torch.equal(
        sorted_between(values.__getitem__, len(values), (5, 900)), by_sorting(values, 5, 900, descending=False)
    )


def test_the_check_tells_another_order(monkeypatch: pytest.MonkeyPatch) -> None:
    stable = torch.Tensor.sort
    monkeypatch.setattr(torch, "sort", lambda x, descending: stable(x, descending=descending, stable=True))
    assert not sort_order._sorts_as_expected.__wrapped__()


def test_deep_partitions_end_in_torchs_own_sort(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sort_order, "_partition", lambda packed, first, last: last - 1)  # as bad as can be
    values = magnitudes("half precision", LONG, 2)
    assert torch.equal(
        sorted_between(values.__getitem__, len(values), (0, 40)), by_sorting(values, 0, 40, descending=False)
    )


def test_rows_are_ordered_as_argsort_orders_them() -> None:
    values = magnitudes("few values", 64 * 640, 3).view(64, 640)
    assert torch.equal(sorted_rows(values), torch.argsort(values, dim=1))
