"""Gives the model of a request another name in the bytes of its body."""

from __future__ import annotations

import mmap

import orjson

from llmqd.tap.members import last_member
from llmqd.web.form import boundary_of, field_values
from llmqd.web.splice import Splice

_COLLECTION = "models/"
"""Gemini bodies may name a model as a resource: `models/gemini-2.5-pro` (Gemini API: "EmbedContentRequest")."""


def rename_model(data: bytes | mmap.mmap, content_type: str, asked: str, model: str) -> tuple[Splice, ...]:
    """What to replace so that the body asks for `model`. `asked` is the model that it asks for, which was read from it:
    `data` is a form or a JSON object that has one."""
    if content_type.lstrip().lower().startswith("multipart/"):
        return in_form(data, boundary_of(content_type), model)
    if asked.startswith(_COLLECTION) and "/" not in model:
        model = _COLLECTION + model
    return in_json(data, model)


def in_json(data: bytes | mmap.mmap, model: str) -> tuple[Splice, ...]:
    """Replaces the value of the top-level `model` of a valid JSON object; where it stands twice, the last one, which
    is the one that parsers take. Nothing where it has none."""
    found = last_member(data, "model")
    return () if found is None else (Splice(found.value, found.end, orjson.dumps(model)),)


def in_form(data: bytes | mmap.mmap, boundary: bytes, model: str) -> tuple[Splice, ...]:
    """Replaces the value of every field `model` of a multipart form."""
    return tuple(Splice(start, end, model.encode()) for start, end in field_values(data, boundary, b"model"))
