from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.config.load import Overrides, load
from llmqd.config.model import Config, Limits
from llmqd.config.routes import Step
from llmqd.config.secret import Secret
from llmqd.errors import ConfigError
from llmqd.providers.presets import PRESETS, RESERVED_NAMES


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return tmp_path / "llmqd.toml"


def from_file(
    path: Path, text: str, environ: dict[str, str] | None = None, overrides: Overrides | None = None
) -> Config:
    path.write_text(text)
    return load(path, environ or {}, overrides)


def names(config: Config) -> list[str]:
    return [upstream.name for upstream in config.upstreams]


def test_nothing_at_all_means_the_simulated_provider() -> None:
    config = load(None, {})
    assert names(config) == ["sim"]
    assert config.upstreams[0].base_url == ""
    assert config.source is None
    assert config.warnings == ()
    assert config.server.listen == ("127.0.0.1:8080",)
    assert config.database == Path("var/llmqd.db")


def test_the_simulated_provider_is_never_added_to_a_real_one() -> None:
    assert names(load(None, {"GROQ_API_KEY": "k"})) == ["groq"]


def test_an_empty_file_means_no_upstream_and_a_warning(written: Path) -> None:
    config = from_file(written, "")
    assert config.upstreams == ()
    assert any(str(written) in warning and "OPENAI_API_KEY" in warning for warning in config.warnings)


def test_a_preset_name_is_enough(written: Path) -> None:
    (upstream,) = from_file(written, '[[upstream]]\nname = "groq"\n', {"GROQ_API_KEY": "k"}).upstreams
    assert upstream.preset is PRESETS["groq"]
    assert upstream.base_url == "https://api.groq.com"
    assert upstream.dialect == "openai"
    assert upstream.keys[0].name == "default"
    assert upstream.keys[0].api_key == Secret("k")
    assert upstream.price_provider == "groq"
    assert not upstream.adds_usage


def test_type_names_and_upstream_names_are_known_in_any_case(written: Path) -> None:
    config = from_file(written, '[[upstream]]\nname = "Mine"\ntype = "OpenAI"\n')
    assert config.upstream("mINE") is config.upstreams[0]
    assert config.upstream("other") is None
    assert config.upstreams[0].type == "openai"


@pytest.mark.parametrize("name", ["openai", "anthropic", "gemini", "ollama"])
def test_a_dialect_alone_means_its_official_host(written: Path, name: str) -> None:
    (upstream,) = from_file(written, f'[[upstream]]\nname = "x"\ntype = "{name}"\n').upstreams
    assert upstream.base_url == PRESETS[name].base_url
    assert upstream.dialect == name


def test_every_preset_with_a_host_can_be_named_and_the_others_say_what_is_missing(written: Path) -> None:
    for name, preset in PRESETS.items():
        text = f'[[upstream]]\nname = "{name}"\n'
        if preset.base_url:
            assert names(from_file(written, text)) == [name]
        else:
            with pytest.raises(ConfigError, match="base_url: missing"):
                from_file(written, text)
            assert names(from_file(written, f'{text}base_url = "{preset.example}"\n')) == [name]
        assert name not in RESERVED_NAMES


def test_prices_of_a_provider_hold_only_at_its_own_host(written: Path) -> None:
    text = '[[upstream]]\nname = "a"\ntype = "openai"\nbase_url = "{}"\n'
    for base_url, provider in [
        ("https://api.openai.com/v1", "openai"),
        ("https://eu.api.openai.com", "openai"),
        ("http://127.0.0.1:4000", None),
        ("https://notapi.openai.com.evil.org", None),
    ]:
        assert from_file(written, text.format(base_url)).upstreams[0].price_provider == provider


def test_limits_come_from_the_key_else_the_upstream_else_the_queue(written: Path) -> None:
    config = from_file(
        written,
        "[queue]\nrequests_per_minute = 0.5\nburst = 3\nmax_concurrent = 7\n"
        '[[upstream]]\nname = "openai"\nrequests_per_minute = 600\n'
        '[[upstream.key]]\nname = "one"\napi_key = "a"\nburst = 9\n'
        '[[upstream.key]]\nname = "two"\napi_key = "b"\nrequests_per_minute = 0\nmax_concurrent = 2\n'
        '[[upstream]]\nname = "groq"\n',
    )
    openai, groq = config.upstreams
    reserved: Mapping[str, Any] = {"reserve_output": "max_tokens"}
    assert [key.limits for key in openai.keys] == [Limits(600, 9, 7, **reserved), Limits(0, 3, 2, **reserved)]
    assert [key.name for key in openai.keys] == ["one", "two"]
    assert groq.keys[0].limits == Limits(0.5, 3, 7, count_cached=False, **reserved)


@pytest.mark.parametrize("source", ["env:NOT_SET", "file:/nonexistent/key", "credential:openai"])
def test_a_key_that_is_not_there_yet_is_a_warning(written: Path, source: str) -> None:
    config = from_file(written, f'[[upstream]]\nname = "openai"\napi_key = "{source}"\n')
    (upstream,) = config.upstreams
    assert upstream.keys[0].api_key is None
    assert upstream.missing is not None
    assert source.split(":")[1] in upstream.missing
    assert any(warning.startswith('upstream "openai" has no key yet: ') for warning in config.warnings)


def test_an_upstream_without_any_key_lets_the_clients_key_pass(written: Path) -> None:
    config = from_file(written, '[[upstream]]\nname = "openai"\n')
    assert config.upstreams[0].keys[0].api_key is None
    assert config.upstreams[0].missing is None
    assert config.warnings == ()


def test_headers_of_an_upstream_may_be_secrets(written: Path) -> None:
    config = from_file(
        written, '[[upstream]]\nname = "openai"\nheaders = { X-Team = "search", X-Org = "env:ORG" }\n', {"ORG": "o1"}
    )
    assert config.upstreams[0].headers == (("X-Team", Secret("search")), ("X-Org", Secret("o1")))


def test_the_file_goes_before_the_environment(written: Path) -> None:
    config = from_file(
        written,
        '[server]\nlisten = ["127.0.0.1:1"]\n[queue]\nrequests_per_minute = 5\n[log]\nlevel = "debug"\n'
        '[store]\nbackend = "sqlite"\npath = "a.db"\n[[upstream]]\nname = "openai"\napi_key = "file-key"\n'
        'base_url = "https://a.org"\n',
        {
            "PORT": "not even a port",
            "RATE_LIMIT_PER_MIN": "100",
            "LOG_LEVEL": "error",
            "REPOSITORY_TYPE": "memory",
            "SQLITE_DSN": "b.db",
            "OPENAI_API_KEY": "environment-key",
            "OPENAI_BASE_URL": "https://b.org",
            "GROQ_API_KEY": "k",
        },
    )
    assert config.server.listen == ("127.0.0.1:1",)
    assert config.queue.requests_per_minute == 5
    assert config.log.level == "debug"
    assert (config.store.backend, config.store.path) == ("sqlite", Path("a.db"))
    assert names(config) == ["openai"]
    assert config.upstreams[0].keys[0].api_key == Secret("file-key")
    assert config.upstreams[0].base_url == "https://a.org"


def test_the_environment_fills_what_the_file_leaves_open(written: Path) -> None:
    config = from_file(
        written,
        '[queue]\nburst = 2\n[[upstream]]\nname = "openai"\n',
        {"RATE_LIMIT_PER_MIN": "100", "OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "https://b.org/v1/"},
    )
    assert (config.queue.requests_per_minute, config.queue.burst) == (100, 2)
    assert config.upstreams[0].keys[0].api_key == Secret("k")
    assert config.upstreams[0].base_url == "https://b.org/v1"


def test_the_command_line_goes_before_both(written: Path) -> None:
    config = from_file(
        written,
        '[server]\nlisten = ["127.0.0.1:1"]\nstate_directory = "/a"\n[log]\nlevel = "info"\n'
        '[[upstream]]\nname = "openai"\napi_key = "file-key"\ntimeout = "5s"\n[[upstream]]\nname = "groq"\n',
        {"LOG_LEVEL": "error"},
        Overrides(
            listen=("127.0.0.1:2", "unix:/tmp/x"),
            log_level="debug",
            state_directory="/b",
            type="groq",
            api_key="env:MINE",
        ),
    )
    assert config.server.listen == ("127.0.0.1:2", "unix:/tmp/x")
    assert config.log.level == "debug"
    assert config.server.state_directory == Path("/b")
    assert names(config) == ["groq", "openai"]
    assert config.upstreams[0].missing is not None
    assert "MINE" in config.upstreams[0].missing


def test_the_command_line_changes_only_what_it_says_of_an_upstream_in_the_file(written: Path) -> None:
    config = from_file(
        written,
        '[[upstream]]\nname = "openai"\ntimeout = "5s"\napi_key = "file-key"\n',
        overrides=Overrides(base_url="https://a.org"),
    )
    assert names(config) == ["openai"]
    assert config.upstreams[0].timeout == 5
    assert config.upstreams[0].base_url == "https://a.org"
    assert config.upstreams[0].keys[0].api_key == Secret("file-key")


def test_the_command_line_does_not_hide_that_a_name_stands_twice_in_the_file(written: Path) -> None:
    with pytest.raises(ConfigError, match="two upstreams"):
        from_file(
            written, '[[upstream]]\nname = "openai"\n[[upstream]]\nname = "openai"\n', overrides=Overrides(api_key="b")
        )


def test_a_key_on_the_command_line_takes_the_place_of_the_keys_in_the_file(written: Path) -> None:
    config = from_file(
        written,
        '[[upstream]]\nname = "openai"\n[[upstream.key]]\nname = "a"\napi_key = "a"\n',
        overrides=Overrides(api_key="b"),
    )
    assert [(key.name, key.api_key) for key in config.upstreams[0].keys] == [("default", Secret("b"))]


@pytest.mark.parametrize(
    ("option", "overrides"),
    [
        ("--listen", Overrides(listen=("nowhere",))),
        ("--log-level", Overrides(log_level="loud")),
        ("--base-url", Overrides(base_url="x")),
        ("--base-url", Overrides(type="azure")),
        ("--base-url", Overrides(base_url="http://127.0.0.1:8080")),
        ("--type", Overrides(type="opnai")),
        ("--api-key", Overrides(api_key="file:key")),
    ],
)
def test_a_fault_on_the_command_line_names_the_option(option: str, overrides: Overrides) -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, {}, overrides)
    assert [fault.split(":")[0] for fault in caught.value.faults] == [option]


def test_the_host_of_the_base_url_tells_the_type() -> None:
    assert names(load(None, {}, Overrides(base_url="https://api.anthropic.com"))) == ["anthropic"]
    assert names(load(None, {}, Overrides(base_url="http://10.0.0.5:8000"))) == ["openai"]
    assert names(load(None, {}, Overrides(base_url="http://127.0.0.1:11434"))) == ["ollama"]
    assert names(load(None, {}, Overrides(base_url="http://127.0.0.1:8000/v1"))) == ["vllm"]
    assert names(load(None, {}, Overrides(base_url="http://127.0.0.1:9000/v1"))) == ["openai"]
    assert names(load(None, {}, Overrides(api_key="k"))) == ["openai"]


def test_each_key_in_the_environment_makes_one_upstream_openai_first() -> None:
    config = load(
        None,
        {
            "GROQ_API_KEY": "g",
            "ANTHROPIC_API_KEY": "a",
            "OPENAI_API_KEY": "o",
            "GOOGLE_API_KEY": "x",
            "CO_API_KEY": "c",
        },
    )
    assert names(config) == ["openai", "anthropic", "gemini", "groq", "cohere"]
    assert [upstream.keys[0].api_key for upstream in config.upstreams] == [Secret(text) for text in "oaxgc"]


def test_keys_in_the_environment_serve_a_file_that_names_no_upstream(written: Path) -> None:
    assert names(from_file(written, "[queue]\n", {"XAI_API_KEY": "k", "EMPTY_API_KEY": ""})) == ["xai"]


def test_an_empty_key_variable_makes_no_upstream() -> None:
    assert names(load(None, {"OPENAI_API_KEY": " "})) == ["sim"]


def test_a_key_whose_host_is_not_known_is_a_warning_not_an_upstream() -> None:
    config = load(None, {"AZURE_OPENAI_API_KEY": "k", "OPENAI_API_KEY": "o"})
    assert names(config) == ["openai"]
    assert any("AZURE_OPENAI_API_KEY" in warning and "base_url" in warning for warning in config.warnings)


def test_azure_takes_its_host_from_its_usual_variable() -> None:
    config = load(None, {"AZURE_OPENAI_API_KEY": "k", "AZURE_OPENAI_ENDPOINT": "https://r.openai.azure.com/"})
    assert [(one.name, one.base_url) for one in config.upstreams] == [("azure", "https://r.openai.azure.com")]


def test_the_llm_variables_make_the_first_upstream() -> None:
    config = load(
        None,
        {"OPENAI_API_KEY": "o", "LLM_BASE_URL": "https://m.org", "LLM_TYPE": "anthropic", "LLM_API_KEY": "k"},
    )
    assert names(config) == ["anthropic", "openai"]
    assert config.upstreams[0].base_url == "https://m.org"
    assert config.upstreams[0].keys[0].api_key == Secret("k")


def test_the_llm_variables_give_way_to_upstreams_in_the_file(written: Path) -> None:
    config = from_file(written, '[[upstream]]\nname = "groq"\n', {"LLM_TYPE": "anthropic"})
    assert names(config) == ["groq"]
    assert any("LLM_TYPE" in warning for warning in config.warnings)


def test_an_exported_base_url_that_is_llmqd_itself_is_passed_over() -> None:
    config = load(None, {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "http://localhost:8080/v1"})
    assert config.upstreams[0].base_url == "https://api.openai.com"
    assert any("OPENAI_BASE_URL" in warning for warning in config.warnings)


@pytest.mark.parametrize(
    ("environ", "listen"),
    [
        ({"PORT": "9000"}, "127.0.0.1:9000"),
        ({"API_PORT": "9001"}, "127.0.0.1:9001"),
        ({"PORT": "9000", "API_PORT": "9001"}, "127.0.0.1:9000"),
        ({"API_HOST": "::1"}, "[::1]:8080"),
        ({"API_HOST": "localhost", "PORT": "1"}, "localhost:1"),
    ],
)
def test_where_to_listen_by_environment(environ: dict[str, str], listen: str) -> None:
    assert load(None, environ).server.listen == (listen,)


@pytest.mark.parametrize(("value", "warned"), [("0", True), ("-10", True), ("60", False)])
def test_a_rate_of_zero_or_less_by_environment_is_taken_as_sixty(value: str, warned: bool) -> None:
    config = load(None, {"RATE_LIMIT_PER_MIN": value})
    assert config.queue.requests_per_minute == 60
    assert any("RATE_LIMIT_PER_MIN" in warning for warning in config.warnings) is warned


@pytest.mark.parametrize(
    ("environ", "backend", "path"),
    [
        ({}, "sqlite", "llmqd.db"),
        ({"REPOSITORY_TYPE": "Memory"}, "memory", "llmqd.db"),
        ({"REPOSITORY_TYPE": "sqlite", "SQLITE_DSN": "sessions.db"}, "sqlite", "sessions.db"),
        ({"SQLITE_DSN": "file:/data/s.db?cache=shared"}, "sqlite", "/data/s.db"),
        ({"SQLITE_DSN": ":memory:"}, "memory", "llmqd.db"),
    ],
)
def test_the_store_by_environment(environ: dict[str, str], backend: str, path: str) -> None:
    store = load(None, environ).store
    assert (store.backend, store.path) == (backend, Path(path))


def test_log_level_and_origins_by_environment() -> None:
    config = load(None, {"LOG_LEVEL": "CRITICAL", "ALLOWED_ORIGINS": "http://localhost:3000, https://A.org,"})
    assert config.log.level == "error"
    assert config.server.allowed_origins == ("http://localhost:3000", "https://a.org")


def test_the_database_of_litellm_by_environment_and_file(tmp_path: Path) -> None:
    config = load(None, {"DATABASE_URL": "postgresql://x"})
    assert config.litellm.dsn == Secret("postgresql://x")
    config = load(None, {"DATABASE_URL": "mysql://x"})
    assert config.litellm.dsn is None
    assert any("DATABASE_URL" in warning for warning in config.warnings)
    path = tmp_path / "llmqd.toml"
    path.write_text('[litellm]\ndsn = "env:ABSENT"\n')
    config = load(path, {})
    assert config.litellm.dsn is None
    assert any("ABSENT is not set" in warning for warning in config.warnings)
    path.write_text('[litellm]\ndsn = "mysql://u:secret@x"\n')
    with pytest.raises(ConfigError, match=r'line 2: \[litellm\] dsn: must begin with "postgresql://"') as raised:
        load(path, {})
    assert "secret@" not in str(raised.value)


def test_the_ledger_in_postgresql_wants_to_know_where(tmp_path: Path) -> None:
    path = tmp_path / "llmqd.toml"
    path.write_text('[store]\nbackend = "postgresql"\ndsn = "env:LEDGER"\n')
    assert load(path, {"LEDGER": "postgresql://u:secret@db/x"}).store.dsn == Secret("postgresql://u:secret@db/x")
    with pytest.raises(ConfigError, match="LEDGER is not set"):
        load(path, {})
    with pytest.raises(ConfigError, match='must begin with "postgresql://"') as raised:
        load(path, {"LEDGER": "mysql://u:secret@db"})
    assert "secret" not in str(raised.value)
    path.write_text('[store]\nbackend = "postgresql"\n')
    with pytest.raises(ConfigError, match=r'line 2: \[store\] backend = "postgresql" wants to know where'):
        load(path, {})
    path.write_text('[store]\ndsn = "env:LEDGER"\n')
    assert load(path, {}).store.dsn is None


def test_listening_beyond_this_machine_without_tls_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "llmqd.toml"
    path.write_text('[auth]\nmode = "keys"\n')
    warnings = load(path, {}, Overrides(listen=("0.0.0.0:80",))).warnings
    assert any("0.0.0.0:80" in one and "unencrypted" in one for one in warnings)
    assert any("admin_token" in one for one in warnings)


def test_an_admin_token_that_is_not_there_is_a_warning_and_guards_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "llmqd.toml"
    path.write_text('[auth]\nadmin_token = "credential:admin"\n')
    config = load(path, {})
    assert config.auth.admin_token is None
    assert "CREDENTIALS_DIRECTORY" in (config.auth.missing or "")
    assert any("admin_token" in one for one in config.warnings)


def test_the_state_directory_is_systemds_else_that_of_the_place_of_the_file(
    written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert from_file(written, "", {"STATE_DIRECTORY": "/s/a:/s/b"}).server.state_directory == Path("/s/a")
    assert from_file(written, "").server.state_directory == Path("var")
    monkeypatch.setattr("llmqd.config.load.SYSTEM_FILE", written)
    config = from_file(written, "")
    assert config.server.state_directory == Path("/var/lib/llmqd")
    assert config.database == Path("/var/lib/llmqd/llmqd.db")


def test_routes_and_prices_are_read_as_written(written: Path) -> None:
    config = from_file(
        written,
        '[[upstream]]\nname = "openai"\n[[route]]\nmodel = "gpt-4o*"\nupstreams = ["OpenAI"]\n'
        '[[price]]\nmodel = "m"\ninput = 0.1\noutput = 3\n',
    )
    assert (config.routes[0].model, config.routes[0].upstreams) == ("gpt-4o*", (Step("OpenAI"),))
    assert (config.prices[0].input, config.prices[0].output) == (Decimal("0.1"), Decimal(3))
    assert config.prices[0].cache_read is None


def test_a_route_may_name_an_upstream_with_the_model_to_ask_it_for(written: Path) -> None:
    config = from_file(
        written,
        '[[upstream]]\nname = "openai"\n[[route]]\nmodel = "gpt-4o"\n'
        'upstreams = ["openai", { name = "OpenAI", model = "gpt-4o-mini" }]\n',
    )
    assert config.routes[0].upstreams == (Step("openai"), Step("OpenAI", "gpt-4o-mini"))


def test_zero_needs_no_unit(written: Path) -> None:
    config = from_file(written, "[queue]\nmax_wait = 0\nmax_waiting_bytes = 0\n[server]\nmax_body = 1024\n")
    assert (config.queue.max_wait, config.queue.max_waiting_bytes, config.server.max_body) == (0, 0, 1024)


def test_a_number_is_a_priority_too(written: Path) -> None:
    assert from_file(written, "[queue]\npriority = 3\n").queue.priority == "3"


def test_a_byte_order_mark_and_dos_line_ends_do_no_harm(written: Path) -> None:
    written.write_bytes(b"\xef\xbb\xbf[queue]\r\nburst = 4\r\n")
    assert load(written, {}).queue.burst == 4


PIECES = st.sampled_from(
    [
        "[server]\n",
        "[[upstream]]\n",
        "[[upstream.key]]\n",
        "[queue]\n",
        "[auth]\n",
        "listen = [",
        '"127.0.0.1:0"',
        "]\n",
        'name = "openai"\n',
        'api_key = "env:X"\n',
        "requests_per_minute = ",
        "1e400\n",
        "-5\n",
        '"9d"\n',
        "true\n",
        "{ a = 1 }\n",
        "[[route]]\n",
        'model = "*"\n',
        "upstreams = [[]]\n",
        "[store]\n",
        "redact = ['(']\n",
        "\x00",
        "\ufeff",
        "= =\n",
        "a.b.c = 1\n",
    ]
)


@given(st.lists(PIECES | st.text(max_size=20), max_size=12).map("".join) | st.text(max_size=200))
def test_any_text_is_a_configuration_or_has_faults_that_are_told(text: str) -> None:
    with TemporaryDirectory() as directory:
        path = Path(directory) / "llmqd.toml"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        faults = ["none"]
        try:
            load(path, {})
        except ConfigError as error:
            faults = error.faults
        assert faults
        assert all(faults)
