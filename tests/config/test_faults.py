"""Broken configurations: each fault must be said so that a person can mend it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.config.load import load
from llmqd.config.model import SECTIONS
from llmqd.errors import ConfigError

PLANTED = "sk-planted-0123456789"
OPENAI = '[[upstream]]\nname = "openai"\n'

BROKEN: dict[str, tuple[str, list[str]]] = {
    "unknown setting": (
        "[queue]\nmax_waitng = 5\n",
        ["line 2:", "[queue] max_waitng: unknown setting; did you mean max_waiting?"],
    ),
    "unknown section": ("[queu]\nburst = 1\n", ["line 1:", "[queu]: unknown section; did you mean queue?"]),
    "section of a later version": ('[shards]\nmode = "x"\n', ["line 1:", "[shards]: unknown section"]),
    "a cluster at no address": (
        '[cluster]\nredis = "http://cache"\n',
        ["line 2:", "[cluster] redis", "must begin with"],
    ),
    "a cluster at an address that is not there": (
        '[cluster]\nredis = "env:NOT_THERE"\n',
        ["line 2:", "[cluster] redis", "NOT_THERE"],
    ),
    "keys on many nodes": ('[cluster]\nprefix = "llmqd"\n', ["line 2:", "[cluster] prefix", '"{llmqd}"']),
    "open to other machines": ('[server]\nlisten = ["0.0.0.0:80"]\n', ["line 2:", "0.0.0.0:80", "keys create"]),
    "short admin token": ('[auth]\nadmin_token = "secret-7"\n', ["line 2:", "admin_token", "16"]),
    "tls without a certificate": ('[server]\nlisten = ["tls:127.0.0.1:80"]\n', ["line 2:", "tls_certificate"]),
    "certificate in the file": ('[server]\ntls_key = "abc"\n', ["line 2:", "tls_key", "credential:NAME"]),
    "setting of another section": (
        "[server]\nrequests_per_minute = 5\n",
        ["line 2:", "requests_per_minute: unknown setting", "[queue]"],
    ),
    "setting outside of a section": ('max_wait = "5s"\n[queue]\n', ["line 1:", "max_wait", "outside", "[queue]"]),
    "not a duration": (
        '[queue]\nmax_wait = "10 parsecs"\n',
        ["line 2:", '[queue] max_wait = "10 parsecs": not a duration; write for example "10s" or "5m"'],
    ),
    "duration without unit": ("[queue]\n\nmax_wait = 10\n", ["line 3:", "max_wait = 10", "unit", '"10s"']),
    "not a size": (
        '[server]\nmax_body = "64 megabytes"\n',
        ["line 2:", "[server] max_body", "not a size", '"64KiB"'],
    ),
    "negative number": ("[queue]\nmax_concurrent = -1\n", ["line 2:", "max_concurrent = -1", "at least 0"]),
    "burst of nothing": ("[queue]\nburst = 0\n", ["line 2:", "[queue] burst = 0", "at least 1"]),
    "fraction where none can be": ("[queue]\nmax_waiting = 1.5\n", ["line 2:", "max_waiting = 1.5", "whole number"]),
    "infinite": ("[queue]\nrequests_per_minute = inf\n", ["line 2:", "requests_per_minute", "finite"]),
    "number too large": ("[queue]\nburst = 1e999999\n", ["line 2:", "burst", "at most"]),
    "text for a number": ('[queue]\nburst = "5"\n', ["line 2:", 'burst = "5"', "without quotes"]),
    "truth for a number": ("[queue]\nburst = true\n", ["line 2:", "burst = true", "whole number"]),
    "text for a truth": (
        '[server]\nproxy_from_environment = "yes"\n',
        ["line 2:", "proxy_from_environment", "true or false"],
    ),
    "unknown priority": (
        '[queue]\npriority = "urgent"\n',
        ["line 2:", 'priority = "urgent"', "high, normal, low, batch"],
    ),
    "table of a route without model": (
        f'{OPENAI}[[route]]\nmodel = "m"\nupstreams = [\n  "openai",\n  {{ name = "openai" }},\n]\n',
        ["line 7:", '[[route]] "m" upstreams', "model: missing", '{ name = "azure", model = "my-gpt-4o" }'],
    ),
    "unknown key in a table of a route": (
        f'{OPENAI}[[route]]\nmodel = "m"\nupstreams = [{{ name = "openai", modell = "x" }}]\n',
        ["line 5:", "modell: unknown; such a table has name and model; did you mean model?"],
    ),
    "wrong value in a table of a route": (
        f'{OPENAI}[[route]]\nmodel = "m"\nupstreams = [{{ name = "openai", model = 5 }}]\n',
        ["line 5:", "upstreams", "model: must be text in quotes"],
    ),
    "unknown upstream in a table of a route": (
        f'{OPENAI}[[route]]\nmodel = "m"\nupstreams = [\n"openai",\n{{ name = "opnai", model = "x" }}]\n',
        ["line 7:", 'no upstream is named "opnai"; did you mean openai?'],
    ),
    "same step of a route twice": (
        f'{OPENAI}[[route]]\nmodel = "m"\nupstreams = ["openai", {{ name = "openai", model = "x" }},\n"OpenAI"]\n',
        ["line 6:", '"OpenAI" stands in it twice'],
    ),
    "no list": ('[server]\nlisten = "127.0.0.1:1"\n', ["line 2:", "listen", "list in brackets"]),
    "no address at all": ("[server]\nlisten = []\n", ["line 2:", "listen", "must not be empty"]),
    "port out of range": ('[server]\nlisten = ["127.0.0.1:99999"]\n', ["line 2:", "99999", "65535"]),
    "same address twice": (
        '[server]\nlisten = ["127.0.0.1:80", "127.0.0.1:80"]\n',
        ["line 2:", '"127.0.0.1:80" stands in it twice'],
    ),
    "origin with a path": (
        '[server]\nallowed_origins = ["https://a.org/x"]\n',
        ["line 2:", "allowed_origins", "no path"],
    ),
    "host with a scheme": (
        '[server]\nallowed_hosts = ["https://a.org"]\n',
        ["line 2:", "allowed_hosts", "without a port"],
    ),
    "host with a space": (
        '[server]\nallowed_hosts = ["a b.org"]\n',
        ["line 2:", "allowed_hosts", "no host name"],
    ),
    "section written as list": ("[[queue]]\nburst = 1\n", ["line 1:", "[queue]"]),
    "list written as section": ('[upstream]\nname = "openai"\n', ["line 1:", "[[upstream]]", "double brackets"]),
    "unknown provider": (
        '[[upstream]]\nname = "grok2"\n',
        ["line 1:", '[[upstream]] "grok2" type: missing', "did you mean grok?", 'type = "openai"'],
    ),
    "unknown type": (
        '[[upstream]]\nname = "mine"\ntype = "antropic"\n',
        ["line 3:", '"antropic" is no known type; did you mean anthropic?'],
    ),
    "no host known": (
        '[[upstream]]\nname = "azure"\n',
        ["line 1:", '"azure" base_url: missing', 'base_url = "https://my-resource.openai.azure.com"'],
    ),
    "no name": ('[[upstream]]\ntype = "openai"\n', ["line 1:", "name: missing", 'name = "openai"']),
    "two of one name": (
        '[[upstream]]\nname = "groq"\n[[upstream]]\nname = "Groq"\ntype = "groq"\n',
        ["line 4:", '"Groq" is the name of two upstreams'],
    ),
    "reserved name": (
        '[[upstream]]\nname = "health"\ntype = "openai"\n',
        ["line 2:", '"health"', "llmqd's own URLs"],
    ),
    "name that cannot stand in a URL": (
        '[[upstream]]\nname = "a/b"\ntype = "openai"\n',
        ["line 2:", 'name = "a/b"', "a-z 0-9 . _ -"],
    ),
    "setting of an upstream misspelt": (
        '[[upstream]]\nname = "groq"\n[[upstream]]\nname = "openai"\ntimout = "5s"\n',
        ["line 5:", '[[upstream]] "openai" timout: unknown setting; did you mean timeout?'],
    ),
    "scheme": ('[[upstream]]\nname = "openai"\nbase_url = "api.openai.com"\n', ["line 3:", "base_url", '"https://"']),
    "no host": ('[[upstream]]\nname = "openai"\nbase_url = "https:///v1"\n', ["line 3:", "base_url", "no host"]),
    "query in a base URL": (
        '[[upstream]]\nname = "openai"\nbase_url = "https://a.org/?key=1"\n',
        ["line 3:", "base_url", "query"],
    ),
    "port of a base URL": (
        '[[upstream]]\nname = "openai"\nbase_url = "https://a.org:99999"\n',
        ["line 3:", "base_url", "65535"],
    ),
    "password in a base URL": (
        f'[[upstream]]\nname = "openai"\nbase_url = "https://me:{PLANTED}@a.org"\n',
        ["line 3:", "base_url", "user or password"],
    ),
    "upstream is llmqd itself": (
        '[[upstream]]\nname = "openai"\nbase_url = "http://localhost:8080/v1"\n',
        ["line 3:", "base_url", "llmqd itself listens"],
    ),
    "header name": ('[[upstream]]\nname = "openai"\nheaders = { "X A" = "1" }\n', ["line 3:", "X A", "no header name"]),
    "header of the connection": (
        '[[upstream]]\nname = "openai"\n[upstream.headers]\nHost = "evil"\n',
        ["line 3:", '"Host" cannot be used'],
    ),
    "header value not there": (
        '[[upstream]]\nname = "openai"\nheaders = { X-Team = "env:NO_SUCH" }\n',
        ["line 3:", "X-Team", "NO_SUCH"],
    ),
    "header twice": (
        '[[upstream]]\nname = "openai"\nheaders = { X-A = "1", x-a = "2" }\n',
        ["line 3:", "headers", "twice"],
    ),
    "secret scheme misspelt": (
        '[[upstream]]\nname = "openai"\napi_key = "credentials:openai"\n',
        ["line 3:", "api_key", 'did you mean "credential:"?'],
    ),
    "secret that is no text": (
        '[[upstream]]\nname = "openai"\napi_key = 5\n',
        ["line 3:", "api_key", "text in quotes"],
    ),
    "key and keys": (
        '[[upstream]]\nname = "openai"\napi_key = "a"\n[[upstream.key]]\nname = "x"\napi_key = "b"\n',
        ["line 3:", "api_key", "[[upstream.key]]"],
    ),
    "two keys of one name": (
        (
            '[[upstream]]\nname = "openai"\n[[upstream.key]]\nname = "x"\napi_key = "a"\n'
            '[[upstream.key]]\nname = "x"\napi_key = "b"\n'
        ),
        ["line 7:", '[[upstream]] "openai"', 'named "x"'],
    ),
    "key without a key": (
        '[[upstream]]\nname = "openai"\n[[upstream.key]]\nname = "x"\n',
        ["line 3:", '[[upstream.key]] "x" api_key: missing'],
    ),
    "certificates not there": (
        '[[upstream]]\nname = "openai"\nca_file = "/nonexistent/ca.pem"\n',
        ["line 3:", "ca_file", "/nonexistent/ca.pem"],
    ),
    "route to nowhere": (
        '[[upstream]]\nname = "openai"\n[[route]]\nmodel = "gpt-*"\nupstreams = ["opnai"]\n',
        ["line 5:", '[[route]] "gpt-*" upstreams', 'no upstream is named "opnai"; did you mean openai?'],
    ),
    "route without a model": (
        '[[upstream]]\nname = "openai"\n[[route]]\nupstreams = ["openai"]\n',
        ["line 3:", "[[route]] model: missing"],
    ),
    "per-request header for sessions": (
        '[sessions]\nheaders = ["X-Client-Request-Id"]\n',
        ["line 2:", "X-Client-Request-Id", "cannot be used"],
    ),
    "unknown backend": ('[store]\nbackend = "sqlit"\n', ["line 2:", 'backend = "sqlit"', "sqlite, memory"]),
    "segment too small": ('[store]\njournal_segment = "1KiB"\n', ["line 2:", "journal_segment", '"64KiB"']),
    "price without a price": ('[[price]]\nmodel = "x"\n', ["line 1:", '[[price]] "x"', "no price"]),
    "price below nothing": ('[[price]]\nmodel = "x"\ninput = -0.1\n', ["line 3:", "input = -0.1", "at least 0"]),
    "syntax": ("[queue\nburst = 1\n", ["line 1 column 7", "not TOML"]),
    "syntax at the end": ('[queue]\nmax_wait = "10s', ["line 2", "not TOML"]),
    "key twice": ("[queue]\nburst = 1\nburst = 2\n", ["line 3", "not TOML"]),
    "nested too deeply": ("a = " + "[" * 20000, ["nested too deeply"]),
    "integer of many digits": ("[queue]\nburst = " + "9" * 5000 + "\n", ["not TOML"]),
}


def faults_of(path: Path, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(path, environ or {})
    return caught.value.faults


def faults_or_none(path: Path) -> list[str]:
    """Any other exception than ConfigError passes and fails the test."""
    try:
        load(path, {})
    except ConfigError as error:
        return error.faults
    return []


@pytest.mark.parametrize(("text", "words"), BROKEN.values(), ids=BROKEN.keys())
def test_each_fault_names_file_line_key_and_what_would_be_right(tmp_path: Path, text: str, words: list[str]) -> None:
    path = tmp_path / "llmqd.toml"
    path.write_text(text)
    faults = faults_of(path)
    assert len(faults) == 1
    assert faults[0].startswith(f"{path}")
    for word in words:
        assert word in faults[0]
    assert PLANTED not in faults[0]


def test_all_faults_come_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "llmqd.toml"
    path.write_text(
        '[server]\nmax_bdy = 1\n[queue]\nburst = 0\n[[upstream]]\nname = "nobody"\n'
        '[[route]]\nmodel = "a"\nupstreams = ["b"]\n'
    )
    faults = faults_of(path, {"RATE_LIMIT_PER_MIN": "many"})
    lines = [fault.split(":")[0].rpartition(" ")[2] for fault in faults[:-1]]
    assert lines == ["2", "4", "5", "9"]
    assert faults[-1].startswith("environment RATE_LIMIT_PER_MIN")


def test_a_fault_never_repeats_a_secret(tmp_path: Path) -> None:
    path = tmp_path / "llmqd.toml"
    path.write_text(
        f'[[upstream]]\nname = "openai"\napi_key = "{PLANTED}\\n{PLANTED}"\nheaders = {{ X-A = "{PLANTED}\\u0000" }}\n'
        f'[[upstream]]\nname = "groq"\nbase_url = "ftp://{PLANTED}@a.org"\nheaders = ["{PLANTED}"]\n'
    )
    faults = faults_of(path)
    assert len(faults) == 4
    assert PLANTED not in "".join(faults)


def test_a_file_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    assert faults_of(tmp_path / "none.toml") == [f"{tmp_path}/none.toml: cannot be read: No such file or directory"]


def test_a_directory_is_a_fault(tmp_path: Path) -> None:
    assert faults_of(tmp_path) == [f"{tmp_path}: cannot be read: Is a directory"]


def test_a_file_that_is_not_utf8_is_a_fault_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "llmqd.toml"
    path.write_bytes(b"[queue]\n# caf\xe9\n")
    assert faults_of(path) == [f"{path} line 2: not UTF-8 text"]


def test_a_broken_upstream_is_not_also_missed_by_its_route(tmp_path: Path) -> None:
    path = tmp_path / "llmqd.toml"
    path.write_text('[[upstream]]\nname = "mine"\n[[route]]\nmodel = "*"\nupstreams = ["mine"]\n')
    assert len(faults_of(path)) == 1


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("PORT", "tcp://10.0.0.1:80", "is no port"),
        ("PORT", "70000", "65535"),
        ("API_PORT", "x", "port"),
        ("RATE_LIMIT_PER_MIN", "many", "no number"),
        ("RATE_LIMIT_PER_MIN", "inf", "no usable number"),
        ("RATE_LIMIT_PER_MIN", "nan", "no usable number"),
        ("REPOSITORY_TYPE", "redis", "one of sqlite, memory"),
        ("LOG_LEVEL", "loud", "one of debug, info, warning, error"),
        ("ALLOWED_ORIGINS", "example.org", '"https://"'),
        ("OPENAI_BASE_URL", "api.openai.com", '"https://"'),
        ("LLM_TYPE", "opnai", "did you mean openai?"),
        ("LLM_BASE_URL", "x", '"https://"'),
        ("LLM_API_KEY", "file:x", "whole path"),
    ],
)
def test_a_fault_in_the_environment_names_the_variable(name: str, value: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, {name: value, "OPENAI_API_KEY": "k"})
    assert len(caught.value.faults) == 1
    assert f"environment {name}: " in caught.value.faults[0]
    assert words in caught.value.faults[0]


_NUMBERS = ["1", "-1", "0", "1.5", "1e99", "inf", "nan", "true", "1979-05-27", "00:00:00"]
_TEXTS = ["", "x", "10s", "1MiB", "env:X", "http://[", "[::1]:1", "unix:/a", "openai", "sim", "https://a.org"]
_VALUES = st.sampled_from(
    [*_NUMBERS, *(f"'{one}'" for one in _TEXTS), "[]", "[[]]", "{}", "['a']", "{a='b'}", "['openai']", '"\\u0000"']
)
_LINES = st.sampled_from(
    [name for outer in SECTIONS for one in (outer, *outer.inside) for name in one.settings] + ["key", "other", '"a b"']
)
_HEADERS = st.sampled_from(
    [f"[{one.name}]" for one in SECTIONS] + [f"[[{one.name}]]" for one in SECTIONS] + ["[[upstream.key]]", "[[x.y]]"]
)


@given(st.lists(st.tuples(_HEADERS, st.dictionaries(_LINES, _VALUES, max_size=4)), max_size=5))
def test_whatever_the_file_holds_the_answer_is_a_configuration_or_faults_that_name_the_file(
    tmp_path_factory: pytest.TempPathFactory, tables: list[tuple[str, dict[str, str]]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.toml"
    path.write_text(
        "".join(f"{header}\n" + "".join(f"{key} = {value}\n" for key, value in body.items()) for header, body in tables)
    )
    faults = faults_or_none(path)
    assert all(fault.startswith(f"{path} line ") for fault in faults)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_configuration_or_faults(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "bytes.toml"
    path.write_bytes(data)
    assert all(fault.startswith(str(path)) for fault in faults_or_none(path))
