"""The CPU's own forms of mergekit's rules on tensors of several chunks, against mergekit's code in fp32 and fp64."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from mergekit.merge_methods import TensorGroup, get

from worker.merge.cpu_rules.consensus import variance
from worker.merge.cpu_rules.sparsified import Sparsified, dare_masks
from worker.merge.cpu_rules.spherical import karcher_coefficients, model_stock_into, multislerp_into, nuslerp_into
from worker.merge.cpu_rules.table import CPU_RULES
from worker.merge.registry import method

Tensor = torch.Tensor
LONG = (1100, 300)  # three chunks
SHARED: dict[str, dict[str, Any]] = {
    "slerp": {"t": 0.3}, "nuslerp": {}, "multislerp": {}, "karcher": {}, "sce": {"select_topk": 0.3}, "ram": {},
    "model_stock": {}, "nearswap": {"t": 1e-3}, "arcee_fusion": {},
}  # fmt: skip
# Equal to the bit on tensors of any length; elsewhere a sum over chunks may round otherwise than one over the whole.
TO_THE_BIT = {"slerp", "ram", "nearswap", "breadcrumbs", "breadcrumbs_ties", "arcee_fusion"}
# mergekit's fp32 passes lose a few digits here, which these rules keep: see the test against fp64.
MOST_UNEQUAL = {"multislerp": 5e-3, "karcher": 5e-3}


def models(count: int, shape: tuple[int, int] = LONG) -> tuple[Tensor, list[Tensor]]:
    generator = torch.Generator().manual_seed(3)
    base = torch.randn(shape, generator=generator) * 0.02
    experts = [base + torch.randn(shape, generator=generator) * 0.001 * (i + 2) for i in range(count)]
    return base.bfloat16(), [x.bfloat16() for x in experts]


def settings(name: str, count: int) -> dict[str, Any]:
    found = dict(SHARED.get(name, {}))
    if name in {"nuslerp", "multislerp"} or name not in SHARED:
        found["weight"] = [0.4, 0.7, -0.3][:count]
    if name not in SHARED:
        found |= {"density": [0.6, 0.4, 0.8][:count], "lambda": 0.9}
    return found


def inputs_of(name: str) -> int:
    return {"slerp": 1, "nearswap": 1, "arcee_fusion": 1, "nuslerp": 2}.get(name, 3)


def mergekits(name: str, base: Tensor, experts: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    torch.manual_seed(5)
    group = TensorGroup.from_tensors([*experts, base], base_index=None if name == "karcher" else len(experts))
    return get(name)((group,), parameters=settings(name, len(experts)), dtype=dtype)[0]


def ours(name: str, base: Tensor, experts: Sequence[Tensor], out: Tensor) -> Tensor:
    torch.manual_seed(5)
    values = {"scale" if k == "lambda" else k: v for k, v in settings(name, len(experts)).items()}
    declared = {p.argument: p.default for p in method(name).parameters if p.default is not None}
    for parameter in method(name).parameters:
        if parameter.scope == "expert" and parameter.argument not in values:
            values[parameter.argument] = [parameter.default] * len(experts)
    if name == "karcher":
        method(name).write(out, None, [*experts, base], **{**declared, **values})
    else:
        method(name).write(out, base, experts, **{**declared, **values})
    return out


@pytest.mark.parametrize("name", CPU_RULES)
def test_long_tensors_are_mergekits(name: str) -> None:
    base, experts = models(inputs_of(name))
    got = ours(name, base, experts, torch.empty_like(base))
    want = mergekits(name, base, experts, torch.float32).bfloat16()
    assert not torch.equal(got, base)
    if name in TO_THE_BIT:
        torch.testing.assert_close(got, want, rtol=0, atol=0)
    torch.testing.assert_close(got, want, rtol=2**-7, atol=1e-6)  # one step of bf16
    assert float((got != want).double().mean()) < MOST_UNEQUAL.get(name, 1e-4)


# Not slerp, which repeats mergekit's fp32 to the bit, nor those whose selection among near-equals (signs of sums,
# quartiles, variances) turns on the rounding itself.
@pytest.mark.parametrize(
    "name", ["nuslerp", "multislerp", "karcher", "ram", "model_stock", "nearswap", "dare_linear", "breadcrumbs"]
)
def test_long_tensors_against_float64(name: str) -> None:
    base, experts = models(inputs_of(name))
    got = ours(name, base, experts, torch.empty(LONG)).double()
    want = mergekits(name, base, experts, torch.float64)
    torch.testing.assert_close(got, want, rtol=2e-6, atol=5e-9)
    if name in MOST_UNEQUAL:
        theirs = mergekits(name, base, experts, torch.float32).double()
        assert float((got - want).norm()) < 0.5 * float((theirs - want).norm())


def test_arcee_fusion_draws_mergekits_sample() -> None:
    base, experts = models(1, (1200, 900))
    got = ours("arcee_fusion", base, experts, torch.empty_like(base))
    torch.testing.assert_close(got, mergekits("arcee_fusion", base, experts, torch.float32).bfloat16(), rtol=0, atol=0)


def test_variance_is_torchs() -> None:
    base, experts = models(3)
    rows = torch.stack([(x.float() - base.float()).reshape(-1) for x in experts])
    torch.testing.assert_close(variance(rows), torch.var(rows, dim=0, unbiased=False), rtol=0, atol=0)


def test_dare_draws_what_a_bernoulli_draw_over_the_whole_tensor_draws() -> None:
    base, experts = models(2)
    torch.manual_seed(9)
    masks = dare_masks(base, experts, Sparsified((1.0, 1.0), (0.3, 0.5)))()
    torch.manual_seed(9)
    for mask, share in zip(masks, (0.3, 0.5), strict=True):
        assert mask.kept is not None
        assert torch.equal(mask.kept, torch.bernoulli(torch.full((base.numel(),), share)).bool())


@pytest.mark.parametrize("name", ["dare_ties", "della"])
def test_tensors_left_to_the_base_still_use_up_their_draws(name: str) -> None:
    base, experts = models(2)
    known = {"density": (0.5, 0.5), **({"epsilon": (0.15, 0.15)} if name == "della" else {})}
    states = []
    for weight in ((0.0, 0.0), (0.4, 0.4)):
        torch.manual_seed(1)
        assert CPU_RULES[name](torch.empty_like(base), base, experts, weight=weight, **known)
        states.append(torch.get_rng_state())
    assert torch.equal(*states)


def test_karcher_mean_of_two_directions_halves_their_angle() -> None:
    cosine = 0.3
    mean = karcher_coefficients(torch.tensor([[1.0, cosine], [cosine, 1.0]], dtype=torch.float64), 10, 1e-12)
    half = 1 / (2 + 2 * cosine) ** 0.5
    torch.testing.assert_close(mean, torch.tensor([half, half], dtype=torch.float64))


def test_inputs_without_a_direction_are_left_to_mergekit() -> None:
    base, (expert, _) = models(2)
    nothing = torch.zeros_like(base)
    out = torch.zeros_like(base)
    assert not nuslerp_into(out, base, [expert, expert], weight=[1.0, 1.0])
    assert not multislerp_into(out, nothing, [expert, -expert], weight=[1.0, 1.0])
    assert not model_stock_into(out, base, [expert, base])
    assert not model_stock_into(out, base, [expert, base], filter_wise=True)
    assert not out.any()
