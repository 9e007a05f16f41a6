"""The `command` task: a real command in a real sandbox, and commands that misbehave."""

from pathlib import Path

import pytest

from core.errors import InvalidInputError, JobFailedError
from core.types.job import CommandEvaluate
from core.types.sow import CommandEvaluation
from worker.command import evaluate_command


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "candidate").mkdir()
    (tmp_path / "candidate" / "answer.txt").write_text("41\n")
    return tmp_path


def payload(root: Path, script: str, **options: object) -> CommandEvaluate:
    evaluation = CommandEvaluation(command=("/bin/sh", "-c", script), **options)
    return CommandEvaluate(candidate_id="c", artifact="candidate", evaluation=evaluation, root=str(root))


def test_the_last_line_is_the_score(root: Path) -> None:
    found = evaluate_command(payload(root, 'echo working; echo "{\\"score\\": $(cat $CANDIDATE/answer.txt)}"'))
    assert found.score.value == 41
    assert found.score.metric == "score"


def test_what_is_minimized_is_negated(root: Path) -> None:
    found = evaluate_command(payload(root, """echo '{"loss": 2.5}'""", metric="loss", direction="minimize"))
    assert (found.score.metric, found.score.value) == ("neg_loss", -2.5)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo nothing", "holds no number"),
        ("""echo '{"score": NaN}'""", "holds no number"),
        ("""echo '{"score": true}'""", "holds no number"),
        ("echo broken >&2; exit 3", "ended with 3: broken"),
        ("sleep 60", "longer than 1 s"),
        ("echo forged > $CANDIDATE/answer.txt", "ended with"),
        ("echo forged > /task/evaluate.py", "ended with"),
        ("cat /proc/1/environ | grep SECRET", "ended with"),
    ],
)
def test_what_gives_no_score_fails_with_its_reason(
    root: Path, script: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "SECRET")
    with pytest.raises(JobFailedError, match=message):
        evaluate_command(payload(root, script, timeout_s=1))
    assert (root / "candidate" / "answer.txt").read_text() == "41\n"


def test_there_is_no_network(root: Path) -> None:
    found = evaluate_command(payload(root, """n=$(wc -l < /proc/net/dev); echo "{\\"score\\": $n}" """))
    assert found.score.value == 3, "two lines of heading and the loopback"


def test_a_missing_candidate_is_named(root: Path) -> None:
    with pytest.raises(InvalidInputError, match="no candidate directory"):
        evaluate_command(payload(root, "true").evolve(artifact="elsewhere"))
