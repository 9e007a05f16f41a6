"""Keep a batch of rows full: prompts enter as rows leave, the samples of one prompt share its prefill.

Order of work: by priority, then longest prompts first, so that the last rows are short ones. Nothing here depends on
which rows share a batch: seeds and positions belong to the sample.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch

from worker.generate.draw_rows import DrawRows
from worker.generate.forward import Forward
from worker.generate.kv_cache import PrefillCache
from worker.generate.port import Completion, GenerationRequest
from worker.generate.sampling import draw_tokens
from worker.generate.stops import Decoder, Growing

MIN_PREFIX = 16
SPAN_STEP = 64
WIDTHS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768, 896, 1024)


@dataclass(slots=True)
class _Row:
    """A sample that occupies a slot; `position` is where its next token goes."""

    growing: Growing
    position: int
    slot: int = -1
    done: bool = False


@dataclass(slots=True)
class _Prompt:
    """A prompt with the samples that still wait for a slot, and where its prefill lies once made."""

    ids: tuple[int, ...]
    waiting: deque[Growing]
    cache: PrefillCache | None = None
    index: int = 0


@dataclass(slots=True)
class _Step:
    """Tokens drawn in one step, beside the rows they belong to (slots may have moved since)."""

    rows: list[_Row] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)


class Batch:
    """Decode requests in `rows` slots; one instance serves one call of `run`."""

    def __init__(self, forward: Forward, decoder: Decoder, rows: int, prefill_tokens: int) -> None:
        self._forward = forward
        self._decoder = decoder
        self._slots: list[_Row | None] = [None] * rows
        self._prefill_tokens = prefill_tokens
        self._width = 0
        self._static = forward.static
        device = forward.device
        self._draw = DrawRows(
            temperature=torch.zeros(rows, device=device),
            top_p=torch.ones(rows, device=device),
            seeds=torch.zeros(rows, dtype=torch.int64, device=device),
            steps=torch.zeros(rows, dtype=torch.int64, device=device),
        )
        self._sampled = False
        self._prompts: deque[_Prompt] = deque()
        self._prefix: PrefillCache | None = None
        self._prefix_length = 0

    @torch.inference_mode()
    def run(self, requests: Sequence[GenerationRequest]) -> Iterator[Completion]:
        """Yield completions as they finish."""
        yield from self._enqueue(requests)
        step = _Step()
        while self._prompts or any(row is not None for row in self._slots):
            self._admit()
            self._compact()
            logits = self._next_logits()
            if self._static:
                # The device is busy with this step: find what the last one finished meanwhile.
                yield from self._settle(step)
            step = self._draw_step(logits)
            if not self._static:
                yield from self._settle(step)

    def _enqueue(self, requests: Sequence[GenerationRequest]) -> Iterator[Completion]:
        """Group samples by prompt, longest first; answer at once what has no room for a token."""
        groups: dict[tuple[int, ...], _Prompt] = {}
        for request in requests:
            growing = Growing(request, self._decoder, self._forward.geometry.context)
            if growing.room == 0:
                yield growing.finished("length")
                continue
            group = groups.setdefault(request.prompt_ids, _Prompt(request.prompt_ids, deque()))
            group.waiting.append(growing)
            self._sampled |= request.draw.temperature > 0
        self._prompts.extend(sorted(groups.values(), key=_first))
        shared = common_prefix([prompt.ids for prompt in self._prompts])
        if shared >= MIN_PREFIX and len(self._prompts) > 1:
            self._prefix_length = shared
            self._prefix = self._forward.prefill([self._prompts[0].ids[:shared]])

    # --- rows enter ----------------------------------------------------------------------------------------------

    def _admit(self) -> None:
        free = [slot for slot, row in enumerate(self._slots) if row is None]
        # A prefill holds up all other rows: wait until a few can enter together.
        if not self._prompts or len(free) < max(1, len(self._slots) // 8):
            return
        entering: list[tuple[_Row, _Prompt]] = []
        while self._prompts and len(entering) < len(free):
            prompt = self._prompts[0]
            if prompt.cache is None:
                self._prefill_some(len(free) - len(entering))
            while prompt.waiting and len(entering) < len(free):
                slot = free[len(entering)]
                row = _Row(prompt.waiting.popleft(), position=len(prompt.ids) - 1, slot=slot)
                self._slots[slot] = row
                entering.append((row, prompt))
            if not prompt.waiting:
                self._prompts.popleft()
        self._place(entering)
        self._width = self._padded(1 + max(slot for slot, row in enumerate(self._slots) if row is not None))

    def _prefill_some(self, free: int) -> None:
        """Prefill the prompts whose samples fill the free slots, as many at once as the token budget allows."""
        chosen: list[_Prompt] = []
        longest = 1
        for prompt in self._prompts:
            longest = max(longest, len(prompt.ids) - self._prefix_length)
            if free <= 0 or (chosen and (len(chosen) + 1) * longest > self._prefill_tokens):
                break
            chosen.append(prompt)
            free -= len(prompt.waiting)
        # The last token of a prompt is left out: the first decoding step reads it and draws from its logits.
        cache = self._forward.prefill([p.ids[self._prefix_length : -1] or p.ids[:1] for p in chosen], self._prefix)
        for index, prompt in enumerate(chosen):
            prompt.cache, prompt.index = cache, index

    def _place(self, entering: list[tuple[_Row, _Prompt]]) -> None:
        device = self._forward.device
        slots = torch.tensor([row.slot for row, _ in entering], device=device)
        requests = [row.growing.request for row, _ in entering]
        self._forward.tokens[slots] = torch.tensor([r.prompt_ids[-1] for r in requests], device=device)
        self._forward.positions[slots] = torch.tensor([row.position for row, _ in entering], device=device)
        self._draw.temperature[slots] = torch.tensor(
            [r.draw.temperature for r in requests], dtype=torch.float32, device=device
        )
        self._draw.top_p[slots] = torch.tensor([r.draw.top_p for r in requests], dtype=torch.float32, device=device)
        self._draw.seeds[slots] = torch.tensor([r.sample_seed for r in requests], device=device)
        self._draw.steps[slots] = 0
        caches = {id(prompt.cache): prompt.cache for _, prompt in entering if prompt.cache is not None}
        for key, cache in caches.items():
            mine = [(row.slot, prompt.index) for row, prompt in entering if id(prompt.cache) == key]
            into, which = torch.tensor(mine, device=device).T
            self._forward.cache.put(into, cache, which)

    # --- a step --------------------------------------------------------------------------------------------------

    def _next_logits(self) -> torch.Tensor:
        span = 1 + max(row.position for row in self._slots if row is not None)
        if self._static:
            # The fused kernel reads each row to its own end whatever the span: one span, one graph a width.
            whole = self._forward.cache.capacity
            span = whole if self._forward.fused else min(-(-span // SPAN_STEP) * SPAN_STEP, whole)
        return self._forward.step(self._width, span)

    def _draw_step(self, logits: torch.Tensor) -> _Step:
        width = self._width
        rows = self._draw.select(torch.arange(width, device=logits.device))
        tokens = draw_tokens(logits, rows, sampled=self._sampled)
        self._forward.tokens[:width] = tokens
        # A row that has ended may run one step more before it is seen to have: it must not leave its slot.
        self._forward.positions[:width].add_(1).clamp_(max=self._forward.cache.capacity - 1)
        self._draw.steps[:width].add_(1)
        drawn = _Step()
        for row, token in zip(self._slots[:width], tokens.tolist(), strict=True):
            if row is not None:
                row.position = min(row.position + 1, self._forward.cache.capacity - 1)
                drawn.rows.append(row)
                drawn.tokens.append(token)
        return drawn

    def _settle(self, step: _Step) -> Iterator[Completion]:
        """Append drawn tokens to their samples; free the slots of those that ended."""
        for row, token in zip(step.rows, step.tokens, strict=True):
            if row.done:
                continue
            reason = row.growing.add(token)
            if reason is not None:
                row.done = True
                self._slots[row.slot] = None
                yield row.growing.finished(reason)

    # --- rows leave ----------------------------------------------------------------------------------------------

    def _compact(self) -> None:
        """Move the last rows into free slots once that makes the batch narrower."""
        rows = [row for row in self._slots if row is not None]
        target = self._padded(len(rows))
        spare = 0 if self._static else self._width // 16
        if target + spare >= self._width:
            return
        holes = [slot for slot in range(target) if self._slots[slot] is None]
        movers = [row for row in rows if row.slot >= target]
        if movers:
            self._move(movers, holes[: len(movers)])
        self._width = target

    def _move(self, movers: list[_Row], holes: list[int]) -> None:
        device = self._forward.device
        source = torch.tensor([row.slot for row in movers], device=device)
        into = torch.tensor(holes, device=device)
        self._forward.cache.move(source, into, 1 + max(row.position for row in movers))
        for held in (
            self._forward.tokens,
            self._forward.positions,
            self._draw.temperature,
            self._draw.top_p,
            self._draw.seeds,
            self._draw.steps,
        ):
            held[into] = held[source]
        for row, slot in zip(movers, holes, strict=True):
            self._slots[row.slot], self._slots[slot], row.slot = None, row, slot

    def _padded(self, width: int) -> int:
        """Return the width that a step runs at: as it is on a CPU, one of a few on a device that captures graphs."""
        if not self._static:
            return width
        return min([w for w in WIDTHS if w >= width] + [len(self._slots)])


def _first(prompt: _Prompt) -> tuple[int, int]:
    return -prompt.waiting[0].request.priority, -len(prompt.ids)


def common_prefix(prompts: Sequence[Sequence[int]]) -> int:
    """Return how many leading tokens all prompts share, leaving at least two to each."""
    if not prompts:
        return 0
    # What the first and the last in order share, all share.
    low, high = min(map(tuple, prompts)), max(map(tuple, prompts))
    limit = max(0, min(map(len, prompts)) - 2)
    return next((i for i in range(limit) if low[i] != high[i]), limit)
