"""What a survey's report says, in the language of the SoW.

The survey itself is written in one language, English, so that a later run, a reader or a program finds the same words;
a report in another translates at its edge: fixed texts by table, sentences with numbers in them by pattern. What is not
in the tables (titles, names, what a model wrote) stays as it is.
"""

from collections.abc import Callable

from agents.survey.chinese import to_chinese

# Returns a text of ours in the report's language.
Say = Callable[[str], str]


def in_language(language: str) -> Say:
    """Return what says our texts in a language: `en` or `zh`."""
    return to_chinese if language == "zh" else _as_it_is


_SOURCES = {
    "arxiv": "arXiv", "semantic_scholar": "Semantic Scholar", "openalex": "OpenAlex", "github": "GitHub",
    "hub": "model hub", "catalogue": "local catalogue", "lists": "curated lists", "seeds": "seed works",
    "target": "target sizes",
}  # fmt: skip


def name_of_source(source: str, say: Say) -> str:
    """Return a source's name as it is written in text."""
    return say(_SOURCES.get(source, source))


def _as_it_is(text: str) -> str:
    return text


def count_of_works(number: int, say: Say) -> str:
    """Return how many works, in words that agree with the number."""
    return say("1 work") if number == 1 else say("{n} works").format(n=number)


def sentence(text: str) -> str:
    """Return a text as a sentence: with a capital and a full stop of its writing."""
    if not text:
        return ""
    ends = text.endswith((".", "。", "!", "?"))
    stop = "" if ends else "。" if "\u4e00" <= text[-1] <= "\u9fff" else "."
    return f"{text[0].upper()}{text[1:]}{stop}"
