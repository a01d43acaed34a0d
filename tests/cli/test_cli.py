import os
import subprocess
import sys
from pathlib import Path

import pytest

from llmqd import __version__
from llmqd.cli import main
from llmqd.cli.codes import DONE, FAILED, USED_WRONGLY
from llmqd.config.sample import sample


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.endswith(("_API_KEY", "_TOKEN", "_BASE_URL")) or name in {"PORT", "STATE_DIRECTORY", "DATABASE_URL"}:
            monkeypatch.delenv(name)


def test_version_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == DONE
    assert capsys.readouterr().out == f"llmqd {__version__}\n"


@pytest.mark.parametrize("argv", [[], ["nonsense"], ["check", "--nonsense"], ["check", "--config", "x", "--defaults"]])
def test_wrong_use_is_exit_code_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == USED_WRONGLY
    assert "usage: llmqd" in "".join(capsys.readouterr())


@pytest.mark.parametrize("argv", [["--help"], ["serve", "--help"], ["check", "--help"], ["init", "--help"]])
def test_help_is_exit_code_0(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == DONE
    assert capsys.readouterr().out.startswith("usage: llmqd")


def test_the_help_warns_that_a_key_shows_in_the_process_list(capsys: pytest.CaptureFixture[str]) -> None:
    main(["serve", "--help"])
    assert "process list" in " ".join(capsys.readouterr().out.split())


def test_check_shows_what_is_in_force(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "llmqd.toml"
    path.write_text(
        '[[upstream]]\nname = "openai"\napi_key = "sk-planted"\nrequests_per_minute = 600\n'
        "burst = 10\nmax_concurrent = 4\n"
        '[[upstream]]\nname = "groq"\napi_key = "env:NOT_SET"\n[[route]]\nmodel = "gpt-*"\n'
        'upstreams = ["openai", { name = "groq", model = "llama-4" }]\n'
    )
    assert main(["check", "--config", str(path), "--listen", "127.0.0.1:9"]) == DONE
    out = capsys.readouterr().out
    assert out.startswith(f"OK: {path}\n")
    for words in [
        "127.0.0.1:9",
        "openai: openai at https://api.openai.com",
        "lane    openai: 600 a minute, burst 10, 4 at once; key set",
        "lane    groq: 60 a minute at first, burst 1, any number at once; key MISSING",
        "gpt-* -> openai, groq as llama-4",
        'warning: upstream "groq" has no key yet: the environment variable NOT_SET is not set',
    ]:
        assert words in out
    assert "sk-planted" not in out


def test_check_of_the_defaults_names_the_simulated_provider(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--defaults"]) == DONE
    assert "sim: sim at the built-in simulator" in capsys.readouterr().out


def test_check_says_every_fault_on_stderr_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "llmqd.toml"
    path.write_text("[queue]\nmax_waitng = 5\nburst = 0\n")
    assert main(["check", "--config", str(path)]) == FAILED
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        f"{path} line 2: [queue] max_waitng: unknown setting; did you mean max_waiting?",
        f"{path} line 3: [queue] burst = 0: must be at least 1",
        "2 faults; nothing would start",
    ]


def test_check_of_a_file_that_is_not_there_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--config", str(tmp_path / "none.toml")]) == FAILED
    assert "No such file" in capsys.readouterr().err


def test_the_systems_file_is_the_default_unless_declined(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "llmqd.toml"
    monkeypatch.setattr("llmqd.cli.options.SYSTEM_FILE", path)
    main(["check"])
    assert "no file" in capsys.readouterr().out
    path.write_text("[queue]\nburst = 0\n")
    assert main(["check"]) == FAILED
    assert main(["check", "--defaults"]) == DONE


def test_init_writes_a_file_that_check_accepts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "new.toml"
    assert main(["init", str(path)]) == DONE
    assert path.read_text() == sample()
    assert path.stat().st_mode & 0o007 == 0
    assert main(["check", "--config", str(path)]) == DONE
    assert str(path) in capsys.readouterr().out


def test_init_without_a_name_writes_into_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init"]) == DONE
    assert (tmp_path / "llmqd.toml").exists()


def test_init_to_a_dash_writes_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "-"]) == DONE
    assert capsys.readouterr().out == sample()


def test_init_overwrites_only_by_force(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "llmqd.toml"
    path.write_text("# mine\n" * 10000)
    assert main(["init", str(path)]) == FAILED
    assert "--force" in capsys.readouterr().err
    assert path.read_text().startswith("# mine")
    assert main(["init", "--force", str(path)]) == DONE
    assert path.read_text() == sample()


def test_init_where_nothing_can_be_written_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", str(tmp_path / "none" / "llmqd.toml")]) == FAILED
    assert "cannot be written" in capsys.readouterr().err


def test_the_program_answers_as_a_module_and_loads_nothing_that_it_does_not_need() -> None:
    code = "import sys, llmqd.cli; code = llmqd.cli.main(['version']); print(sorted(sys.modules)); sys.exit(code)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.startswith(f"llmqd {__version__}\n")
    for heavy in ["asyncio", "aiohttp", "tomllib", "llmqd.config"]:
        assert f"'{heavy}'" not in result.stdout
    result = subprocess.run([sys.executable, "-m", "llmqd", "nonsense"], capture_output=True, text=True)
    assert result.returncode == USED_WRONGLY
