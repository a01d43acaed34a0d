"""A copy is decoded in step with the stream, and neither a bomb nor rubbish does harm."""

from __future__ import annotations

import gzip
import zlib

import brotli  # type: ignore[import-untyped]
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from llmqd.tap.decoding import Decoder, decode_all

TEXT = b"data: " + b"hello world " * 400 + b"\n\n"


def raw_deflate(data: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-15)
    return deflate.compress(data) + deflate.flush()


ENCODED = [
    ("gzip", gzip.compress(TEXT)),
    ("x-gzip", gzip.compress(TEXT)),
    ("GZIP", gzip.compress(TEXT)),
    ("gzip", gzip.compress(TEXT[:100]) + gzip.compress(TEXT[100:])),
    ("deflate", zlib.compress(TEXT)),
    ("deflate", raw_deflate(TEXT)),
    ("br", brotli.compress(TEXT)),
    ("zstd", zstandard.compress(TEXT)),
    ("zstd", zstandard.compress(TEXT[:100]) + zstandard.compress(TEXT[100:])),
    ("gzip, br", brotli.compress(gzip.compress(TEXT))),
    ("identity, zstd , gzip", gzip.compress(zstandard.compress(TEXT))),
    ("identity", TEXT),
    ("", TEXT),
]


@pytest.mark.parametrize(("encoding", "body"), ENCODED)
@pytest.mark.parametrize("size", [1, 13, 1 << 20])
def test_every_encoding_is_undone_at_any_chunking(encoding: str, body: bytes, size: int) -> None:
    decoder = Decoder(encoding, 1 << 20)
    assert b"".join(decoder.feed(body[i : i + size]) for i in range(0, len(body), size)) == TEXT
    assert decoder.failed is None


@pytest.mark.parametrize(("encoding", "body"), ENCODED[:11])
def test_limit_is_kept_to_the_byte(encoding: str, body: bytes) -> None:
    assert decode_all(body, encoding, len(TEXT)) == TEXT
    assert decode_all(body, encoding, len(TEXT) - 1) is None


def test_what_was_flushed_is_there_before_the_stream_ends() -> None:
    deflate = zlib.compressobj(wbits=31)
    decoder = Decoder("gzip", 1000)
    assert decoder.feed(deflate.compress(b"first") + deflate.flush(zlib.Z_SYNC_FLUSH)) == b"first"
    assert decoder.feed(deflate.compress(b"second") + deflate.flush()) == b"second"


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
def test_bomb_is_stopped_at_the_limit(encoding: str) -> None:
    compress = {"gzip": gzip.compress, "deflate": zlib.compress, "br": brotli.compress, "zstd": zstandard.compress}
    decoder = Decoder(encoding, 1 << 20)
    assert decoder.feed(compress[encoding](bytes(64 << 20))) == b""
    assert decoder.failed == "too large"
    assert decoder.feed(b"more") == b""


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
def test_rubbish_is_called_broken_and_does_not_raise(encoding: str) -> None:
    decoder = Decoder(encoding, 1000)
    assert decoder.feed(b"\xff" * 64) == b""
    assert decoder.failed == "broken"


@pytest.mark.parametrize("encoding", ["compress", "gzip, rot13", "gzip, gzip, gzip, gzip, gzip"])
def test_unknown_encoding_or_too_many_layers_are_not_tried(encoding: str) -> None:
    decoder = Decoder(encoding, 1000)
    assert decoder.failed == "unknown encoding"
    assert decoder.feed(b"x") == b""
    assert decode_all(b"x", encoding, 1000) is None


@given(st.sampled_from(["gzip", "deflate", "br", "zstd", "br, gzip"]), st.lists(st.binary(), max_size=5))
def test_no_bytes_make_the_decoder_raise(encoding: str, chunks: list[bytes]) -> None:
    decoder = Decoder(encoding, 1000)
    assert sum(len(decoder.feed(chunk)) for chunk in chunks) <= 1000


@given(st.data())
def test_broken_tail_does_not_raise(data: st.DataObject) -> None:
    encoding, body = data.draw(st.sampled_from(ENCODED[:11]))
    at = data.draw(st.integers(0, len(body) - 1))
    flipped = body[:at] + bytes([body[at] ^ data.draw(st.integers(1, 255))]) + body[at + 1 :]
    decoder = Decoder(encoding, 1 << 20)
    assert len(decoder.feed(flipped)) <= 1 << 20
