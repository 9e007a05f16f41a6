"""Identity of works: ids first, then titles with authors and years."""

import itertools
from typing import Any

import pytest

from agents.survey.dedupe import MAX_PROVENANCE, Pool, make_work
from core.types.work import Provenance, Work, WorkIds


def work(title: str, *, authors: tuple[str, ...] = ("A. Lee",), year: int | None = 2024, **ids: Any) -> Work:
    return make_work(title, WorkIds(**ids), authors=authors, year=year)


def test_one_id_under_two_titles_is_one_work() -> None:
    pool = Pool()
    pool.add(work("Model Tinting", arxiv="2412.19098"), "a")
    record, new = pool.add(work("SyMerge: Single-Layer Adaptation", arxiv="2412.19098"), "b")
    assert not new
    assert record.occasions == {"a", "b"}
    assert pool.find(work("SyMerge: single-layer adaptation")) is record


def test_two_ids_under_one_title_are_two_works() -> None:
    pool = Pool()
    pool.add(work("Merging Models", arxiv="2301.00001"))
    pool.add(work("Merging Models", arxiv="2301.00002"))
    assert len(pool) == 2


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (work("MERGING models!"), True),
        (work("Merging Models", authors=("Lee, Anna",)), True),
        (work("Merging Models", authors=()), True),
        (work("Merging Models", authors=("B. Kim",)), False),
        (work("Merging Models", year=2010), False),
    ],
)
def test_titles_need_author_and_year(other: Work, same: bool) -> None:
    pool = Pool()
    pool.add(work("Merging Models"))
    assert pool.add(other)[1] is not same


def test_any_order_of_arrival_gives_one_work() -> None:
    arrivals = [
        work("Merging Models", doi="10.5555/abc"),
        work("Merging Models", s2="f" * 40),
        work("Merging models (v2)", doi="10.5555/abc", arxiv="2301.00001"),
        work("Merging models (v2)", s2="f" * 40, openalex="W1"),
    ]
    for order in itertools.permutations(arrivals):
        pool = Pool()
        keys = [pool.add(w)[0].key for w in order]
        assert len(pool) == 1
        (record,) = pool
        assert record.key == "arxiv:2301.00001"
        assert all(pool.get(k) is record for k in keys)
        assert record.work.ids == WorkIds(arxiv="2301.00001", doi="10.5555/abc", s2="f" * 40, openalex="W1")


def test_provenance_does_not_grow_without_end() -> None:
    pool = Pool()
    for number in range(100):
        one = work("Merging Models", arxiv="2301.00001")
        pool.add(one.evolve(provenance=(Provenance(source=f"s{number % 3}", query=str(number)),)))
    (record,) = pool
    assert len(record.work.provenance) == MAX_PROVENANCE
    assert {p.source for p in record.work.provenance} == {"s0", "s1", "s2"}
