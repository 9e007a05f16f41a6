"""Reading titles: normal forms, words, stems, and the identifiers written in free text.

Purely textual; knows no topic. Stems are Porter's first steps only (plural, -ed, -ing, -er), which is what titles need
for 'merge', 'merging' and 'merged' to meet; it is no linguistics.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache

_STOP_WORDS = (
    "a an and are as at be but by can do does for from how in into is it its not of on or our over so than that the "
    "their them then there these this to toward towards under up upon using use used via we what when where which "
    "while who why will with within without you your vs versus"
)
_GENERIC_WORDS = (
    "analysis approach approaches aware based baseline benchmark better beyond case comprehensive case deep effective "
    "efficient empirical enhanced enhancing evaluation exploring fast framework free generic good guided improved "
    "improving introduction investigating large learning literature method methods model models network networks "
    "neural new novel overview paper perspective problem related rethinking review revisiting robust scalable simple "
    "strong study survey system systems systematic technique techniques theory training unified work works"
)
STOP_WORDS = frozenset(_STOP_WORDS.split())
# Words that say that something is a paper, not what it is about.
GENERIC_WORDS = frozenset(_GENERIC_WORDS.split())

_ARXIV = re.compile(r"(?<![\d.])(\d{4}\.\d{4,5})(?:v\d+)?(?![\d])")
_ARXIV_OLD = re.compile(r"\b([a-z][a-z-]+(?:\.[A-Z]{2})?/\d{7})(?:v\d+)?\b")
_ARXIV_DOI = re.compile(r"10\.48550/arxiv\.(\d{4}\.\d{4,5})", re.IGNORECASE)
_DOI = re.compile(r"\b(10\.\d{4,9}/[^\s\"'<>()\[\]{}]+)", re.IGNORECASE)
_GITHUB = re.compile(
    r"(?:https?://)?(?:www\.)?github\.com/([A-Za-z0-9](?:[A-Za-z0-9-]{0,38}))/([A-Za-z0-9._-]{1,100})", re.IGNORECASE
)
_NOT_OWNERS = frozenset({"topics", "search", "features", "orgs", "sponsors", "about", "apps", "marketplace"})
# Writing without blanks between words (Chinese, Japanese) is cut into characters: a phrase is then a run of them.
_UNSPACED = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+(?:\+\+|\+)?")
_CUT = re.compile(rf"(?<=[{_UNSPACED}]) (?=[{_UNSPACED}])")
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Return a text with single blanks and without controls, lone surrogates and marks that turn writing around.

    None of these can be stored in every database and file, and the last make a title show other than it reads.
    """
    return " ".join(_UNPRINTABLE.sub(" ", text).split())


@lru_cache(maxsize=8192)
def normalize_title(title: str) -> str:
    """Return a title without case, accents, TeX and punctuation, so that spellings of one title meet."""
    plain = unicodedata.normalize("NFKD", re.sub(r"\\[a-zA-Z]+|[${}\\]", " ", title))
    plain = "".join(c for c in plain if not unicodedata.combining(c)).casefold()
    return " ".join(_WORD.findall(plain))


def query_text(text: str) -> str:
    """Return a text as search engines are asked for it: words without punctuation, uncut where they had no blanks."""
    return _CUT.sub("", normalize_title(text))


def words(text: str) -> list[str]:
    """Return the lower-case words of a text, stop words included."""
    return normalize_title(text).split()


def stem(word: str) -> str:
    """Return a word without its plural and verbal endings."""
    if len(word) <= 3 or not word.isascii():
        return word
    for ending, put in (("sses", "ss"), ("ies", "y"), ("ss", "ss"), ("us", "us"), ("is", "is"), ("s", "")):
        if word.endswith(ending):
            word = word[: -len(ending)] + put
            break
    for ending in ("ings", "ing", "ed", "er"):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and re.search(r"[aeiouy]", word[: -len(ending)]):
            word = word[: -len(ending)]
            if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "lsz":
                word = word[:-1]
            break
    return word.removesuffix("e") if len(word) > 4 else word


def stems(text: str, *, keep_stop_words: bool = False) -> list[str]:
    """Return the stems of a text's words, without stop words unless asked."""
    return [stem(w) for w in words(text) if keep_stop_words or w not in STOP_WORDS]


def ngrams(tokens: list[str], size: int) -> Iterator[tuple[str, ...]]:
    """Yield runs of `size` tokens."""
    return zip(*(tokens[i:] for i in range(size)), strict=False)


def contains_phrase(tokens: list[str], phrase: Iterable[str]) -> bool:
    """Return whether stemmed tokens hold a stemmed phrase, in order and adjacent."""
    wanted = tuple(phrase)
    return bool(wanted) and wanted in set(ngrams(tokens, len(wanted)))


def arxiv_id(text: str | None) -> str | None:
    """Return the first arXiv id in a text or URL, without its version."""
    if not text:
        return None
    doi = _ARXIV_DOI.search(text)
    if doi:
        return doi.group(1)
    for pattern in (_ARXIV, _ARXIV_OLD):
        found = pattern.search(text)
        if found and _plausible(found.group(1)):
            return found.group(1)
    return None


def _plausible(candidate: str) -> bool:
    return "/" in candidate or 1 <= int(candidate[2:4]) <= 12


def doi(text: str | None) -> str | None:
    """Return the first DOI in a text or URL in lower case, or None for arXiv's own DOIs."""
    found = _DOI.search(text or "")
    if not found or _ARXIV_DOI.match(found.group(1)):
        return None
    return found.group(1).rstrip(".,;").lower()


def github_repositories(text: str | None) -> tuple[str, ...]:
    """Return the GitHub repositories that a text names, as canonical URLs, in order and once each."""
    seen: dict[str, str] = {}
    for owner, name in _GITHUB.findall(text or ""):
        clean = name.rstrip(".").removesuffix(".git")
        if clean and owner.lower() not in _NOT_OWNERS:
            seen.setdefault(f"{owner}/{clean}".lower(), f"https://github.com/{owner}/{clean}")
    return tuple(seen.values())


def acronym_of(title: str) -> str | None:
    """Return the name before the colon of a title ('TIES-Merging: …'), where it is one short name."""
    head, colon, rest = title.partition(":")
    if colon and rest.strip() and 1 <= len(head.split()) <= 2 and len(head) <= 30:
        return head.strip()
    return None


def shorten(text: str, length: int) -> str:
    """Return a text cut at a word, with an ellipsis where something is missing."""
    flat = " ".join(text.split())
    if len(flat) <= length:
        return flat
    return flat[: length - 1].rsplit(" ", 1)[0] + "…"
