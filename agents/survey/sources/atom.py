"""Parse XML from strangers into a tree: no DTD, no entities of its own, nothing fetched.

Expat with document types refused, so that neither entity bombs nor external entities can occur.
"""

from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from core.errors import SourceError


class _RefusedError(Exception):
    """The document declares a type."""


def parse_xml(data: bytes) -> Element:
    """Return the root element, names as `{namespace}name`; raise SourceError for anything but plain XML."""
    builder = TreeBuilder()
    parser = expat.ParserCreate(namespace_separator="}")
    parser.StartElementHandler = lambda name, attributes: builder.start(
        _name(name), {_name(k): v for k, v in attributes.items()}
    )
    parser.EndElementHandler = lambda name: builder.end(_name(name))
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = _refuse
    parser.EntityDeclHandler = _refuse
    try:
        parser.Parse(data, True)
        root = builder.close()
    except (expat.ExpatError, AssertionError) as error:
        raise SourceError("The answer is not well-formed XML.") from error
    except _RefusedError as error:
        raise SourceError("The answer declares a document type; such XML is not read.") from error
    if not isinstance(root, Element):
        raise SourceError("The answer is not well-formed XML.")
    return root


def _name(name: str) -> str:
    return "{" + name if "}" in name else name


def _refuse(*_: object) -> None:
    raise _RefusedError
