from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.config.store import Store
from llmqd.messages.message import Media, Message, Reasoning, Text, ToolCall, ToolResult
from llmqd.store.ledger import Ledger
from llmqd.store.redaction import Redaction
from tests.store.conversing import Scribe

LETTERS = "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0eF3hJ6kL9nP2rS5uV8xY1"
PLANTED = {
    "openai": ("sk-proj-" + LETTERS[:40], "provider-key"),
    "anthropic": ("sk-ant-api03-" + LETTERS + "_" + LETTERS + "-AA", "provider-key"),
    "groq": ("gsk_" + LETTERS[:48], "provider-key"),
    "huggingface": ("hf_" + LETTERS[:34], "provider-key"),
    "google": ("AIza" + LETTERS[:35], "google-key"),
    "google oauth": ("ya29." + LETTERS, "google-token"),
    "github classic": ("ghp_" + LETTERS[:36], "github-token"),
    "github fine": ("github_pat_" + LETTERS[:22] + "_" + LETTERS, "github-token"),
    "gitlab": ("glpat-" + LETTERS[:20], "gitlab-token"),
    "slack bot": ("xoxb-123456789012-1234567890123-" + LETTERS[:24], "slack-token"),
    "aws id": ("AKIAIOSFODNN7EXAMPLE", "aws-key"),
    "jwt": ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0." + LETTERS[:43], "jwt"),
    "npm": ("npm_" + LETTERS[:36], "npm-token"),
}
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow" + LETTERS + "\n-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize("name", PLANTED)
@pytest.mark.parametrize("around", ["{}", "key={}", '{{"k":"{}"}}', "before {} after", "({}),", "\n{}\n"])
def test_each_kind_of_secret_is_replaced_by_its_name_and_nothing_around_it(name: str, around: str) -> None:
    secret, shape = PLANTED[name]
    assert Redaction().text(around.format(secret)) == around.format(f"[redacted:{shape}]")


@pytest.mark.parametrize("name", PLANTED)
@pytest.mark.parametrize("escape", ["\\n", "\\t", "\\u003d", "\\x3D", "%3D", "key%20"])
def test_a_secret_that_follows_an_escape_of_json_or_of_a_url_is_replaced(name: str, escape: str) -> None:
    secret, shape = PLANTED[name]
    assert Redaction().text(f'{{"file":"A=1{escape}{secret}"}}') == f'{{"file":"A=1{escape}[redacted:{shape}]"}}'


def test_secrets_that_are_known_by_what_stands_before_them() -> None:
    clean = Redaction().text
    assert clean("Authorization: Bearer abcDEF123456_7890-xyz") == "Authorization: Bearer [redacted:bearer]"
    assert clean("postgres://joe:pa55word@db/x") == "postgres://[redacted:url-password]@db/x"
    assert clean("redis://:pa55word@cache:6379/0") == "redis://[redacted:url-password]@cache:6379/0"
    assert clean(f"aws_secret_access_key = {LETTERS[:40]}") == "aws_secret_access_key = [redacted:aws-secret]"
    hook = "https://hooks.slack.com/services/"
    assert clean(hook + "T0000/B000/" + LETTERS[:24]) == hook + "[redacted:slack-token]"


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("postgres://joe:pa55word@db", "postgres://[redacted:url-password]@db"),
        (f"hooks.slack.com/services/T0/B0/{LETTERS[:24]}", "hooks.slack.com/services/[redacted:slack-token]"),
        (f"aws_secret={LETTERS[:20]}/{LETTERS[:10]}/{LETTERS[:8]}", "aws_secret=[redacted:aws-secret]"),
        (f"Bearer abc/{LETTERS}/x==", "Bearer [redacted:bearer]"),
    ],
)
def test_slashes_may_be_escaped_as_some_write_json(text: str, redacted: str) -> None:
    clean = Redaction().text
    assert clean(text) == redacted
    assert clean(f'{{"a": "{text}"}}'.replace("/", "\\/")) == f'{{"a": "{redacted}"}}'.replace("/", "\\/")


def test_a_private_key_goes_whole_even_where_its_end_is_missing() -> None:
    assert Redaction().text(f"here: {PEM} there") == "here: [redacted:private-key] there"
    assert Redaction().text(f"here: {PEM[:60]}") == "here: [redacted:private-key]"
    written = PEM.replace("\n", "\\n")
    assert Redaction().text(f'{{"key":"{written}"}}') == '{"key":"[redacted:private-key]"}'


@pytest.mark.parametrize(
    "text",
    [
        "a risk-assessment-of-the-whole-organisation in 2024",
        "task-1234567890 and disk-12345678901234567890",
        "https://example.org:8080/a/b@c?x=1",
        "550e8400-e29b-41d4-a716-446655440000",
        "def some_function_with_a_very_long_name_2(argument_number_one): ...",
        "the bearer of bad news arrived at 10",
        "-" * 3000 + " 1",
        "_" * 3000 + " 1",
        "eyJ is how such tokens begin",
    ],
)
def test_what_only_looks_a_little_like_a_secret_stays(text: str) -> None:
    assert Redaction().text(text) is text


def test_shapes_can_be_left_out_but_never_the_daemons_own_keys() -> None:
    own = 'my"own\\key'
    redaction = Redaction(shapes=False, own=[own, "", "abc"])
    assert redaction.text(PLANTED["openai"][0] + own) == PLANTED["openai"][0] + "[redacted:own-key]"
    assert redaction.text("abc") == "abc"
    assert redaction.entry(b'{"path":"/x/my\\"own\\\\key"}') == b'{"path":"/x/[redacted:own-key]"}'
    assert own not in repr(redaction)


def test_a_key_that_is_part_of_another_does_not_leave_the_rest_of_it() -> None:
    assert Redaction(own=["secret-1", "secret-1-long"]).text("x secret-1-long y") == "x [redacted:own-key] y"


def test_own_patterns_have_their_name_or_their_number() -> None:
    redaction = Redaction([r"PRJ-\d+", r"(?P<ticket>TICKET-)\d+"])
    assert redaction.text("PRJ-12 and TICKET-34") == "[redacted:1] and [redacted:ticket]"


def test_a_match_where_a_long_text_is_cut_is_found() -> None:
    redaction = Redaction([r"SECRET\d+"], shapes=False)
    for shift in (-12, -3, 0, 5):
        before = "x" * ((1 << 20) - 1024 + shift)
        text = before + "SECRET123" + "y" * (1 << 21) + "SECRET456"
        assert redaction.text(text) == before + "[redacted:1]" + "y" * (1 << 21) + "[redacted:1]"


def test_every_text_of_a_message_is_redacted_and_a_clean_one_is_left_as_it_is() -> None:
    secret = PLANTED["openai"][0]
    message = Message(
        "assistant",
        (
            Text(f"a {secret}"),
            Reasoning(f"b {secret}"),
            ToolCall(f"f-{secret}", f'{{"key":"{secret}"}}', "id"),
            ToolResult(f"c {secret}", "id", f"f-{secret}", (Media("image", f"https://x/?key={secret}"),)),
            Media("image/png", None, "c2stcHJvai0=", 8, f"{secret}.png"),
        ),
        secret,
    )
    cleaned = Redaction().message(message)
    assert secret not in repr(cleaned)
    assert repr(cleaned).count("[redacted:provider-key]") == 9
    assert cleaned.parts[4] == Media("image/png", None, "c2stcHJvai0=", 8, "[redacted:provider-key].png")
    plain = Message("user", (Text("nothing"), ToolResult("here", "x")))
    assert Redaction().message(plain) is plain


@given(st.text(), st.text(alphabet="-_ aAsk:/@.0"))
def test_redacting_twice_changes_nothing_more(one: str, two: str) -> None:
    redaction = Redaction([r"ab+c"], own=["sk-own-key-12345"])
    for text in (one, two, f"{one}{PLANTED['jwt'][0]}{two}", f"{two}sk-own-key-12345{one}"):
        once = redaction.text(text)
        assert redaction.text(once) == once


def test_a_long_text_of_any_kind_takes_time_in_proportion() -> None:
    redaction = Redaction()
    for piece in (
        "a-",
        "-",
        "eyJ.",
        "://a:",
        "Bearer ",
        "sk-",
        "-----BEGIN PRIVATE KEY-----",
        "a1_",
        "AKIA",
        "aws_secret =",
    ):
        text = piece * (200_000 // len(piece))
        began = time.perf_counter()
        redaction.text(text)
        assert time.perf_counter() - began < 2.0, piece


async def test_no_planted_secret_is_in_any_file_of_the_ledger(tmp_path: Path) -> None:
    own = "the-daemons-own-upstream-key-1"
    scribe = Scribe(redaction=Redaction([r"PRJ-\d+"], own=[own]))
    secrets = [*(secret for secret, _ in PLANTED.values()), PEM, own, "PRJ-4711"]
    async with Ledger(Store(batch_every=0.01), tmp_path, transcripts=scribe.transcripts) as ledger:
        for secret in secrets:
            call = Message("assistant", (Text(f"no: {secret}"), ToolCall("f", secret, "x")))
            body = {
                "messages": [
                    {"role": "system", "content": f"the key is {secret}"},
                    {"role": "user", "content": [{"type": "text", "text": f"it is {secret}!"}]},
                ]
            }
            scribe.keep(ledger, body, call, agent=f"agent {own}")
        assert await ledger.settled(10)
        journal = b"".join(file.read_bytes() for file in (tmp_path / "journal").iterdir())
        assert journal.count(b"[redacted:") > 3 * len(secrets)
    files = journal + b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    for secret in secrets:
        assert secret.encode() not in files, secret
        assert LETTERS[:30].encode() not in files


def test_patterns_of_the_operator_are_looked_for_in_each_text_by_itself() -> None:
    assert Redaction(shapes=False, own=["sk-own-key-1"]).finds_anywhere
    assert not Redaction(["^x$"], shapes=False).finds_anywhere
