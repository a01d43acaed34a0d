import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.config.places import Path, locate

TEXT = '''\
# a comment with [brackets] and = signs
[server]
listen = [
  "127.0.0.1:1", # one
  "127.0.0.1:2",
]
max_body = "1MiB"

[[upstream]]
name = "a # not a comment"
headers = { "X-A" = "1", X-B = "env:B" }

[[upstream]]
name = """
[queue]
max_wait = "1s"
"""
type = 'openai'

  [[upstream.key]]
  name = "k1"
  [[upstream.key]]
  "name" = "k2"

[upstream.headers]
X-C = "1"

[queue]
max_wait = "10s"
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("server",), 2),
        (("server", "listen"), 3),
        (("server", "listen", 1), 5),
        (("server", "max_body"), 7),
        (("upstream",), 9),
        (("upstream", 0), 9),
        (("upstream", 0, "name"), 10),
        (("upstream", 0, "headers", "X-B"), 11),
        (("upstream", 1), 13),
        (("upstream", 1, "type"), 18),
        (("upstream", 1, "key", 0), 20),
        (("upstream", 1, "key", 1, "name"), 23),
        (("upstream", 1, "headers", "X-C"), 26),
        (("queue",), 28),
        (("queue", "max_wait"), 29),
    ],
)
def test_each_key_is_found_on_its_line(path: Path, line: int) -> None:
    tomllib.loads(TEXT)
    assert locate(TEXT)[path] == line


def test_nothing_inside_of_a_string_is_taken_for_a_key() -> None:
    text = 'a = \'\'\'\nb = 1\n\'\'\'\nc = "x\\"" # d = 1\ne = """q\\""""\nf = 1\n'
    assert tomllib.loads(text)["e"] == 'q"'
    assert locate(text) == {("a",): 1, ("c",): 4, ("e",): 5, ("f",): 6}


def test_dotted_keys_and_tables_inside_arrays_have_places() -> None:
    text = "log.level = 'info'\nupstream = [\n  { name = 'a' },\n  { name = 'b' } ]\n"
    places = locate(text)
    assert places[("log", "level")] == 1
    assert places[("upstream", 1, "name")] == 4


_key = st.from_regex(r"[a-z][a-z0-9_-]{0,5}", fullmatch=True)
_scalar = st.one_of(
    st.integers(-5, 5).map(str),
    st.sampled_from(
        ["true", "1.5", "1979-05-27T07:32:00Z", '"x = 1"', "'#'", '"""a\n[b]\nc"""', "[1, [2, '3]'],\n 4]"]
    ),
)


@given(st.lists(st.tuples(_key, _scalar), unique_by=lambda pair: pair[0], max_size=6), st.integers(0, 3))
def test_the_places_are_those_of_all_keys_that_the_parser_sees(pairs: list[tuple[str, str]], blank: int) -> None:
    lines = {}
    text = ""
    for key, value in pairs:
        text += "\n" * blank + "# note = [\n"
        lines[key] = text.count("\n") + 1
        text += f"{key} = {value} # end\n"
    assert set(tomllib.loads(text)) == set(lines)
    assert {path[0]: line for path, line in locate(text).items() if len(path) == 1} == lines
