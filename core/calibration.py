"""What calibrated methods of a run may read: search slices, or slices that the SoW names for it; never what decides.

The same data goes with a candidate wherever it is evaluated, so that a recipe means one model.
"""

from collections.abc import Sequence

from core.merging import Kind, MethodDeclaration, Need
from core.merging_table import DECLARATIONS
from core.types.job import CalibrationData, CalibrationText
from core.types.sow import Benchmark, ModelRef, Role, StatementOfWork


def needs_data(method: MethodDeclaration) -> bool:
    """Return whether a method reads text or scores while it merges (routed ones read only what they answer)."""
    return method.kind is not Kind.ROUTED and method.needs != {Need.WEIGHTS}


def calibration_for(sow: StatementOfWork, method: str) -> CalibrationData | None:
    """Return what a method may learn from in this run: None for one that needs only weights, or where there is none."""
    entry = DECLARATIONS.get(method)
    slices = calibration_slices(sow)
    if entry is None or not needs_data(entry) or not slices or sow.models is None:
        return None
    texts = (CalibrationText(expert=e.name, benchmark=_own(e, slices)) for e in sow.models.experts)
    return CalibrationData(texts=tuple(texts), seed=sow.seed)


def calibration_slices(sow: StatementOfWork) -> tuple[Benchmark, ...]:
    """Return the slices that may be learnt from."""
    return sow.experiments.calibration or sow.benchmarks_of(Role.SEARCH)


def _own(expert: ModelRef, slices: Sequence[Benchmark]) -> Benchmark:
    """Return the slice of the expert's own skill, else the first one."""
    return next((s for s in slices if expert.skill is not None and s.column == expert.skill), slices[0])
