"""The kinds of verifiable constraint; each knows its arguments and checks one response.

White space at a response's ends never counts. A word is a run of non-space characters with a letter, a digit or an
underscore. Adding a kind is adding a class; an unknown kind or argument is refused when a benchmark is loaded.
"""

import json
import re
from abc import abstractmethod
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, TypeAdapter, ValidationError

from core.errors import InvalidInputError
from core.types.base import Value

Count = Annotated[int, Field(ge=0, le=100_000)]
Text = Annotated[str, Field(min_length=1, max_length=1000)]


def words(text: str) -> list[str]:
    """Return the words of a text: a run of punctuation alone is none."""
    return [run for run in text.split() if re.search(r"\w", run)]


class Constraint(Value):
    """Something that a response either meets or does not."""

    kind: str

    @abstractmethod
    def met(self, text: str) -> bool:
        """Say whether a response, stripped of white space at its ends, meets this."""


class Uppercase(Constraint):
    """Letters, and none of them lower case."""

    kind: Literal["uppercase"]

    def met(self, text: str) -> bool:
        """Compare with the text in capitals."""
        return text == text.upper() and any(c.isalpha() for c in text)


class Lowercase(Constraint):
    """Letters, and none of them upper case."""

    kind: Literal["lowercase"]

    def met(self, text: str) -> bool:
        """Compare with the text in small letters."""
        return text == text.lower() and any(c.isalpha() for c in text)


class WordCount(Constraint):
    """Exactly so many words."""

    kind: Literal["word_count"]
    count: Count

    def met(self, text: str) -> bool:
        """Count."""
        return len(words(text)) == self.count


class MaxWords(Constraint):
    """At least one word and at most so many."""

    kind: Literal["max_words"]
    count: Count

    def met(self, text: str) -> bool:
        """Count."""
        return 1 <= len(words(text)) <= self.count


class StartsWith(Constraint):
    """A given beginning."""

    kind: Literal["starts_with"]
    prefix: Text

    def met(self, text: str) -> bool:
        """Look at the beginning."""
        return text.startswith(self.prefix)


class EndsWith(Constraint):
    """A given end."""

    kind: Literal["ends_with"]
    suffix: Text

    def met(self, text: str) -> bool:
        """Look at the end."""
        return text.endswith(self.suffix)


class Include(Constraint):
    """A word or phrase, in any case, at least so many times."""

    kind: Literal["include"]
    keyword: Text
    count: Count = 1

    def met(self, text: str) -> bool:
        """Count whole-word matches."""
        return len(re.findall(rf"\b{re.escape(self.keyword)}\b", text, re.IGNORECASE)) >= self.count


class ExcludeCharacter(Constraint):
    """Something, without a given character."""

    kind: Literal["exclude_character"]
    character: Text

    def met(self, text: str) -> bool:
        """Look for the character."""
        return text != "" and self.character not in text


class ListItems(Constraint):
    """Nothing but a list: so many lines, each a marker, a space and words."""

    kind: Literal["list_items"]
    count: Count
    marker: Text

    def met(self, text: str) -> bool:
        """Look at every line that is not blank."""
        lines = [line for line in text.splitlines() if line.strip()]
        return len(lines) == self.count and all(
            line.startswith(self.marker + " ") and bool(words(line)) for line in lines
        )


class Quoted(Constraint):
    """Something between double quotation marks."""

    kind: Literal["quoted"]

    def met(self, text: str) -> bool:
        """Look at both ends."""
        return len(text) >= 3 and text.startswith('"') and text.endswith('"')


class JsonKeys(Constraint):
    """A JSON object with exactly these keys."""

    kind: Literal["json_keys"]
    keys: tuple[Text, ...]

    def met(self, text: str) -> bool:
        """Parse."""
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return False
        return isinstance(value, dict) and set(value) == set(self.keys)


class Separated(Constraint):
    """So many parts with words, between a separator."""

    kind: Literal["separated"]
    count: Count
    separator: Text

    def met(self, text: str) -> bool:
        """Split."""
        parts = text.split(self.separator)
        return len(parts) == self.count and all(words(part) for part in parts)


class Enclosed(Constraint):
    """Something between an opening and a closing text."""

    kind: Literal["enclosed"]
    opening: Text
    closing: Text

    def met(self, text: str) -> bool:
        """Look at both ends."""
        inside = len(text) - len(self.opening) - len(self.closing)
        return inside > 0 and text.startswith(self.opening) and text.endswith(self.closing)


class _Kinds:
    """All kinds by name."""

    by_name: ClassVar[dict[str, TypeAdapter[Any]]] = {
        kind.model_fields["kind"].annotation.__args__[0]: TypeAdapter(kind)  # type: ignore[union-attr]
        for kind in Constraint.__subclasses__()
    }


def read_constraint(row: object, where: str) -> Constraint:
    """Read one constraint of a benchmark's row; raise InvalidInputError that says what is wrong and where."""
    kind = row.get("kind") if isinstance(row, dict) else None
    if not isinstance(kind, str) or kind not in _Kinds.by_name:
        raise InvalidInputError(
            f"{where}: there is no kind of constraint {kind!r}.", fix=f"Kinds: {', '.join(sorted(_Kinds.by_name))}."
        )
    try:
        read: Constraint = _Kinds.by_name[kind].validate_python(row)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or kind
        raise InvalidInputError(f"{where}: constraint {kind!r}, {field}: {first['msg']}.") from error
    return read
