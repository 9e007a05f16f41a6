import pytest
import torch
from scipy.stats import chisquare
from transformers import TopPLogitsWarper

from worker.generate import sampling
from worker.generate.draw_rows import DrawRows
from worker.generate.noise import gumbel
from worker.generate.sampling import draw_tokens


def rows_of(count: int, temperature: float, top_p: float, seed: int = 0) -> DrawRows:
    return DrawRows(
        torch.full((count,), temperature), torch.full((count,), top_p), torch.arange(count) + seed * 1_000_003,
        torch.zeros(count, dtype=torch.int64),
    )  # fmt: skip


def nucleus(logits: torch.Tensor, temperature: float, top_p: float) -> torch.Tensor:
    """Return the library's distribution after temperature and top-p."""
    scaled = logits[None] / temperature
    return TopPLogitsWarper(top_p)(None, scaled).softmax(-1)[0]


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 0.9), (0.2, 0.95), (1.3, 1.0), (0.7, 0.5)])
@pytest.mark.parametrize("way", ["threshold", "top", "everything"])
def test_draws_follow_the_librarys_distribution(
    temperature: float, top_p: float, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way != "threshold":
        monkeypatch.setattr(sampling, "MAX_SPARSE", 0)
    monkeypatch.setattr(sampling, "TOP_CANDIDATES", {"top": 12, "everything": 1, "threshold": 12}[way])
    logits = torch.randn(40, generator=torch.Generator().manual_seed(3)) * 2
    count = 20_000
    drawn = draw_tokens(logits.expand(count, -1), rows_of(count, temperature, top_p), sampled=True)
    expected = nucleus(logits, temperature, top_p)
    seen = torch.bincount(drawn, minlength=40).double()
    assert not seen[expected == 0].any()
    kept = expected * count >= 5
    rest = float((expected[~kept]).sum() * count)
    observed = [*seen[kept].tolist(), seen[~kept].sum().item()] if rest > 1 else seen[kept].tolist()
    wanted = (
        [*(expected[kept].double() * count).tolist(), rest] if rest > 1 else (expected[kept].double() * count).tolist()
    )
    scale = sum(observed) / sum(wanted)
    if len(observed) > 1:
        assert chisquare(observed, [w * scale for w in wanted]).pvalue > 1e-4


def test_all_ways_draw_the_same_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn((300, 500), generator=torch.Generator().manual_seed(0)) * 3
    rows = rows_of(300, 0.8, 0.95)
    sparse = draw_tokens(logits, rows, sampled=True)
    monkeypatch.setattr(sampling, "MAX_SPARSE", 0)
    top = draw_tokens(logits, rows, sampled=True)
    monkeypatch.setattr(sampling, "TOP_CANDIDATES", 2)
    assert torch.equal(sparse, top)
    assert torch.equal(sparse, draw_tokens(logits, rows, sampled=True))


def test_greedy_rows_among_sampled_ones() -> None:
    logits = torch.randn((50, 200), generator=torch.Generator().manual_seed(0))
    rows = rows_of(50, 1.0, 0.9)
    rows.temperature[::2] = 0.0
    drawn = draw_tokens(logits, rows, sampled=True)
    assert torch.equal(drawn[::2], logits.argmax(-1)[::2])
    assert not torch.equal(drawn[1::2], logits.argmax(-1)[1::2])


def test_noise_is_standard_gumbel_and_differs_by_every_counter() -> None:
    seeds, steps = torch.arange(200), torch.zeros(200, dtype=torch.int64)
    ids = torch.arange(500).expand(200, -1)
    noise = gumbel(seeds, steps, ids)
    assert noise.mean().item() == pytest.approx(0.5772, abs=0.02)
    assert noise.var().item() == pytest.approx(1.6449, abs=0.05)
    assert torch.isfinite(noise).all()
    assert torch.equal(noise, gumbel(seeds, steps, ids))
    assert not torch.isclose(noise, gumbel(seeds, steps + 1, ids)).float().mean() > 0.01
    assert torch.corrcoef(torch.stack([noise[0], noise[1]]))[0, 1].abs() < 0.2
