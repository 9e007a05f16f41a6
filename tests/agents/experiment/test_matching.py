"""Works and the built-in methods that implement them."""

from pathlib import Path

from agents.experiment.matching import match_works, methods_of, with_methods
from agents.survey.dedupe import make_work
from agents.survey.sources.catalogue import CatalogueSource
from core.merging_table import DECLARATIONS
from core.types.candidate import Fidelity
from core.types.work import WorkIds

METHODS = tuple(DECLARATIONS.values())
CATALOGUE = Path(__file__).parents[3] / "examples" / "smollm-merge" / "catalogue.jsonl"


async def test_every_work_of_the_tutorial_is_matched_or_said_not_to_be() -> None:
    works = (await CatalogueSource(CATALOGUE).search("")).works
    rows = match_works(works, METHODS)
    assert {r.work_key for r in rows} == {w.key for w in works}
    missing = {r.work_title for r in rows if r.fidelity is Fidelity.NOT_BUILT_IN}
    assert missing == {
        "Arcee's MergeKit: A Toolkit for Merging Large Language Models",
        "Model Merging in LLMs, MLLMs, and Beyond: Methods, Theories, Applications and Opportunities",
    }
    ties = {r.method: r.fidelity for r in rows if r.work_key == "arxiv:2306.01708"}
    assert ties["ties"] is Fidelity.ADAPTED
    assert all(r.reason for r in rows)


def test_an_id_wins_over_names() -> None:
    impostor = make_work("TIES", WorkIds(arxiv="2999.00001"))
    assert methods_of(impostor, METHODS)[0] == ()


def test_a_work_without_id_is_matched_by_its_name() -> None:
    work = make_work("Model Stock: All we need is just a few fine-tuned models", WorkIds())
    (matched,) = with_methods([work], METHODS)
    assert matched.method == "model_stock"
    unknown = make_work("Something else entirely", WorkIds())
    assert with_methods([unknown], METHODS)[0].method is None
