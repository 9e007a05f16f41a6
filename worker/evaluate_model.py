"""Generate with a model, grade, and write what was found: the part of `research-agent evaluate` that loads torch."""

import hashlib
import json

from core.settings import Settings
from core.types.evaluation import Evaluation, Score
from core.types.sow import ModelRef
from worker import generations
from worker.evaluate import Plan, evaluate
from worker.evaluation_files import Asked, code_eval, rich_scores, scores, verdict_lines, write_json, write_lines
from worker.generate.port import EngineOptions
from worker.generate.registry import load_engine
from worker.grade_file import ShowProgress, grader
from worker.models import ModelFiles
from worker.protocols.base import CodeProtocol
from worker.protocols.code import END_OF_TURN


def evaluate_model(
    asked: Asked, model: str, settings: Settings, options: EngineOptions, show: ShowProgress
) -> tuple[list[Score], int]:
    """Return the scores, and how many samples hold a literal end of turn, which makes them syntax errors."""
    path = ModelFiles(settings).checkpoint(ModelRef(name="model", model=model, revision=options.revision))
    engine = load_engine(settings.engine, path, options)
    plan = Plan(asked.protocol, asked.items, asked.sampling)
    with show(asked.benchmark, len(asked.items) * asked.sampling.n_samples) as report:
        outcomes, cost = evaluate(engine, plan, grader(settings), report)
    described = dict(engine.describe())
    engine.close()
    found = scores(outcomes, asked.protocol.metric, asked.ks)
    key = json.dumps([model, asked.benchmark, asked.protocol.id, asked.sampling.model_dump()], sort_keys=True)
    evaluation = Evaluation(
        id=hashlib.sha256(key.encode()).hexdigest()[:24],
        candidate_id=model,
        benchmark=asked.benchmark,
        protocol=asked.protocol.id,
        role="show",
        sampling=asked.sampling,
        outcomes=outcomes,
        score=found[0],
        cost=cost,
        grader=settings.grader_tier,
        engine=json.dumps(described),
    )
    turns = sum(END_OF_TURN in sample.completion for outcome in outcomes for sample in outcome.samples)
    config = {"model": model, "precision": described.get("dtype", ""), "engine": described.get("engine", "")}
    write_json(asked.output / "code_eval.json", code_eval(asked, found, config))
    rich = {"end_of_turn_samples": turns, "evaluation": evaluation.model_dump(mode="json")}
    write_json(asked.output / "evaluation.json", rich_scores(found) | rich)
    if isinstance(asked.protocol, CodeProtocol):
        lists = generations.bigcode_lists(asked.items, outcomes, asked.protocol)
        write_json(asked.output / "generations.json", lists)
    write_lines(asked.output / "verdicts.jsonl", verdict_lines(outcomes))
    return found, turns
