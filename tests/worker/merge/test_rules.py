"""Rules against their formulas in float64, and the properties every sensible rule has."""

from typing import Any

import numpy as np
import pytest
import torch

from worker.merge.kernels import quantization
from worker.merge.kernels.quantization import dequantize, quantize
from worker.merge.kernels.random_mask import keep_mask, mix_seed
from worker.merge.kernels.select import exact_threshold, sampled_threshold
from worker.merge.kernels.spectral import factors, spectrum
from worker.merge.methods import ra_dare, ra_hi, ra_lori, ra_star, ra_ties, ra_tvq, task_arithmetic, ties
from worker.merge.methods.ra_camex import camex
from worker.merge.methods.ra_df import fisher_merge
from worker.merge.methods.ra_metagpt import squared_norm
from worker.merge.methods.ra_regmean import RegMeanSettings, regmean
from worker.merge.methods.ra_sens import scaling
from worker.merge.registry import OWN, method

SHAPE = (24, 20)


def tensors(count: int = 3, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, list[torch.Tensor]]:
    generator = torch.Generator().manual_seed(11)
    base = torch.randn(SHAPE, generator=generator, dtype=torch.float64)
    experts = [
        base + 0.1 * (i + 1) * torch.randn(SHAPE, generator=generator, dtype=torch.float64) for i in range(count)
    ]
    return base.to(dtype), [x.to(dtype) for x in experts]


def grams(count: int = 3) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    inputs = [torch.randn(64, SHAPE[1], generator=generator, dtype=torch.float64) for _ in range(count)]
    return {f"gram{i}": x.T @ x for i, x in enumerate(inputs)}


def test_task_arithmetic_formula() -> None:
    base, experts = tensors()
    got = method("task_arithmetic").compute(base, experts, weight=(0.3, 0.4, -0.2), scale=0.5, normalize=False)
    want = base + 0.5 * sum(w * (x - base) for w, x in zip((0.3, 0.4, -0.2), experts, strict=True))
    torch.testing.assert_close(got, want)


def test_linear_formula() -> None:
    _, experts = tensors()
    got = method("linear").compute(None, experts, weight=(1.0, 2.0, 1.0), normalize=True)
    torch.testing.assert_close(got, (experts[0] + 2 * experts[1] + experts[2]) / 4)


def reference_ties(base: Any, experts: list[Any], masks: list[Any], weight: tuple[float, ...], *, mean: bool) -> Any:
    deltas = np.stack([w * m * (x - base) for w, m, x in zip(weight, masks, experts, strict=True)])
    sign = np.where(deltas.sum(0) >= 0, 1, -1)
    agree = np.sign(deltas) == sign
    total = (deltas * agree).sum(0)
    if not mean:
        return base + total
    divisor = (np.asarray(weight)[:, None, None] * agree).sum(0)
    return base + total / np.where(divisor == 0, 1, divisor)


@pytest.mark.parametrize("mean", [True, False])
def test_ties_per_tensor_formula(mean: bool) -> None:
    base, experts = tensors()
    weight, density = (1.0, 0.5, 2.0), 0.3
    got = method("ties").compute(
        base, experts, weight=weight, density=(density,) * 3, scale=1.0, normalize=mean
    )  # fmt: skip
    b, xs = base.numpy(), [x.numpy() for x in experts]
    keep = int(density * b.size)
    masks = [np.abs(x - b) >= np.sort(np.abs(x - b).ravel())[-keep] for x in xs]
    np.testing.assert_allclose(got.numpy(), reference_ties(b, xs, masks, weight, mean=mean), atol=1e-12)


def test_ties_over_the_whole_vector_is_not_ties_per_tensor() -> None:
    base, experts = tensors(dtype=torch.float32)
    small = [base + 0.01 * (x - base) for x in experts]
    density = 0.5
    for pair, kept in ((experts, 1.0), (small, 0.0)):
        found = exact_threshold(lambda i=0: iter([(base, experts[i]), (base, small[i])]), base.numel())
        settings = ra_ties.TiesSettings((1.0,), (density,), (found.value,))
        out = torch.empty_like(base)
        ra_ties.ra_ties_into(out, base, pair[:1], settings)
        changed = (out != base).double().mean().item()
        assert abs(changed - kept) < 0.1
    per_tensor = torch.empty_like(base)
    ties.ties_into(per_tensor, base, small[:1], ties.TiesSettings((1.0,), (density,)))
    assert abs((per_tensor != base).double().mean().item() - density) < 0.01


@pytest.mark.parametrize("keep", [1, 7, 240, 480])
def test_exact_threshold_is_the_kth_magnitude(keep: int) -> None:
    base, experts = tensors(dtype=torch.bfloat16)
    found = exact_threshold(lambda: iter([(base, experts[0])]), keep)
    magnitude = (experts[0].float() - base.float()).abs().flatten().sort(descending=True).values
    assert found.value == magnitude[keep - 1].item()
    assert int((magnitude > found.value).sum()) + found.ties == keep
    assert found.ambiguous == (int((magnitude >= found.value).sum()) > keep)


def test_sampled_threshold_is_close() -> None:
    generator = torch.Generator().manual_seed(1)
    base, expert = torch.zeros(400_000), torch.randn(400_000, generator=generator)
    found = sampled_threshold(lambda: iter([(base, expert)]), 0.2, base.numel())
    assert abs((expert.abs() >= found.value).double().mean().item() - 0.2) < 0.005


def test_dare_rescales_by_one_over_density_and_not_to_the_l1_norm() -> None:
    base, experts = tensors(1)
    density, seed = 0.25, 3
    got = method("ra_dare_linear").compute(base, experts, weight=(1.0,), density=(density,), scale=1.0, seed=seed)
    mask = keep_mask(base, density, mix_seed(seed, 0))
    torch.testing.assert_close(got, base + mask * (experts[0] - base) / density)
    theirs = method("dare_linear").compute(base, experts, weight=(1.0,), density=(density,), rescale=True)
    assert (theirs - base).abs().sum().item() == pytest.approx((experts[0] - base).abs().sum().item(), rel=1e-6)
    assert (got - base).abs().sum().item() != pytest.approx((experts[0] - base).abs().sum().item(), rel=1e-4)


def test_dare_ties_formula() -> None:
    base, experts = tensors()
    got = method("ra_dare_ties").compute(base, experts, weight=(0.4,) * 3, density=(0.5,) * 3, scale=0.7, seed=1)
    masks = [keep_mask(base, 0.5, mix_seed(1, i)).numpy() / 0.5 for i in range(3)]
    b, xs = base.numpy(), [x.numpy() for x in experts]
    np.testing.assert_allclose(
        got.numpy(), b + 0.7 * (reference_ties(b, xs, masks, (0.4,) * 3, mean=False) - b), atol=1e-12
    )  # fmt: skip


def test_star_formula() -> None:
    base, experts = tensors()
    got = method("ra_star").compute(base, experts, eta=40.0, scale=1.0)
    total = np.zeros(SHAPE)
    for x in experts:
        u, s, v = np.linalg.svd((x - base).numpy(), full_matrices=False)
        rank = int(np.searchsorted(np.cumsum(s), 0.4 * s.sum())) + 1
        total += (u[:, :rank] * (s[:rank] * s.sum() / s[:rank].sum())) @ v[:rank]
    np.testing.assert_allclose((got - base).numpy(), total / 3, atol=1e-9)


@pytest.mark.parametrize("shape", [(24, 20), (20, 24)])
def test_spectral_factors_rebuild_the_matrix(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    u, s, v = factors(matrix, 20)
    torch.testing.assert_close((u * s) @ v.T, matrix)
    torch.testing.assert_close(spectrum(matrix).values, torch.linalg.svdvals(matrix))


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("grouped", [True, False])
def test_quantization_error_is_bounded(bits: int, grouped: bool) -> None:
    values = torch.randn(9001, generator=torch.Generator().manual_seed(4))
    packed = quantize(values, bits, grouped=grouped)
    error = (dequantize(packed) - values).abs().max()
    assert error <= (values.max() - values.min()) / (2 * (2**bits - 1)) * 1.001
    assert packed.codes.nbytes <= len(values) * {2: 0.25, 4: 0.5}.get(bits, 1) + 4096


@pytest.mark.parametrize("grouped", [True, False])
def test_a_delta_is_added_chunk_by_chunk_as_in_one(grouped: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantization, "_CHUNK", 2 * quantization.GROUP)
    generator = torch.Generator().manual_seed(5)
    base = torch.randn(3, 9001, generator=generator).bfloat16()
    packed = quantize(torch.randn(base.shape, generator=generator), 4, grouped=grouped)
    out = torch.full_like(base, torch.nan)
    quantization.add_dequantized(out, base, packed)
    assert torch.equal(out, (base.float() + dequantize(packed)).bfloat16())


def test_residual_quantization_beats_plain_at_the_same_width() -> None:
    base, experts = tensors()
    common = torch.randn(SHAPE, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    experts = [x + common for x in experts]
    want = method("task_arithmetic").compute(base, experts, weight=(0.4,) * 3, scale=1.0, normalize=False)
    plain = ra_tvq.tvq(base, experts, weight=(0.4,) * 3, bits=2)
    residual = ra_tvq.rtvq(base, experts, weight=(0.4,) * 3, base_bits=3, offset_bits=2)
    assert (residual - want).norm() < (plain - want).norm()


def test_regmean_formula() -> None:
    base, experts = tensors()
    statistics = grams()
    got = regmean(base, experts, RegMeanSettings(statistics, alpha=0.9, ridge=0.0))
    shrunk = [0.9 * g + 0.1 * torch.diag(g.diagonal()) for g in statistics.values()]
    want = torch.linalg.solve(sum(shrunk), sum(g @ x.T for g, x in zip(shrunk, experts, strict=True))).T
    torch.testing.assert_close(got, want)


def test_camex_with_equal_weights_is_regmean_of_normalized_grams() -> None:
    base, experts = tensors()
    statistics = {k: g / g.diagonal().mean() for k, g in grams().items()}
    got = camex(base, experts, statistics=statistics, weight=(1 / 3,) * 3, ridge=0.0)
    torch.testing.assert_close(got, regmean(base, experts, RegMeanSettings(statistics, alpha=1.0, ridge=0.0)))


def test_fisher_merge_formula() -> None:
    base, experts = tensors(2)
    fishers = {f"fisher{i}": (x - base).square() + 0.1 for i, x in enumerate(experts)}
    got = fisher_merge(base, experts, statistics=fishers, weight=(0.5, 0.2))
    f0, f1 = fishers.values()
    want = base + 2 * (f0 * 0.5 * (experts[0] - base) + f1 * 0.2 * (experts[1] - base)) / (f0 + f1)
    torch.testing.assert_close(got, want)


def test_metagpt_norm_and_sens_scaling() -> None:
    base, experts = tensors()
    assert squared_norm(base, experts[1]) == pytest.approx(float((experts[1] - base).square().sum()))
    flat = scaling(torch.ones(3, 5), torch.ones(3), 2.0)
    torch.testing.assert_close(flat, torch.ones(3, 5))
    leaning = scaling(torch.tensor([[3.0, 0.0], [0.0, 3.0]]), torch.ones(2), 0.5)
    assert leaning[0, 0] > 1 > leaning[0, 1]


def test_hi_merging_settles_conflicts() -> None:
    assert ra_hi.settle({"a": 1.0, "b": 2.0}) == {"a": 1.0, "b": 1.0}
    assert ra_hi.settle({"a": -1.0, "b": 2.0}) == {"a": 0.5, "b": 1.0}
    assert ra_hi.settle({"a": -1.0, "b": -2.0}) == {"a": 1.0, "b": 0.0}


def test_lori_keeps_a_tenth_of_b_and_lies_in_the_shared_space() -> None:
    base, experts = tensors(1)
    got = ra_lori.lori(base, experts, ra_lori.LoriSettings((1.0,), rank=6, sparsity=0.9, seed=2))
    assert torch.linalg.matrix_rank(got - base) <= 6


ONE_EXPERT = {
    "task_arithmetic": {"weight": (1.0,), "scale": 1.0, "normalize": False},
    "ties": {"weight": (1.0,), "density": (1.0,), "scale": 1.0, "normalize": True},
    "ra_ties": {"weight": (1.0,), "density": (1.0,), "threshold": (0.0,)},
    "ra_dare_linear": {"weight": (1.0,), "density": (1.0,)},
    "ra_dare_ties": {"weight": (1.0,), "density": (1.0,)},
    "ra_star": {"eta": 100.0, "scale": 1.0},
    "ra_regmean": {"statistics": grams(1)},
    "ra_camex": {"statistics": grams(1), "weight": (1.0,), "ridge": 0.0},
    "ra_df": {"statistics": {}, "weight": (1.0,)},
    "ra_tvq": {"weight": (1.0,), "bits": 8},
}


@pytest.mark.parametrize("name", ONE_EXPERT)
def test_one_expert_with_weight_one_is_that_expert(name: str) -> None:
    base, experts = tensors(1)
    got = OWN[name].compute(base, experts, **ONE_EXPERT[name])
    torch.testing.assert_close(got, experts[0], atol=3e-3 if name == "ra_tvq" else 1e-5, rtol=0)


@pytest.mark.parametrize("name", sorted(set(ONE_EXPERT) - {"ra_tvq"}))
def test_equal_experts_are_a_fixed_point_and_order_is_irrelevant(name: str) -> None:
    base, experts = tensors(2)
    third = 1 / 2 if name in {"task_arithmetic", "ra_dare_linear", "ra_camex", "ra_dare_ties", "ra_df"} else 1.0
    parameters = {k: v * 2 if isinstance(v, tuple) else v for k, v in ONE_EXPERT[name].items()}
    if "weight" in parameters:
        parameters["weight"] = (third, third)
    gram = grams(1)["gram0"]
    if parameters.get("statistics"):
        parameters["statistics"] = {"gram0": gram, "gram1": gram}
    same = OWN[name].compute(base, [experts[0], experts[0].clone()], **parameters)
    torch.testing.assert_close(same, experts[0], atol=1e-5, rtol=0)
    there = OWN[name].compute(base, experts, **parameters)
    back = OWN[name].compute(base, experts[::-1], **parameters)
    torch.testing.assert_close(there, back)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_zero_weights_leave_the_base_bit_for_bit(dtype: torch.dtype) -> None:
    base, experts = tensors(dtype=dtype)
    for name in ("task_arithmetic", "ties", "ra_ties", "ra_dare_linear", "ra_dare_ties"):
        extra = {k: v * 3 for k, v in ONE_EXPERT[name].items() if isinstance(v, tuple)}
        shared = {k: v for k, v in ONE_EXPERT[name].items() if not isinstance(v, tuple)}
        out = torch.empty_like(base)
        OWN[name].write(out, base, experts, **(shared | extra | {"weight": (0.0,) * 3}))
        assert torch.equal(out, base)
    out = torch.empty_like(base)
    task_arithmetic.task_arithmetic_into(out, base, experts, (0.0, 0.0, 0.0))
    assert torch.equal(out, base)


def test_dare_masks_depend_on_seed_and_expert_only() -> None:
    base, experts = tensors()
    first = ra_dare.dare_masks(base, experts, (0.5,) * 3, seed=1)
    again = ra_dare.dare_masks(base, experts, (0.5,) * 3, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], ra_dare.dare_masks(base, experts, (0.5,) * 3, seed=2)[0])


def test_star_keeps_everything_at_full_nuclear_norm() -> None:
    delta = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(ra_star.truncate(delta, 100.0), delta)
    assert torch.equal(ra_star.truncate(torch.zeros(4, 4), 40.0), torch.zeros(4, 4))
