"""Undoes Content-Encoding on a copy of the passing bytes, piece by piece and never beyond a size limit."""

from __future__ import annotations

import zlib
from typing import Literal, Protocol

import brotli  # type: ignore[import-untyped]
import zstandard

Failure = Literal["unknown encoding", "broken", "too large"]

_PIECE = 128
"""Zstandard has no output limit, and a block of 4 bytes can hold 128 KiB: so few bytes at a time that a bomb is noticed
before it fills the memory."""

_MAX_WINDOW = 128 * 1024 * 1024
_MAX_LAYERS = 4


class _TooLarge(Exception):
    """The limit of decoded bytes was passed; caught in this module."""


class _Layer(Protocol):
    """One Content-Encoding. `room` is how many bytes may still come out; raises _TooLarge beyond it."""

    def decode(self, data: bytes, room: int) -> bytes: ...


class _Zlib:
    """gzip (RFC 1952, several members one after the other too) and deflate (RFC 9110 §8.4.1.2: zlib format).

    Some servers send deflate without the zlib header; the first two bytes tell (RFC 1950 §2.2).
    """

    def __init__(self, *, gzip: bool) -> None:
        self._gzip = gzip
        self._head = b""
        self._inflate = zlib.decompressobj(31) if gzip else None

    def decode(self, data: bytes, room: int) -> bytes:
        if self._inflate is None:
            data = self._head = self._head + data
            if len(data) < 2:
                return b""
            with_header = data[0] & 15 == 8 and (data[0] << 8 | data[1]) % 31 == 0
            self._inflate = zlib.decompressobj(15 if with_header else -15)
        pieces: list[bytes] = []
        while data:
            if self._inflate.eof:
                if not self._gzip or not data.startswith(b"\x1f"):
                    break
                self._inflate = zlib.decompressobj(31)
            piece = self._inflate.decompress(data, room + 1)
            room -= len(piece)
            if room < 0:
                raise _TooLarge
            pieces.append(piece)
            data = self._inflate.unused_data or self._inflate.unconsumed_tail
        return b"".join(pieces)


class _Brotli:
    """br (RFC 7932)."""

    def __init__(self) -> None:
        self._brotli = brotli.Decompressor()

    def decode(self, data: bytes, room: int) -> bytes:
        pieces: list[bytes] = []
        while data or not self._brotli.can_accept_more_data():
            if self._brotli.is_finished():
                break
            piece = self._brotli.process(data, output_buffer_limit=room + 1)
            room -= len(piece)
            if room < 0:
                raise _TooLarge
            pieces.append(piece)
            data = b""
        return b"".join(pieces)


class _Zstd:
    """zstd (RFC 8878), several frames one after the other too."""

    def __init__(self) -> None:
        self._zstd = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW).decompressobj(read_across_frames=True)

    def decode(self, data: bytes, room: int) -> bytes:
        pieces: list[bytes] = []
        for start in range(0, len(data), _PIECE):
            piece = self._zstd.decompress(data[start : start + _PIECE])
            room -= len(piece)
            if room < 0:
                raise _TooLarge
            pieces.append(piece)
        return b"".join(pieces)


def _layer(name: str) -> _Layer | None:
    if name in ("gzip", "x-gzip", "deflate"):
        return _Zlib(gzip=name != "deflate")
    if name == "br":
        return _Brotli()
    return _Zstd() if name == "zstd" else None


class Decoder:
    """Decodes a stream that was encoded as a Content-Encoding header says (RFC 9110 §8.4: applied in the order named).

    `limit` is the most bytes that may come out over the whole stream, from each layer. `failed` becomes the reason
    when decoding had to stop; from then on `feed` gives nothing more. It never raises.
    """

    def __init__(self, content_encoding: str, limit: int) -> None:
        names = [name.strip().lower() for name in content_encoding.split(",")]
        layers = [_layer(name) for name in reversed(names) if name not in ("", "identity")]
        self._layers = [layer for layer in layers if layer is not None]
        self._room = [limit] * len(self._layers)
        self.failed: Failure | None = None
        if len(self._layers) < len(layers) or len(layers) > _MAX_LAYERS:
            self.failed = "unknown encoding"

    def feed(self, data: bytes) -> bytes:
        """The next bytes, decoded as far as they can be now."""
        if self.failed is not None:
            return b""
        try:
            for index, layer in enumerate(self._layers):
                data = layer.decode(data, self._room[index])
                self._room[index] -= len(data)
        except _TooLarge:
            self.failed = "too large"
        except (zlib.error, brotli.error, zstandard.ZstdError):
            self.failed = "broken"
        else:
            return data
        return b""


def decode_all(data: bytes, content_encoding: str, limit: int) -> bytes | None:
    """A whole body decoded; None when it cannot be or would become larger than `limit` bytes."""
    decoder = Decoder(content_encoding, limit)
    decoded = decoder.feed(data)
    return decoded if decoder.failed is None else None
