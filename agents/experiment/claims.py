"""What a paper claims of its method, in its own words: the sentences of its abstract that state a result.

Quotes, not understanding: a sentence counts when it compares and carries a number, or plainly says that the method is
better. They stand beside our result; nothing is computed from them.
"""

import re

from core.types.work import Work

SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9])")
RESULT = re.compile(
    r"improv|outperform|surpass|exceed|gain|better than|state[- ]of[- ]the[- ]art|achiev|reduc|increas|match", re.I
)
NUMBER = re.compile(r"\d+(\.\d+)?\s*(%|percent|points?\b|x\b|×|times\b)", re.I)
MOST = 3
MOST_CHARACTERS = 300


def claims_of(work: Work) -> tuple[str, ...]:
    """Return the claims that a work carries, else those that its abstract states, the ones with numbers first."""
    if work.claims:
        return work.claims
    sentences = [" ".join(s.split()) for s in SENTENCE.split(work.abstract) if RESULT.search(s)]
    ordered = sorted(sentences, key=lambda s: NUMBER.search(s) is None)
    return tuple(s if len(s) <= MOST_CHARACTERS else f"{s[:MOST_CHARACTERS]}…" for s in ordered[:MOST])
