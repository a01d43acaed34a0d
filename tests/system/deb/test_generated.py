"""What the package contains beside the program is made from the program: man pages, changelog, copyright."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from llmqd import __version__
from llmqd.cli import build_parser
from llmqd.config.model import SECTIONS, Section

ROOT = Path(__file__).parents[3]
GENERATE = ROOT / "packaging" / "generate"
EPOCH = 1_767_225_600  # 2026-01-01 00:00 UTC


def generate(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, GENERATE / script, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | {"SOURCE_DATE_EPOCH": str(EPOCH)},
        timeout=60,
    )


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("man")
    result = generate("man_pages.py", directory)
    assert result.returncode == 0, result.stderr
    return directory


def sections(given: tuple[Section, ...]) -> list[Section]:
    return [each for one in given for each in (one, *sections(one.inside))]


def test_the_command_page_has_every_command_and_option(pages: Path) -> None:
    page = (pages / "llmqd.1").read_text().replace(r"\-", "-")
    (commands,) = [action for action in build_parser()._actions if action.dest == "command"]
    assert isinstance(commands.choices, dict)
    for name, parser in commands.choices.items():
        assert f".SS {name}\n" in page
        part = page.split(f".SS {name}\n")[1].split(".SS ")[0]
        missing = {
            option for action in parser._actions for option in action.option_strings if f"\\fB{option}\\fR" not in part
        }
        assert missing == {"-h", "--help"}


def test_the_command_page_has_the_actions_of_a_command(pages: Path) -> None:
    page = (pages / "llmqd.1").read_text().replace(r"\-", "-")
    part = page.split(".SS keys create\n")[1].split(".SS ")[0]
    assert "\\fB--name\\fR" in part
    assert "\\fBllmqd keys create\\fR" in page.split(".SH DESCRIPTION")[0]


@pytest.mark.parametrize("section", sections(SECTIONS), ids=lambda one: one.name)
def test_the_settings_page_has_every_setting_with_its_meaning(pages: Path, section: Section) -> None:
    page = (pages / "llmqd.toml.5").read_text().replace(r"\-", "-").replace(r"\(ti", "~").replace(r"\(ha", "^")
    part = page.split(f"{section.name}]")[1].split(".SS ")[0]
    for name, setting in section.settings.items():
        assert f"\\fB{name}\\fR\n" in part
        assert " ".join(setting.help.split()).split("\\")[0] in part


def test_the_pages_carry_version_and_date(pages: Path) -> None:
    for name in ("llmqd.1", "llmqd.toml.5"):
        assert f'"2026-01-01" "llmqd {__version__}"' in (pages / name).read_text()


@pytest.mark.skipif(shutil.which("man") is None, reason="man is not installed")
def test_troff_has_nothing_to_say_about_the_pages(pages: Path) -> None:
    for page in pages.iterdir():
        result = subprocess.run(["man", "--warnings", "-l", page], capture_output=True, text=True, timeout=60)
        assert (result.returncode, result.stderr) == (0, "")


@pytest.fixture
def changes(tmp_path: Path) -> Path:
    file = tmp_path / "CHANGELOG.md"
    file.write_text(
        "# Changelog\n\nFor operators.\n\n"
        "## 0.2.0 (unreleased)\n\n- Waits\n  longer.\n- Starts faster.\n\n"
        "## 0.1.0 (2025-03-02)\n\n- The first.\n"
    )
    return file


def test_the_changelog_is_debians(changes: Path) -> None:
    assert generate("changelog.py", changes, "0.2.0", "bookworm", EPOCH).stdout == (
        "llmqd (0.2.0) bookworm; urgency=medium\n\n"
        "  * Waits longer.\n  * Starts faster.\n\n"
        " -- the llmqd authors <llmqd@localhost>  Thu, 01 Jan 2026 00:00:00 +0000\n\n"
        "llmqd (0.1.0) bookworm; urgency=medium\n\n"
        "  * The first.\n\n"
        " -- the llmqd authors <llmqd@localhost>  Sun, 02 Mar 2025 00:00:00 +0000\n"
    )


def test_a_version_that_the_changelog_does_not_begin_with_is_refused(changes: Path) -> None:
    result = generate("changelog.py", changes, "0.3.0", "bookworm", EPOCH)
    assert result.returncode == 1
    assert "the newest version is 0.2.0, but 0.3.0 is built" in result.stderr


def test_a_heading_without_a_date_is_refused(changes: Path) -> None:
    changes.write_text("## 0.2.0\n\n- Something.\n")
    result = generate("changelog.py", changes, "0.2.0", "bookworm", EPOCH)
    assert result.returncode == 1
    assert '"0.2.0" is no heading' in result.stderr


def test_the_projects_own_changelog_can_be_packaged() -> None:
    result = generate("changelog.py", ROOT / "CHANGELOG.md", __version__, "bookworm", EPOCH)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"llmqd ({__version__}) bookworm; urgency=medium\n")


def library(site: Path, name: str, metadata: str, texts: dict[str, str]) -> None:
    """An installed library as pip leaves it."""
    info = site / f"{name}-1.0.dist-info"
    for path, text in {f"{name}/__init__.py": "", f"{info.name}/METADATA": metadata, **texts}.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(text)
    (info / "RECORD").write_text("".join(f"{path},,\n" for path in (f"{name}/__init__.py", *texts)))


def test_each_library_states_holder_and_licence(tmp_path: Path) -> None:
    (tmp_path / "head").write_text("Format: x\n")
    library(
        tmp_path / "site",
        "one",
        "Metadata-Version: 2.1\nName: one\nVersion: 1.0\nLicense-Expression: MIT\n",
        {"one-1.0.dist-info/licenses/LICENSE": "MIT License\n\nCopyright (c) 2020 Somebody\n\nDo as you like.\n"},
    )
    assert generate("copyright.py", tmp_path / "head", tmp_path / "site").stdout == (
        "Format: x\n\n"
        "Files: usr/lib/llmqd/lib/python3*/site-packages/one-1.0.dist-info/*"
        " usr/lib/llmqd/lib/python3*/site-packages/one/*\n"
        "Copyright: 2020 Somebody\n"
        "License: one-MIT\n"
        " MIT License\n .\n Copyright (c) 2020 Somebody\n .\n Do as you like.\n"
    )


def test_what_was_taken_in_as_files_is_stated_with_its_licence(tmp_path: Path) -> None:
    (tmp_path / "head").write_text("Format: x\n")
    taken = tmp_path / "site" / "llmqd" / "web" / "viewer"
    taken.mkdir(parents=True)
    (taken / "LICENSE").write_text("Do as you like.\n")
    (taken / "NOTICE").write_text("viewer\nCopyright 2021 Somebody\n")
    assert generate("copyright.py", tmp_path / "head", tmp_path / "site").stdout == (
        "Format: x\n\n"
        "Files: usr/lib/llmqd/lib/python3*/site-packages/llmqd/web/viewer/*\n"
        "Copyright: 2021 Somebody\n"
        "License: viewer\n"
        " viewer\n Copyright 2021 Somebody\n .\n Do as you like.\n"
    )


def test_a_library_without_a_licence_cannot_be_packaged(tmp_path: Path) -> None:
    (tmp_path / "head").write_text("Format: x\n")
    library(tmp_path / "site", "two", "Metadata-Version: 2.1\nName: two\nVersion: 1.0\n", {})
    result = generate("copyright.py", tmp_path / "head", tmp_path / "site")
    assert (result.returncode, result.stderr) == (1, "no licence stated by: two\n")


def test_the_locks_name_no_host_and_pin_by_hash() -> None:
    for name in ("requirements.lock", "build.lock"):
        lines = (ROOT / "packaging" / name).read_text().splitlines()
        pins = [number for number, line in enumerate(lines) if "==" in line]
        assert pins
        assert all("--hash=sha256:" in lines[number + 1] for number in pins)
        assert not [line for line in lines if "//" in line or "--index" in line]


def lacking(lock: Path) -> list[str]:
    """What `packaging/lacks` says of a lock."""
    command = [sys.executable, str(ROOT / "packaging" / "lacks"), str(lock)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.splitlines()


def test_a_lock_that_has_fallen_behind_setup_cfg_is_noticed(tmp_path: Path) -> None:
    lock = ROOT / "packaging" / "requirements.lock"
    text, behind = lock.read_text(), set(lacking(lock))
    (tmp_path / "gone.lock").write_text(text.replace("\naiosqlite==", "\nelse=="))
    assert [each.partition(">")[0] for each in lacking(tmp_path / "gone.lock") if each not in behind] == ["aiosqlite"]
    (tmp_path / "old.lock").write_text(re.sub(r"\norjson==\S+", "\norjson==1.0", text))
    assert [each.partition(">")[0] for each in lacking(tmp_path / "old.lock") if each not in behind] == ["orjson"]
