"""XML from strangers, BibTeX, and catalogue files."""

import json
from pathlib import Path

import pytest

from agents.survey.sources.atom import parse_xml
from agents.survey.sources.bibtex import parse_bibtex
from agents.survey.sources.catalogue import CatalogueSource
from core.errors import InvalidInputError, SourceError

BIB = r"""
% a comment with an @article{ in it, on the same line
@article{one, title = {The {BERT} of M{\"u}ller}, author = "A. M{\"u}ller and Lee, B.", year = 2023,
  eprint = {2301.00001}, archivePrefix = {arXiv}}
@misc{two, title = "Quoted, " # "joined", doi={10.1234/ABC}}
@comment{ignored, title={No}}
@article{broken, title = {never closed
@book(three, title={In parentheses}, year={1999})
"""


@pytest.mark.parametrize(
    "text",
    [
        '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
        '<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
        "<a><b></a>",
        "",
        "not xml",
    ],
)
def test_dangerous_or_broken_xml_is_refused(text: str) -> None:
    with pytest.raises(SourceError):
        parse_xml(text.encode())


def test_plain_xml_is_read() -> None:
    root = parse_xml(b'<f xmlns="urn:x"><e k="v">a &amp; b</e></f>')
    assert root.tag == "{urn:x}f"
    assert [(e.tag, e.text, e.attrib) for e in root] == [("{urn:x}e", "a & b", {"k": "v"})]


def test_bibtex_is_read_around_what_is_broken() -> None:
    read = parse_bibtex(BIB)
    titles = {e["key"]: e["title"] for e in read.entries}
    assert titles["one"] == "The BERT of Müller"
    assert titles["two"] == "Quoted, joined"
    assert titles["three"] == "In parentheses"
    assert read.broken >= 1


async def test_a_bibtex_catalogue(tmp_path: Path) -> None:
    path = tmp_path / "works.bib"
    path.write_text(BIB, encoding="utf-8")
    works = {w.title: w for w in (await CatalogueSource(path).search("")).works}
    assert works["The BERT of Müller"].ids.arxiv == "2301.00001"
    assert works["The BERT of Müller"].authors == ("A. Müller", "Lee, B.")
    assert works["Quoted, joined"].ids.doi == "10.1234/abc"


async def test_a_csl_catalogue(tmp_path: Path) -> None:
    item = {
        "title": "Merging", "DOI": "10.1/x", "issued": {"date-parts": [[2024, 1]]},
        "author": [{"family": "Lee", "given": "B."}, {"literal": "A Group"}], "container-title": "ICML",
    }  # fmt: skip
    path = tmp_path / "works.json"
    path.write_text(json.dumps([item, {"no": "title"}]), encoding="utf-8")
    source = CatalogueSource(path)
    (work,) = (await source.search("")).works
    assert (work.authors, work.year, work.venue) == (("B. Lee", "A Group"), 2024, "ICML")
    assert source.malformed == ("row 2: no title",)


async def test_a_jsonl_catalogue_pages_and_filters(tmp_path: Path) -> None:
    path = tmp_path / "works.jsonl"
    rows = [json.dumps({"title": f"Work {n} on merging", "year": 2020}) for n in range(5)]
    path.write_text("\n".join([*rows, "{broken", "[]"]), encoding="utf-8")
    source = CatalogueSource(path, page_size=2)
    pages = [await source.search("", page) for page in range(3)]
    assert [len(p.works) for p in pages] == [2, 2, 1]
    assert [p.next_page for p in pages] == [1, 2, None]
    assert (await source.search("merged 3")).total == 1
    assert len(source.malformed) == 2


@pytest.mark.parametrize(
    ("name", "text"), [("a.txt", "x"), ("missing.bib", None), ("empty.jsonl", ""), ("bad.json", "{")]
)
def test_unusable_catalogues_say_so(tmp_path: Path, name: str, text: str | None) -> None:
    path = tmp_path / name
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInputError, match=name):
        CatalogueSource(path)
