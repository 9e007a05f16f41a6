"""Find the end of a completion while it grows, cheaply, and cut its text exactly.

While a row grows only its last few tokens are decoded; when it ends the whole completion is decoded once, together with
the tail of its prompt, so that a tokenizer that drops a text's leading space does not break Python's indentation.
"""

from collections.abc import Sequence

from worker.generate.port import Completion, FinishReason, GenerationRequest, StopRule, Tokenizer

PROMPT_TAIL = 4


class Decoder:
    """Decode token ids of completions with the model's own tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        # The Rust tokenizer inside decodes a short tail in microseconds; the wrapper's checks take ten times that.
        self._fast = getattr(tokenizer, "backend_tokenizer", None)

    def decode(self, ids: Sequence[int], *, keep_special: bool) -> str:
        """Return the text of ids."""
        if self._fast is not None:
            return str(self._fast.decode(list(ids), skip_special_tokens=not keep_special))
        text = self._tokenizer.decode(
            list(ids), skip_special_tokens=not keep_special, clean_up_tokenization_spaces=False
        )
        return str(text)

    def completion_text(self, prompt: Sequence[int], ids: Sequence[int], *, keep_special: bool) -> str:
        """Return the text that the completion adds to its prompt."""
        for tail in (list(prompt[-PROMPT_TAIL:]), list(prompt)):
            before = self.decode(tail, keep_special=keep_special)
            both = self.decode([*tail, *ids], keep_special=keep_special)
            if both.startswith(before):
                return both[len(before) :]
        return self.decode(ids, keep_special=keep_special)


def earliest_stop(text: str, strings: Sequence[str]) -> int | None:
    """Return where the earliest stop string begins, or None."""
    found = [at for at in (text.find(stop) for stop in strings) if at >= 0]
    return min(found) if found else None


class Growing:
    """One completion in the making."""

    __slots__ = ("_decoder", "_tail", "ids", "request", "room")

    def __init__(self, request: GenerationRequest, decoder: Decoder, context: int) -> None:
        self.request = request
        self.room = request.draw.room(len(request.prompt_ids), context)
        self.ids: list[int] = []
        self._decoder = decoder
        # A stop string of n characters covers at most n tokens and the end of one more; a first token may lose a space.
        self._tail = max((len(s) for s in request.stop.strings), default=0) + 2

    def add(self, token: int) -> FinishReason | None:
        """Append a token; return why the completion is now finished, or None while it goes on."""
        stop = self.request.stop
        self.ids.append(token)
        if token in stop.eos_ids:
            return "eos"
        if stop.strings and self._stops(stop):
            return "stop"
        return "length" if len(self.ids) >= self.room else None

    def _stops(self, stop: StopRule) -> bool:
        text = self._decoder.decode(self.ids[-self._tail :], keep_special=stop.keep_special)
        return any(s in text for s in stop.strings)

    def finished(self, reason: FinishReason) -> Completion:
        """Return the completion, its text cut at the earliest stop string."""
        request, ids = self.request, self.ids
        stop = request.stop
        kept = ids[:-1] if reason == "eos" and not stop.keep_special else ids
        text = self._decoder.completion_text(request.prompt_ids, kept, keep_special=stop.keep_special)
        cut = earliest_stop(text, stop.strings)
        if cut is not None:
            text = text[:cut]
            reason = "stop" if reason == "length" else reason
        return Completion(request.item_id, request.sample_index, text, tuple(ids), reason)
