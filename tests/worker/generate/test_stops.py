from typing import Any

import pytest

from worker.generate.port import Draw, GenerationRequest, StopRule
from worker.generate.stops import Decoder, Growing, earliest_stop


def grown(tokenizer: Any, text: str, stop: StopRule, prompt: str = "def f():") -> Any:
    request = GenerationRequest("a", 0, tuple(tokenizer(prompt)["input_ids"]), Draw(max_new_tokens=1000), stop)
    growing = Growing(request, Decoder(tokenizer), 4096)
    for token in tokenizer(text)["input_ids"]:
        reason = growing.add(token)
        if reason is not None:
            return growing.finished(reason)
    return growing.finished("length")


@pytest.mark.parametrize(
    ("text", "kept", "finish"),
    [
        ("\n    return 1\n\ndef g():\n", "\n    return 1\n", "stop"),
        ("\n    return 1\n# done\nclass A", "\n    return 1", "stop"),
        ("\n    x = 'défé'\nclass A: pass", "\n    x = 'défé'", "stop"),
        ("\nclass", "", "stop"),
        ("\n    # \\nclass in a comment", "\n    # \\nclass in a comment", "length"),
    ],
)
def test_cut_at_the_earliest_stop_string(tokenizer: Any, text: str, kept: str, finish: str) -> None:
    done = grown(tokenizer, text, StopRule(("\nclass", "\ndef", "\n#")))
    assert (done.text, done.finish) == (kept, finish)


def test_special_tokens_are_kept_where_the_protocol_says(tokenizer: Any) -> None:
    text = "\n    return 1<end_of_turn><eos>"
    ends = frozenset(tokenizer.convert_tokens_to_ids(["<end_of_turn>", "<eos>"]))
    kept = grown(tokenizer, text, StopRule(("<eos>",), ends, keep_special=True))
    assert (kept.text, kept.finish) == ("\n    return 1<end_of_turn>", "eos")
    assert grown(tokenizer, text, StopRule((), ends)).text == "\n    return 1"
    ended = grown(tokenizer, "\n    return 1<eos>", StopRule(("<eos>",), ends, keep_special=True))
    assert ended.text == "\n    return 1"


def test_earliest_stop() -> None:
    assert earliest_stop("a\nb\nc", ("\nc", "\nb")) == 1
    assert earliest_stop("abc", ("d",)) is None
