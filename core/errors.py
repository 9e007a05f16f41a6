"""The error tree, typed by who must react.

Every error of ours has a stable `code`, an HTTP `status` for the API's edge, and a `fix` that tells the reader
what to do. The docstring of a class is its default message. Nothing here knows about HTTP beyond the number.
"""

from typing import ClassVar


class ResearchAgentError(Exception):
    """Something went wrong in the Research Agent."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500

    def __init__(self, message: str | None = None, *, fix: str | None = None) -> None:
        self.message = message or (type(self).__doc__ or "").strip().splitlines()[0]
        self.fix = fix
        super().__init__(self.message if fix is None else f"{self.message} {fix}")


# --- the caller must react -------------------------------------------------------------------------------


class CallerError(ResearchAgentError):
    """The request can't be served as it is."""

    code = "bad_request"
    status = 400


class InvalidInputError(CallerError):
    """The input is not valid."""

    code = "invalid_input"
    status = 422

    def __init__(
        self, message: str | None = None, *, fix: str | None = None, problems: tuple["Problem", ...] = ()
    ) -> None:
        super().__init__(message, fix=fix)
        self.problems = problems


class Problem(dict[str, object]):
    """One invalid field: `path`, `given`, `allowed` and `message`, ready for a problem+json body."""


class NotFoundError(CallerError):
    """There is no such thing."""

    code = "not_found"
    status = 404


class ConflictError(CallerError):
    """The present state forbids this."""

    code = "conflict"
    status = 409


class UnauthorizedError(CallerError):
    """A valid bearer token is needed."""

    code = "unauthorized"
    status = 401


# --- the operator must react -----------------------------------------------------------------------------


class OperatorError(ResearchAgentError):
    """This machine or its configuration lacks something."""

    code = "unavailable"
    status = 503


class MissingDependencyError(OperatorError):
    """A program or package that this step needs is not installed."""

    code = "missing_dependency"


class SourceError(OperatorError):
    """An outside service failed or refused."""

    code = "source_failed"


# --- the run must react: recorded, and the run goes on or ends visibly ----------------------------------------


class RunError(ResearchAgentError):
    """This run can't go on."""

    code = "run_failed"


class BudgetExceededError(RunError):
    """The run's budget is used up."""

    code = "budget_exceeded"


class JobFailedError(RunError):
    """A worker job ended without a result."""

    code = "job_failed"


class RunCancelledError(RunError):
    """The run was cancelled."""

    code = "cancelled"


# --- the language model must react: it is asked again, a bounded number of times -----------------------------


class ModelOutputError(ResearchAgentError):
    """The language model's output does not fit the asked form."""

    code = "model_output"
