"""Guesses the tokens of a call before it is sent, from its bytes and from what calls to the same model have used."""

from __future__ import annotations

import math
import mmap
import re
from bisect import bisect_left, insort
from collections import OrderedDict, deque
from collections.abc import Iterable

import msgspec

from llmqd.lane.amounts import Ask
from llmqd.usage import Sample, Usage

_TOKENS_PER_BYTE = 0.25
"""Where nothing is known yet: English text and JSON have about four bytes a token."""

_MEDIA_TOKENS = 1500.0
"""For each picture, sound or document in the body: a picture at the size to which providers scale it."""

_OUTPUT_TOKENS = 500.0
"""Where nothing is known yet."""

_DECAY = 0.95
"""How much what was seen before still counts after one more call: the last twenty calls decide."""

_KEPT = 64
"""Answers of a model whose lengths are kept."""

_MARGIN, _MOST_DOUBT = 2.0, 0.25
"""How many times the mean error of guessed input is added to a guess, and the largest error that is believed. The more
calls run, the less each needs, because their errors cancel out."""

_TOGETHER = 1.6
"""How much more the outputs of many calls together must leave than nine in ten times would take: one sum in fifty
passes 2.05 standard deviations, one in ten 1.28."""

_SHORTEST_MEDIA = 512
_MEDIA_MARKERS = (b";base64,", b'"data":"', b'"data": "')
"""What stands before the base64 text of a data URL (OpenAI) and of a `data` field (Anthropic, Gemini)."""
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]+={0,2}")


class BodySize(msgspec.Struct, frozen=True):
    """Bytes of text, and how many pictures, sounds or documents stand beside it in base64."""

    text: int
    media: int = 0


def measure(body: bytes | mmap.mmap) -> BodySize:
    """The size of a JSON body, with base64 content taken out: its bytes say nothing about its tokens."""
    media = taken_out = 0
    for marker in _MEDIA_MARKERS:
        at = body.find(marker)
        while at != -1:
            start = at + len(marker)
            end = body.find(b'"', start)
            if end == -1:
                break
            if end - start >= _SHORTEST_MEDIA and _BASE64.fullmatch(body[start : start + _SHORTEST_MEDIA]):
                media += 1
                taken_out += end - start
            at = body.find(marker, end)
    return BodySize(len(body) - taken_out, media)


class EstimateError(msgspec.Struct, frozen=True):
    """How good the guesses have been lately. `calls` is how many there were in all; the rest are means.

    `input_error` is the distance from the real input as a share of it, `input_bias` the same with its sign (above 0:
    guessed too high), `output_short` the share of calls whose output was longer than guessed, `output_ratio` the
    guessed output divided by the real one.
    """

    calls: int
    input_error: float
    input_bias: float
    output_short: float
    output_ratio: float


class _Profile:
    """What calls to one model have used."""

    __slots__ = ("_ordered", "_sum", "bytes", "high", "mean", "outputs", "seen", "tokens")

    def __init__(self, tokens_per_byte: float, mean: float, high: float) -> None:
        self.bytes = 1000.0
        self.tokens = 1000.0 * tokens_per_byte
        self.seen = 0
        self.outputs: deque[int] = deque()
        self._ordered: list[int] = []
        self._sum = 0
        self.mean = mean
        self.high = high

    @property
    def tokens_per_byte(self) -> float:
        return self.tokens / self.bytes

    def learn(self, size: BodySize, consumed: float, tokens: int) -> None:
        """A call of this size took `consumed` tokens of input and gave so many of output."""
        if size.text and not size.media:  # with pictures nobody can tell which tokens are whose
            self.bytes = self.bytes * _DECAY + size.text
            self.tokens = self.tokens * _DECAY + consumed
            self.seen += 1
        ordered = self._ordered
        if len(ordered) == _KEPT:
            oldest = self.outputs.popleft()
            self._sum -= oldest
            del ordered[bisect_left(ordered, oldest)]
        self.outputs.append(tokens)
        self._sum += tokens
        insort(ordered, tokens)
        self.mean = self._sum / len(ordered)
        self.high = float(ordered[int(0.9 * (len(ordered) - 1) + 0.5)])

    def typical(self, in_flight: int) -> float:
        """An output that is seldom passed: nine in ten calls alone stay below it, and, the more calls there are, the
        less each needs, because what some use more others use less."""
        return self.mean + max(self.high - self.mean, 0.0) * min(_TOGETHER / math.sqrt(in_flight + 1), 1.0)


class Estimator:
    """Knows what calls to each model tend to use; the least recently used of more than `models` are forgotten.

    A model that was not seen yet is taken to be like all the others together.
    """

    def __init__(self, *, models: int = 256) -> None:
        self._most = models
        self._profiles: OrderedDict[str, _Profile] = OrderedDict()
        self._overall = _Profile(_TOKENS_PER_BYTE, _OUTPUT_TOKENS, _OUTPUT_TOKENS)
        self._error = EstimateError(0, 0.0, 0.0, 0.0, 1.0)

    def ask(
        self,
        model: str | None,
        size: BodySize,
        *,
        group: str = "",
        max_tokens: int | None = None,
        choices: int = 1,
        in_flight: int = 0,
    ) -> Ask:
        """What a call is expected to need. `max_tokens` is for each of `choices` answers, as in the request.

        `in_flight` is how many calls run at the moment.
        """
        known = self._profiles.get(model or "")
        profile = known or self._overall
        from_text = profile.tokens_per_byte * size.text
        doubt = max(self._error.input_error, 1 / (self._error.calls + 2))
        margin = _MARGIN * min(doubt, _MOST_DOUBT) / math.sqrt(in_flight + 1)
        allowed = None if max_tokens is None else max_tokens * choices
        output = profile.typical(in_flight) * choices
        # Unknown text may have far fewer tokens than its bytes promise (spaces, escapes); a known model's has not.
        least = 0.5 * from_text if known and known.seen >= 5 else 0.1 * size.text
        return Ask(
            model=model,
            group=group,
            input_tokens=(from_text + _MEDIA_TOKENS * size.media) * (1 + margin),
            output_tokens=output if allowed is None else min(output, allowed),
            max_tokens=allowed,
            least_input=min(least, from_text),
            expected_input=from_text + _MEDIA_TOKENS * size.media,
            expected_output=min(profile.mean * choices, math.inf if allowed is None else allowed),
        )

    def learn(self, ask: Ask, size: BodySize, usage: Usage, *, count_cached: bool = True) -> None:
        """Takes in what a call has really used; only exact figures count.

        `count_cached` as for the limits: without it, input from the cache is left out here too.
        """
        if usage.source != "exact":
            return
        consumed = usage.input if count_cached else max(usage.input - usage.cached, 0)
        self._profile(ask.model or "").learn(size, consumed, usage.output)
        self._overall.learn(size, consumed, usage.output)
        self._judge(ask, consumed, usage.output)

    def seed(self, samples: Iterable[Sample], *, count_cached: bool = True) -> None:
        """Takes in calls of an earlier time, oldest first. Models of which something is known already stay as they are,
        so that it may be told again."""
        known = set(self._profiles)
        for sample in samples:
            if sample.model not in known:
                size = BodySize(sample.text_bytes, sample.media)
                self.learn(self.ask(sample.model, size), size, sample.usage, count_cached=count_cached)

    def error(self) -> EstimateError:
        """How good the guesses have been lately."""
        return self._error

    def _profile(self, model: str) -> _Profile:
        profile = self._profiles.get(model)
        if profile is None:
            overall = self._overall
            profile = self._profiles[model] = _Profile(overall.tokens_per_byte, overall.mean, overall.high)
            if len(self._profiles) > self._most:
                self._profiles.popitem(last=False)
        self._profiles.move_to_end(model)
        return profile

    def _judge(self, ask: Ask, consumed: int, output: int) -> None:
        last = self._error
        keep = 1 - 1 / min(last.calls + 1, 1 / (1 - _DECAY))
        new = 1 - keep
        bias = (ask.expected_input - consumed) / (consumed or 1)
        self._error = EstimateError(
            last.calls + 1,
            last.input_error * keep + abs(bias) * new,
            last.input_bias * keep + bias * new,
            last.output_short * keep + (new if output > ask.output_tokens else 0.0),
            last.output_ratio * keep + ask.output_tokens / (output or 1) * new,
        )

    def __repr__(self) -> str:
        return f"<Estimator {len(self._profiles)} models, {self._error.calls} calls>"
