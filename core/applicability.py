"""Which methods can be tried in a run, and why not the others."""

from core.calibration import calibration_slices, needs_data
from core.merging import MethodDeclaration, Need
from core.merging_table import DECLARATIONS
from core.types.sow import StatementOfWork


def applicable(sow: StatementOfWork) -> tuple[MethodDeclaration, ...]:
    """Return the methods that `methods: all` comes to, in the table's order."""
    return tuple(d for d in DECLARATIONS.values() if not hindrance(sow, d))


def hindrance(sow: StatementOfWork, method: MethodDeclaration) -> str:
    """Return why a method can't be tried in this run; empty where it can."""
    experts = len(sow.models.experts) if sow.models else 0
    if not method.runnable:
        return method.difference
    fewer = experts > 1 and (method.accepts(2) or method.accepts(1))
    if not (method.accepts(experts) or fewer):
        return (
            f"It takes {method.experts[0]} to {method.experts[1] or 'any number of'} experts; the task has {experts}."
        )
    if needs_data(method) and not calibration_slices(sow):
        needs = ", ".join(sorted(method.needs - {Need.WEIGHTS}))
        return f"It needs {needs}: the Statement of Work has no benchmark with role 'search' and no calibration slice."
    return ""
