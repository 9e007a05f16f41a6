"""What a run will compute, said before it starts. Counts follow from the SoW; minutes are rough by nature."""

from collections.abc import Sequence

from core.types.base import Value

# Where a slice has no `limit` its size is known only when the dataset is read; HumanEval's is assumed.
ASSUMED_ITEMS = 164
# Rough seconds, for orders of magnitude only: one completion of about 150 tokens of a model below 500 M parameters on
# two CPU cores, of a 7 B model on one data-center GPU in large batches, and merging plus loading for one evaluation.
CPU_SECONDS_PER_COMPLETION = 0.8
GPU_SECONDS_PER_COMPLETION = 0.05
SECONDS_PER_EVALUATION = 10.0


class Slice(Value):
    """One benchmark slice: how many candidates it scores. `items` None: not known before the dataset is read."""

    name: str
    role: str
    evaluations: int
    items: int | None
    samples: int


class Forecast(Value):
    """Jobs, items graded and completions drawn, and rough minutes on a CPU and on a GPU."""

    jobs: int
    items: int
    completions: int
    minutes_cpu: float
    minutes_gpu: float
    slices: tuple[Slice, ...]
    notes: tuple[str, ...] = ()


def forecast_slices(slices: Sequence[Slice], notes: tuple[str, ...] = ()) -> Forecast:
    """Add slices up to a forecast; say where a size had to be assumed."""
    sizes = [(s, ASSUMED_ITEMS if s.items is None else s.items) for s in slices]
    jobs = sum(s.evaluations for s in slices)
    completions = sum(s.evaluations * size * s.samples for s, size in sizes)
    assumed = [s.name for s in slices if s.items is None]
    if assumed:
        notes = (*notes, f"{', '.join(assumed)}: without a limit, {ASSUMED_ITEMS} items are assumed.")
    fixed = jobs * SECONDS_PER_EVALUATION
    return Forecast(
        jobs=jobs,
        items=sum(s.evaluations * size for s, size in sizes),
        completions=completions,
        minutes_cpu=round((fixed + completions * CPU_SECONDS_PER_COMPLETION) / 60, 1),
        minutes_gpu=round((fixed + completions * GPU_SECONDS_PER_COMPLETION) / 60, 1),
        slices=tuple(slices),
        notes=(*notes, "Minutes are rough: they ignore your models' sizes and the length of their answers."),
    )
