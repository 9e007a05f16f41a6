"""A report's input with everything in it, made by the real search, leaderboard and confirmation on a known surface."""

from agents.optimizer.agent import search_result
from agents.optimizer.confirm import confirm, references_of
from agents.optimizer.search import SearchPlan
from agents.report.content import ReportInput
from agents.report.search_sections import cited_of, shown_trials
from core.errors import JobFailedError
from core.leaderboard import leaderboard
from core.recipes import baseline_recipe, method_recipe, published
from core.types.candidate import Applicability, Candidate, CandidateKind, Fidelity
from core.types.evaluation import Evaluation
from core.types.job import MergeEvaluate
from core.types.run import Spent
from core.types.sow import Budget, Role, StatementOfWork
from core.types.work import Coverage, Repository, Survey, Work
from tests.fakes.surface_jobs import MODELS, SOW, SurfaceJobs

METHODS = ("task_arithmetic", "linear", "ties", "dare_ties", "breadcrumbs", "della", "ra_tvq")
ENVIRONMENT = {
    "python": "3.12",
    "torch": "2.15.0",
    "engine": "transformers",
    "device": "1 × H100",
    "grader": "bubblewrap",
}


def works() -> tuple[Work, ...]:
    """Return a few works, one of which tries to be markup."""
    return (
        Work(
            key="2212.04089", title="Editing Models with Task Arithmetic", year=2023, categories=("weighted",),
            url="https://arxiv.org/abs/2212.04089", method="task_arithmetic",
            repositories=(Repository(url="https://github.com/mlfoundations/task_vectors"),),
        ),
        Work(
            key="2306.01708", title="TIES-Merging: Resolving Interference When Merging Models", year=2023,
            categories=("weighted", "subspace"), url="https://arxiv.org/abs/2306.01708", method="ties",
        ),
        Work(
            key="2412.13526", title="FT-Classifier <b>& friends</b> | $x_1$", year=2024,
            categories=("post-calibration",),
        ),
        Work(key="2402.05859", title="Learning to Route Among Specialized Experts", year=2024, categories=("routing",)),
    )  # fmt: skip


def applicabilities() -> tuple[Applicability, ...]:
    """Return the verdicts on these works."""
    return (
        Applicability(work_key="2212.04089", method="task_arithmetic", fidelity=Fidelity.EXACT),
        Applicability(
            work_key="2306.01708",
            method="ties",
            fidelity=Fidelity.ADAPTED,
            reason="Trims each tensor.",
            candidate_id="ties",
            outcome="rank 1 of 6 with 54.2%",
        ),
        Applicability(work_key="2306.01708", method="ra_ties", fidelity=Fidelity.EXACT, outcome="not tried"),
        Applicability(
            work_key="2412.13526", fidelity=Fidelity.NOT_APPLICABLE, reason="A generative model has no such head."
        ),
        Applicability(work_key="2402.05859", fidelity=Fidelity.NOT_BUILT_IN, reason="Needs training of gates."),
    )


def candidates() -> list[Candidate]:
    """Return the baselines and methods that are screened."""
    names = [MODELS.base.name, *(e.name for e in MODELS.experts)]
    baselines = [
        Candidate(id=n, name=f"{n} alone", kind=CandidateKind.BASELINE, recipe=baseline_recipe(MODELS, n))
        for n in names
    ]
    keys = {"task_arithmetic": "2212.04089", "ties": "2306.01708"}
    methods = [
        Candidate(
            id=m, name=m.removeprefix("ra_").replace("_", " "), kind=CandidateKind.METHOD,
            recipe=method_recipe(m, MODELS), work_key=keys.get(m),
        )
        for m in METHODS
    ]  # fmt: skip
    return [*baselines, *methods]


async def evaluate(jobs: SurfaceJobs, sow: StatementOfWork, candidate: Candidate, role: Role) -> list[Evaluation]:
    """Return a candidate's evaluations on all slices of a role."""
    found = []
    for benchmark in sow.benchmarks_of(role):
        assert candidate.recipe is not None
        payload = MergeEvaluate(candidate_id=candidate.id, models=MODELS, recipe=candidate.recipe, benchmark=benchmark)
        result = await jobs.run(payload)
        if not isinstance(result, Evaluation):
            raise JobFailedError
        found.append(result)
    return found


async def sample_input(language: str = "en", seed: int = 3, trials: int = 24) -> ReportInput:
    """Return the input of a full report."""
    jobs = SurfaceJobs(seed)
    sow = SOW.evolve(
        language=language, budget=Budget(wall_clock_minutes=90, gpu_minutes=60, trials=100),
        motivation="Three experts were tuned from one base. One model with all their skills would be cheaper to serve.",
        optimization=SOW.optimization.evolve(trials=trials),
    )  # fmt: skip
    tried = candidates()
    screened = [e for c in tried for e in await evaluate(jobs, sow, c, Role.SCREEN)]
    board = leaderboard("screen", tried, screened, sow.benchmarks).evolve(noise_floor=0.021)
    leader = next(r.candidate for r in board.rows if r.candidate.kind is CandidateKind.METHOD)
    found = await search_result(jobs, sow, (leader, board), SearchPlan(trials))
    references = references_of(board, {c.id for c in found.finalists})
    confirmation, confirmed, evaluations = await confirm(jobs, sow, "", (found.finalists, references))
    survey = Survey(
        works=works(), borderline=works()[:1], dropped=31,
        coverage=Coverage(estimated_total=5.2, low=4.1, high=8.9, method="Chapman's two-sample estimate"),
    )  # fmt: skip
    listed = [i for trial in shown_trials(found) for i in cited_of(trial)]
    report = ReportInput(
        run_id="run-20261123-sample", sow=sow, survey=survey, applicabilities=applicabilities(),
        candidates=(*tried, *found.finalists), leaderboards={"screen": board, "confirm": confirmed},
        evaluations=(*screened, *evaluations, *await jobs.evaluations(listed)), optimization=found,
        confirmation=confirmation,
        spent=Spent(wall_clock_s=2412, gpu_s=1630, trials=len(found.trials)), environment=ENVIRONMENT,
    )  # fmt: skip
    recipe = report.winner.candidate.recipe if report.winner else None
    return report.evolve(recipe=published(recipe, MODELS) if recipe else None)
