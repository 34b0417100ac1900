"""The root document of a complete archive: it holds the documents of all nodes, so that readers open one file.

It is made of the texts of the documents, since encoding each a second time would take longer than writing all of them.
"""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from typing import Any


def root_text(root: Mapping[str, Any], texts: Mapping[str, str], groups: Container[str]) -> str:
    """The JSON text of the root document.

    Args:
        root: the document, without the others.
        texts: the documents of all other nodes as JSON, by their paths from the root.
        groups: paths of those that are groups; zarr-python gives each an empty field for what is below it.
    """
    names = sorted(texts, key=lambda name: (name.count("/"), name))
    inside = (f"{json.dumps(name)}: {_with(texts[name]) if name in groups else texts[name]}" for name in names)
    return _with(json.dumps(root, allow_nan=False), ", ".join(inside))


def _with(group: str, inside: str = "") -> str:
    """A group's document with the field for the documents below it."""
    field = '"kind": "inline", "must_understand": false, "metadata": {' + inside + "}"
    return f'{group[:-1]}, "consolidated_metadata": {{{field}}}}}'
