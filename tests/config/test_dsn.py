"""Addresses of databases as LiteLLM is given them."""

import pytest

from llmqd.config.dsn import parse


def test_what_only_prisma_understands_is_taken_out() -> None:
    given = "postgresql://u:p%40@h:5433/litellm?schema=spend&connection_limit=5&sslmode=require&pgbouncer=true"
    assert parse(given) == ("postgresql://u:p%40@h:5433/litellm?sslmode=require", "spend")
    assert parse("postgres:///litellm?host=/run/postgresql") == (
        "postgres:///litellm?host=%2Frun%2Fpostgresql",
        "public",
    )


@pytest.mark.parametrize("given", ["mysql://h/x", "litellm", "", "postgresql://u:secret@h:port/x", "postgresql://["])
def test_what_is_no_address_is_said_without_repeating_it(given: str) -> None:
    with pytest.raises(ValueError, match=r"address|begin with") as raised:
        parse(given)
    assert "secret" not in str(raised.value)
