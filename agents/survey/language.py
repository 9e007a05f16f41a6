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


def _as_it_is(text: str) -> str:
    return text


def count_of_works(number: int, say: Say) -> str:
    """Return how many works, in words that agree with the number."""
    return say("1 work") if number == 1 else say("{n} works").format(n=number)
