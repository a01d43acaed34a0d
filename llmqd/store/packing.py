"""How texts are packed for the database: zstd, with a dictionary that is made of the first texts and renewed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import zstandard

_LEVEL = 3
_SMALLEST = 48
"""Bytes below which packing gains nothing."""
_PLAIN, _ZSTD, _WITH_DICTIONARY = b"\0", b"\1", b"\2"
_ID_BYTES = 4
_DICTIONARY_SIZE = 32 * 1024
_SAMPLES, _SAMPLE_BYTES = 512, 1 << 20
"""How many texts a dictionary is made of, and how many bytes of them at most."""
_LONGEST_SAMPLE = 8 * 1024
RENEWED_AFTER = 200_000
"""Texts after which another dictionary is made: what is said changes."""


class Packing:
    """Packs and unpacks. Not for two threads at a time.

    `dictionaries` are those known so far, by id. Once enough texts have gone by, `fresh` makes a new one, which has to
    be kept for as long as anything packed with it is.
    """

    def __init__(self, dictionaries: Mapping[int, bytes]) -> None:
        self._plain = zstandard.ZstdCompressor(compression_params=_parameters())
        self._id = max(dictionaries, default=0)
        self._current = _compressor(dictionaries[self._id]) if dictionaries else None
        self._samples: list[bytes | bytearray | memoryview] = []
        self._sample_bytes = 0
        self._packed = 0

    def __repr__(self) -> str:
        return f"<Packing with dictionary {self._id}>"

    def pack(self, content: bytes) -> bytes:
        """What goes into the database in place of `content`."""
        self._collect(content)
        if len(content) < _SMALLEST:
            return _PLAIN + content
        if self._current is not None:
            packed = self._current.compress(content)
            head = _WITH_DICTIONARY + self._id.to_bytes(_ID_BYTES, "big")
        else:
            packed, head = self._plain.compress(content), _ZSTD
        return head + packed if len(packed) < len(content) else _PLAIN + content

    def fresh(self) -> tuple[int, bytes] | None:
        """A new dictionary, in use from now on, with its id; None while there is no reason for one. Takes a while."""
        if len(self._samples) < _SAMPLES and self._sample_bytes < _SAMPLE_BYTES:
            return None
        samples, self._samples, self._sample_bytes, self._packed = self._samples, [], 0, 0
        try:
            content = zstandard.train_dictionary(_DICTIONARY_SIZE, samples, level=_LEVEL).as_bytes()
        except zstandard.ZstdError:  # samples too few or too much alike to learn from
            return None
        self._id += 1
        self._current = _compressor(content)
        return self._id, content

    def _collect(self, content: bytes) -> None:
        self._packed += 1
        wanted = self._current is None or self._packed > RENEWED_AFTER
        if wanted and len(content) <= _LONGEST_SAMPLE:
            self._samples.append(content)
            self._sample_bytes += len(content)


class Unpacking:
    """Reads what Packing has made, with the dictionaries of the given ids."""

    def __init__(self, dictionaries: Mapping[int, bytes]) -> None:
        self._plain = zstandard.ZstdDecompressor(format=zstandard.FORMAT_ZSTD1_MAGICLESS)
        self._with = {
            number: zstandard.ZstdDecompressor(
                dict_data=zstandard.ZstdCompressionDict(content), format=zstandard.FORMAT_ZSTD1_MAGICLESS
            )
            for number, content in dictionaries.items()
        }

    def unpack(self, packed: bytes) -> bytes | None:
        """The content; None where it cannot be read: damaged, or its dictionary is gone."""
        try:
            if packed[:1] == _PLAIN:
                return packed[1:]
            if packed[:1] == _ZSTD:
                return self._plain.decompress(packed[1:])
            return self._with[dictionary_of(packed) or 0].decompress(packed[1 + _ID_BYTES :])
        except (zstandard.ZstdError, KeyError):
            return None


def dictionary_of(packed: bytes) -> int | None:
    """The id of the dictionary that is needed to unpack this; None for none."""
    if packed[:1] != _WITH_DICTIONARY:
        return None
    return int.from_bytes(packed[1 : 1 + _ID_BYTES], "big")


def dictionaries_of(packed: Iterable[bytes]) -> Sequence[int]:
    """The ids of the dictionaries that are needed to unpack all of these."""
    return sorted({number for one in packed if (number := dictionary_of(one)) is not None})


def _parameters() -> zstandard.ZstdCompressionParameters:
    return zstandard.ZstdCompressionParameters.from_level(
        _LEVEL, format=zstandard.FORMAT_ZSTD1_MAGICLESS, write_content_size=1, write_checksum=0, write_dict_id=0
    )


def _compressor(dictionary: bytes) -> zstandard.ZstdCompressor:
    data = zstandard.ZstdCompressionDict(dictionary)
    data.precompute_compress(level=_LEVEL)
    return zstandard.ZstdCompressor(dict_data=data, compression_params=_parameters())
