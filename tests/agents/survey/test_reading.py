"""Reading titles, topics and curated lists."""

import pytest

from agents.survey.dedupe import make_work
from agents.survey.lists import is_topical, read_list
from agents.survey.queries import grown
from agents.survey.sources.ports import ListCandidate
from agents.survey.taxonomy import says_what
from agents.survey.text import arxiv_id, doi, github_repositories, normalize_title, query_text, stems
from agents.survey.topic import topic_of
from core.types.sow import StatementOfWork
from core.types.work import WorkIds

README = """
# Awesome Model Merging
[![badge](https://img.shields.io/x.svg)](https://github.com/a/b)

## Methods
### Routing (12 papers)
- **Twin Routing of Experts**, NeurIPS 2024. [[paper]](https://arxiv.org/abs/2401.00001v3) [[code]](https://github.com/x/twin.git)
* [DOI Only: A Study of Merging](https://doi.org/10.5555/abcd) *ICML 2023*
1. [Numbered Entries Work Too](https://arxiv.org/pdf/2401.00003)
```
- [Not A Work At All](https://arxiv.org/abs/2401.99999)
```
### Tables
| Paper | Year |
|---|---|
| [A Table Row on Merging](https://arxiv.org/pdf/2401.00004) | 2024 |
| [Arithmetic [of Tasks] (Again)](https://openreview.net/forum?id=abc) | 2023 |
## More
- [Another Work With a Title](https://arxiv.org/abs/2401.00006)
- [And One More of Them](https://arxiv.org/abs/2401.00007)
- [The Eighth Work of This List](https://arxiv.org/abs/2401.00008)
- [Contributing guide](CONTRIBUTING.md)
- just text
- [A blog about nothing](https://example.org/blog)
"""


def sow(title: str, **survey: object) -> StatementOfWork:
    return StatementOfWork(sow=1, title=title, survey=survey)


def test_a_list_is_read_with_its_headings() -> None:
    read = read_list("a/b", README)
    assert read is not None
    by_title = {e.title: e for e in read.entries}
    assert set(by_title) == {
        "Twin Routing of Experts", "DOI Only: A Study of Merging", "Numbered Entries Work Too",
        "A Table Row on Merging", "Arithmetic [of Tasks] (Again)", "Another Work With a Title", "And One More of Them",
        "The Eighth Work of This List",
    }  # fmt: skip
    routed = by_title["Twin Routing of Experts"]
    assert (routed.arxiv, routed.code) == ("2401.00001", ("https://github.com/x/twin",))
    assert routed.headings == ("Methods", "Routing")
    assert by_title["DOI Only: A Study of Merging"].doi == "10.5555/abcd"
    assert by_title["A Table Row on Merging"].headings == ("Methods", "Tables")
    assert by_title["The Eighth Work of This List"].headings == ("More",)


def test_a_readme_with_few_works_is_no_list() -> None:
    assert read_list("a/b", "# Tool\n- [Our Paper on Merging](https://arxiv.org/abs/2401.00001)\n") is None


def test_a_huge_or_hostile_readme_is_read_in_time() -> None:
    assert read_list("a/b", "- " + "[" * 20000 + "](" * 20000) is None
    assert read_list("a/b", "- [" + "a" * 50000 + "](http://" + "(" * 2000) is None


def test_lists_of_other_topics_are_passed_over() -> None:
    topic = topic_of(sow("Model merging"))
    assert is_topical(ListCandidate(full_name="x/Awesome-Model-Merging", url="u"), topic)
    assert not is_topical(ListCandidate(full_name="x/awesome-federated", url="u", description="papers"), topic)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://arxiv.org/abs/2306.01708v2", "2306.01708"),
        ("http://arxiv.org/pdf/2306.01708.pdf", "2306.01708"),
        ("10.48550/arXiv.2306.01708", "2306.01708"),
        ("hep-th/9901001v1", "hep-th/9901001"),
        ("version 1234.56789012", None),
        ("in 2024.99 we", None),
        ("9913.12345", None),
        (None, None),
    ],
)
def test_arxiv_ids(text: str | None, expected: str | None) -> None:
    assert arxiv_id(text) == expected


def test_other_ids_and_links() -> None:
    assert doi("https://doi.org/10.1145/3298981.") == "10.1145/3298981"
    assert doi("https://doi.org/10.48550/arXiv.2306.01708") is None
    text = "see github.com/A/b.git, https://github.com/a/B and https://github.com/topics/x"
    assert github_repositories(text) == ("https://github.com/A/b",)
    assert normalize_title(r"Na\"ive $\ell_2$ Über-Merging!") == "na ive 2 uber merging"
    assert stems("merging merged merges models") == ["merg", "merg", "merg", "model"]


def test_a_topic_is_named_by_the_head_of_the_title() -> None:
    topic = topic_of(sow("Model merging for large language models"))
    assert topic.labels == ("model merging",)
    assert topic.directness(stems("A survey of merging models")) == pytest.approx(0.8)
    assert topic.directness(stems("Better Model Merging")) == 1
    assert topic.directness(stems("Merge LoRAs")) == 0.5
    assert topic.directness(stems("Large language models")) == 0
    assert "large language model agents" in topic_of(sow("LLM agents")).labels


def test_inclusion_terms_come_first_and_exclusions_rule_out() -> None:
    topic = topic_of(sow("Better models", include=("task vectors",), exclude=("image generation",)))
    assert topic.labels[0] == "task vectors"
    assert topic.excluded_by(stems("Merging for image generation")) is not None
    assert topic.excluded_by(stems("Merging of image classifiers")) is None


def test_writing_without_blanks_is_read_as_phrases() -> None:
    topic = topic_of(sow("模型合并", include=("模型合并",)))
    assert topic.directness(stems("大语言模型合并方法综述")) == 1
    assert topic.directness(stems("联邦学习")) == 0
    assert query_text("模型合并: LLM!") == "模型合并 llm"


@pytest.mark.parametrize(
    ("heading", "tells"),
    [
        ("Secure Aggregation (3 papers)", True),
        ("ICLR 2023", False),
        ("Federated Learning Papers in Conferences", False),
        ("Poster", False),
        ("Decentralized Training", True),
        ("March 2024", False),
    ],
)
def test_headings_that_only_say_where_and_when_are_no_categories(heading: str, tells: bool) -> None:
    assert says_what(heading, stems("federated learning")) is tells


def test_what_is_not_printable_never_gets_in() -> None:
    assert make_work("A\x00 title\u202e \ud800here", WorkIds(), year=99999).model_dump_json()
    assert make_work("x", WorkIds(), year=10**30).year is None


def test_queries_grow_from_titles_of_the_topic_only() -> None:
    topic = topic_of(sow("Model merging"))
    inside = [f"Task arithmetic for {x} model merging" for x in ("vision", "speech", "text", "code")]
    outside = [f"Secure aggregation {x}" for x in range(5)]
    queries = grown(topic, inside, outside, 3)
    assert "task arithmetic" in queries
    assert not any("aggregation" in q for q in queries)
