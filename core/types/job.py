"""Jobs that workers do: versioned payloads, validated on both ends (contracts.md, 'Job kinds')."""

import hashlib
from enum import StrEnum
from typing import Literal

from pydantic import Field

from core.types.base import Value
from core.types.evaluation import Evaluation
from core.types.recipe import Recipe
from core.types.sow import Benchmark, CommandEvaluation, Models


class JobKind(StrEnum):
    """What a worker can be asked for."""

    MERGE_EVALUATE = "merge.evaluate"
    MERGE_EXPORT = "merge.export"
    EVALUATE_ARTIFACT = "evaluate.artifact"
    COMMAND_EVALUATE = "command.evaluate"
    EMBED_TEXTS = "embed.texts"
    LIST_ITEMS = "benchmark.items"


class JobStatus(StrEnum):
    """`queued → running → succeeded | failed | cancelled`."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Payload(Value):
    """What every payload has. The key is the run's id and a hash of the content: the same work has the same key."""

    version: Literal[1] = 1

    @property
    def digest(self) -> str:
        """Return a hash of the content: the id of what comes out of it."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:24]

    def key(self, run_id: str) -> str:
        """Return the idempotency key in a run."""
        return f"{run_id}:{self.digest}"


class MergeEvaluate(Payload):
    """Merge a recipe in memory and evaluate it on one slice.

    `item_ids` narrows the slice (racing blocks); None takes all. `root` resolves relative paths of the SoW.
    """

    kind: Literal[JobKind.MERGE_EVALUATE] = JobKind.MERGE_EVALUATE
    candidate_id: str
    models: Models
    recipe: Recipe
    benchmark: Benchmark
    item_ids: tuple[str, ...] | None = None
    root: str = ""


class MergeExport(Payload):
    """Write a recipe's model as safetensors, mergekit YAML and model card into the artifact store."""

    kind: Literal[JobKind.MERGE_EXPORT] = JobKind.MERGE_EXPORT
    candidate_id: str
    models: Models
    recipe: Recipe
    card: str = Field(description="the model card, Markdown with front matter; empty: the worker's own")
    root: str = ""


class EvaluateArtifact(Payload):
    """Evaluate a submitted checkpoint directory on one slice."""

    kind: Literal[JobKind.EVALUATE_ARTIFACT] = JobKind.EVALUATE_ARTIFACT
    candidate_id: str
    artifact: str
    models: Models
    benchmark: Benchmark
    item_ids: tuple[str, ...] | None = None
    root: str = ""


class CommandEvaluate(Payload):
    """Run the SoW's evaluation command on a candidate's directory, in a sandbox it can't write to.

    The command gets the seed, the role and the parameters in its environment.
    """

    kind: Literal[JobKind.COMMAND_EVALUATE] = JobKind.COMMAND_EVALUATE
    candidate_id: str
    artifact: str
    evaluation: CommandEvaluation
    role: Literal["search", "screen", "confirm"] = "screen"
    seed: int = 0
    parameters: dict[str, float] = Field(default_factory=dict)
    root: str = ""


class EmbedTexts(Payload):
    """Embed texts with the sentence-embedding model; the result is one unit vector a text."""

    kind: Literal[JobKind.EMBED_TEXTS] = JobKind.EMBED_TEXTS
    texts: tuple[str, ...]


class Embeddings(Value):
    """Unit vectors, one a text, and the model that made them."""

    model: str
    vectors: tuple[tuple[float, ...], ...]


class ListItems(Payload):
    """Read what a slice's items ask, without their answers or tests."""

    kind: Literal[JobKind.LIST_ITEMS] = JobKind.LIST_ITEMS
    benchmark: Benchmark
    root: str = ""


class ItemTexts(Value):
    """What the items of one slice ask: item id -> prompt, in the slice's order."""

    benchmark: str
    prompts: dict[str, str]


class Exported(Value):
    """Files that an export wrote: name -> digest in the artifact store."""

    files: dict[str, str]
    checksum: str


JobPayload = MergeEvaluate | MergeExport | EvaluateArtifact | CommandEvaluate | EmbedTexts | ListItems
JobResult = Evaluation | Exported | Embeddings | ItemTexts
