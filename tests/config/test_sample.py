"""The shipped configuration file: written from the definitions, loadable, at the defaults."""

from dataclasses import replace
from pathlib import Path

import pytest

from llmqd.config.limits import OwnLimits
from llmqd.config.load import load
from llmqd.config.model import SECTIONS, Config, Section
from llmqd.config.sample import sample
from llmqd.config.setting import settings_of

SHIPPED = Path(__file__).parents[2] / "etc" / "llmqd.toml"
ENVIRON = {"OPENAI_API_KEY": "k", "SECOND_KEY": "k2", "ALERT_WEBHOOK": "https://a.example/x", "ALERT_SECRET": "s"}


def load_text(path: Path, text: str) -> Config:
    path.write_text(text)
    return replace(load(path, ENVIRON), source=None, warnings=())


def test_the_shipped_file_is_what_init_writes() -> None:
    assert SHIPPED.read_text() == sample(), "write it anew: llmqd init --force etc/llmqd.toml"


def test_the_shipped_file_changes_nothing(tmp_path: Path) -> None:
    assert load_text(tmp_path / "a.toml", sample()) == load_text(tmp_path / "b.toml", "")
    plain = load(SHIPPED, {})
    assert replace(plain, source=None, warnings=()) == Config()


def test_every_setting_stands_in_it_once_with_its_help() -> None:
    lines = sample().splitlines()
    for section in (one for outer in SECTIONS for one in (outer, *outer.inside)):
        prefix = "upstream." if section.name in {"key", "limit"} else ""
        header = section.title(prefix)
        start = next(at for at, line in enumerate(lines) if line.lstrip("#") == header)
        end = next((at for at in range(start, len(lines)) if not lines[at]), len(lines))
        for setting in section.settings.values():
            assert sum(line.startswith(f"#{setting.name} = ") for line in lines[start:end]) == 1
            assert f"# {setting.help.splitlines()[0]}" in lines[start:end]


def settings() -> list[tuple[Section, str]]:
    return [(one, name) for outer in SECTIONS for one in (outer, *outer.inside) for name in one.settings]


NEEDED = {
    "key": '[[upstream]]\nname = "openai"\n[[upstream.key]]\n',
    "limit": '[[upstream]]\nname = "openai"\n[[upstream.limit]]\n',
    "route": '[[upstream]]\nname = "openai"\n[[route]]\n',
    "price": "[[price]]\n",
    "budget": "[[budget]]\n",
    "middleware": "[[middleware]]\n",
    "upstream": "[[upstream]]\n",
}
"""What must stand around a setting of a table that can be repeated."""


@pytest.mark.parametrize(("section", "name"), settings(), ids=lambda one: one.name if isinstance(one, Section) else one)
def test_each_line_can_be_uncommented_and_means_the_default(tmp_path: Path, section: Section, name: str) -> None:
    lines = sample().splitlines()
    start = next(at for at, line in enumerate(lines) if line.lstrip("#[").rstrip("]").split(".")[-1] == section.name)
    written = {
        line.split(" = ")[0][1:]: line[1:] for line in reversed(lines[start:]) if " = " in line and line[1] != " "
    }
    always = {one.name for one in section.settings.values() if one.required} | (
        {"api_key"} if section.name == "key" else set()
    )
    if section.name == "price":
        always.add("input")
    if section.name == "limit":
        always.add("requests_per_minute")
    head = NEEDED.get(section.name, f"[{section.name}]\n")
    before = head + "".join(f"{written[one]}\n" for one in section.settings if one in always)
    after = head + "".join(f"{written[one]}\n" for one in section.settings if one in always | {name})
    with_line, without = load_text(tmp_path / "a.toml", after), load_text(tmp_path / "b.toml", before)
    setting = section.settings[name]
    if setting.example is None:
        assert with_line == without
    elif section.name == "upstream" and name == "requests_per_minute":
        # The same rate, but said by the operator, so that nothing above it is tried.
        (key,), (unset,) = with_line.upstreams[0].keys, without.upstreams[0].keys
        assert key.limits == replace(unset.limits, assumed=False)
    elif section.name == "upstream" and name in set(settings_of(OwnLimits)) - {"reserve_output"}:
        assert with_line.upstreams[0].keys == without.upstreams[0].keys
    elif section.name == "upstream" and name in {"type", "base_url", "api_key"}:
        assert with_line == without
