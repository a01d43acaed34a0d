import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.config.address import Address, is_loopback, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8080", Address(host="127.0.0.1", port=8080)),
        ("localhost:0", Address(host="localhost", port=0)),
        ("[::1]:8080", Address(host="::1", port=8080)),
        ("unix:/run/llmqd/llmqd.sock", Address(path="/run/llmqd/llmqd.sock")),
        ("gateway.example.org:443", Address(host="gateway.example.org", port=443)),
    ],
)
def test_addresses_are_taken_apart_and_written_again(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("8080", "not an address"),
        (":8080", "not an address"),
        ("127.0.0.1", "not an address"),
        ("127.0.0.1:65536", "port"),
        ("127.0.0.1:-1", "port"),
        ("127.0.0.1:http", "port"),
        ("::1:8080", "brackets"),
        ("[::g]:8080", "IPv6"),
        ("300.1.1.1:80", "IPv4"),
        ("a b:80", "host name"),
        ("unix:relative.sock", "whole path"),
        ("unix:/" + "x" * 120, "107 bytes"),
    ],
)
def test_what_is_no_address_is_refused_with_the_reason(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_address(text)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.8.0.1", "::1"])
def test_loopback_is_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org"])
def test_other_hosts_are_not_loopback(host: str) -> None:
    assert not is_loopback(host)


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    try:
        address = parse_address(text)
    except ValueError:
        return
    assert parse_address(str(address)) == address
