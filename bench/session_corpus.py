"""Conversations of every behaviour that detection has to follow, each call labelled with the one it belongs to."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping

import orjson

from bench.session_talk import SYSTEM, Step, Talk
from bench.session_words import WRITERS, Fields, call_id, paragraphs, sentence, spoken
from llmqd.messages.message import ToolCall

_OPENINGS = ("Hello", "Hi, can you help me with something?", "I have a question about my invoice.")


Behaviour = Callable[[random.Random], Iterator[Step]]


def _talk(rng: random.Random, name: str | None = None) -> Talk:
    return Talk(rng, WRITERS[name or rng.choice(list(WRITERS))])


def plain(rng: random.Random) -> Iterator[Step]:
    """Turn after turn, in any dialect."""
    talk = _talk(rng)
    for _ in talk.turns():
        talk.ask(sentence(rng))
        yield talk.step(talk.said())


def same_opening(rng: random.Random) -> Iterator[Step]:
    """One of three openings, as many others have; the answers differ."""
    talk = _talk(rng)
    talk.ask(rng.choice(_OPENINGS))
    yield talk.step(talk.said())
    for _ in talk.turns():
        talk.ask(sentence(rng))
        yield talk.step(talk.said())


def same_opening_same_answer(rng: random.Random) -> Iterator[Step]:
    """The same beginning word for word: nothing tells them apart before the third turn."""
    talk = _talk(rng, "chat")
    talk.ask(_OPENINGS[0])
    yield talk.step(spoken("Hello! How can I help you today?"))
    for _ in talk.turns():
        talk.ask(sentence(rng))
        yield talk.step(talk.said())


def short_answers(rng: random.Random) -> Iterator[Step]:
    """Every answer is the same few letters."""
    talk = _talk(rng)
    for _ in talk.turns():
        talk.ask(sentence(rng))
        yield talk.step(spoken(rng.choice(("OK.", "OK.", "Done."))))


def changing_system(rng: random.Random) -> Iterator[Step]:
    """The system prompt tells the time, and is another with each call."""
    talk = _talk(rng)
    for number in talk.turns():
        talk.system = f"{SYSTEM} It is {rng.randint(0, 23)}:{rng.randint(0, 59):02}, call {number}, /tmp/{number}."
        talk.ask(sentence(rng))
        yield talk.step(talk.said())


def _kept(talk: Talk, messages: int) -> None:
    """Cuts the head, so that the history begins with a user's words."""
    cut = max(len(talk.history) - messages, 0)
    while cut < len(talk.history) - 1 and talk.history[cut].get("role") != "user":
        cut += 1
    del talk.history[:cut]


def head_cut(rng: random.Random) -> Iterator[Step]:
    """Only the latest messages are sent, from a user's on or from wherever the cut falls; some answers are short."""
    talk, aligned = _talk(rng, rng.choice(("chat", "messages"))), rng.random() < 0.5
    window = rng.choice((3, 5, 7) if aligned else (4, 6))
    for _ in talk.turns(6, 10):
        talk.ask(sentence(rng))
        if aligned:
            _kept(talk, window)
        else:
            del talk.history[:-window]
        yield talk.step(talk.said() if rng.random() < 0.7 else spoken("OK."))


def middle_cut(rng: random.Random) -> Iterator[Step]:
    """The opening, which others have too, with its answer, and the latest messages; what was between is gone."""
    talk = _talk(rng, "chat")
    talk.ask(_OPENINGS[0])
    yield talk.step(talk.said())
    for _ in talk.turns(5, 8):
        talk.ask(sentence(rng))
        if len(talk.history) > 6:
            del talk.history[2:-3]
        yield talk.step(talk.said())


def compacted(rng: random.Random) -> Iterator[Step]:
    """A summary by the client, then the last exchange."""
    talk = _talk(rng, rng.choice(("chat", "messages", "responses")))
    for number in talk.turns(5, 9):
        talk.ask(sentence(rng))
        if number == 3:
            last = talk.history[-3 if talk.writer.operation != "responses" else -4 :]
            told = f"Summary of the conversation so far: {paragraphs(rng, 2)}"
            talk.history = rng.choice(
                (
                    [talk.writer.user(told), *last],
                    [talk.writer.user(told), *talk.writer.answer(spoken("Understood.")), *last],
                    [talk.writer.user(f"{told}\n\n{last[0]['content']}"), *last[1:]],
                )
            )
        yield talk.step(talk.said())


def compacted_by_model(rng: random.Random) -> Iterator[Step]:
    """The model writes the summary, which is then carried on inside of a new first message."""
    talk = _talk(rng, rng.choice(("chat", "messages")))
    for _ in talk.turns(3, 5):
        talk.ask(sentence(rng))
        yield talk.step(talk.said())
    talk.ask("Summarise our conversation in detail, so that it can be continued without its history.")
    summary = paragraphs(rng, 4)
    yield talk.step(spoken(summary))
    talk.history.clear()
    talk.ask(f"This session is being continued from an earlier one. Its summary:\n{summary}\n\nNow: {sentence(rng)}")
    yield talk.step(talk.said())
    for _ in talk.turns(2, 4):
        talk.ask(sentence(rng))
        yield talk.step(talk.said())


def edited(rng: random.Random) -> Iterator[Step]:
    """An earlier turn is written anew: everything behind it goes, or stays as it was."""
    talk = _talk(rng, rng.choice(("chat", "messages")))
    for _ in talk.turns(4, 6):
        talk.ask(sentence(rng))
        yield talk.step(talk.said())
    if rng.random() < 0.5:
        at = 2 * rng.randint(1, len(talk.history) // 2 - 1)
        del talk.history[at:]
    else:
        at = 2 * rng.randint(0, 1) + rng.randint(0, 1)
        new = talk.writer.user(sentence(rng)) if at % 2 == 0 else talk.writer.answer(spoken(sentence(rng)))[0]
        talk.history[at] = new
    for _ in talk.turns(2, 3):
        talk.ask(sentence(rng))
        yield talk.step(talk.said())


def regenerated(rng: random.Random) -> Iterator[Step]:
    """The same once more after an answer, which the new one replaces."""
    talk = _talk(rng)
    for number in talk.turns(3, 6):
        talk.ask(sentence(rng))
        if number and rng.random() < 0.5:
            yield talk.step(talk.said(), kept=False)
        yield talk.step(talk.said())


def retried(rng: random.Random) -> Iterator[Step]:
    """Calls fail, and are sent again as they were."""
    talk = _talk(rng)
    for _ in talk.turns(3, 6):
        talk.ask(sentence(rng))
        for _ in range(rng.choice((0, 0, 1, 2))):
            yield talk.step(None)
        yield talk.step(talk.said())


def retried_by_sdk(rng: random.Random) -> Iterator[Step]:
    """The SDK counts its tries; openings are those of others, answers get lost on the way."""
    talk = _talk(rng)
    for number in talk.turns(3, 6):
        talk.ask(sentence(rng) if number else f"{rng.choice(_OPENINGS)} {sentence(rng, 1, 2)}")
        tries = rng.choice((0, 1, 2))
        for retry in range(tries):
            yield talk.step(rng.choice((None, talk.said())), kept=False, retry=retry, complete=False)
        yield talk.step(talk.said(), retry=tries)


def cut_off(rng: random.Random) -> Iterator[Step]:
    """The user stops the answer half-way and goes on from what there is of it."""
    talk = _talk(rng, "chat")
    for _ in talk.turns():
        talk.ask(sentence(rng))
        answer = talk.said()
        yield talk.step(answer, complete=False, kept=False)
        talk.history += talk.writer.answer(spoken(answer.text[: rng.randint(10, len(answer.text))]))


def rewritten(rng: random.Random) -> Iterator[Step]:
    """White space, parts and members are never the same twice."""
    talk = _talk(rng, "chat")
    for _ in talk.turns():
        talk.ask(sentence(rng))
        fields = talk.writer.body(talk.system, [_rewritten(rng, message) for message in talk.history])
        answer = talk.said()
        talk.history += talk.writer.answer(answer)
        yield Step(talk.writer, fields, answer)


def _rewritten(rng: random.Random, message: Fields) -> Fields:
    words = message["content"].split()
    text = "".join(word + rng.choice((" ", "  ", "\n", " \r\n")) for word in words)
    parts = [{"type": "text", "text": text}]
    if len(words) > 2 and rng.random() < 0.5:
        half = len(words) // 2
        parts = [{"type": "text", "text": " ".join(some)} for some in (words[:half], words[half:])]
    return {"role": message["role"], "content": rng.choice((text.strip(), parts))}


def tool_loop(rng: random.Random) -> Iterator[Step]:
    """A model calls tools, several at a time; most requests end with their results."""
    talk = _talk(rng)
    for _ in talk.turns(1, 3):
        talk.ask(sentence(rng))
        for _ in range(rng.randint(1, 4)):
            names = [rng.choice(("read_file", "run", "search")) for _ in range(rng.randint(1, 3))]
            calls = [ToolCall(name, orjson.dumps({"q": sentence(rng, 2, 4)}).decode(), call_id(rng)) for name in names]
            yield talk.step(spoken(*calls) if rng.random() < 0.6 else spoken(sentence(rng), *calls))
            talk.history += talk.writer.results(calls, [rng.choice(("ok", sentence(rng))) for _ in calls])
        yield talk.step(talk.said())


def tool_loop_cut(rng: random.Random) -> Iterator[Step]:
    """The same with the head of the history gone, and arguments that everybody has."""
    talk = _talk(rng, "chat")
    talk.ask(sentence(rng))
    for _ in range(rng.randint(5, 8)):
        call = ToolCall("list_files", '{"path": "."}', call_id(rng))
        yield talk.step(spoken(call))
        talk.history += talk.writer.results([call], ["README.md"])
        talk.history = talk.history[-4:]
    yield talk.step(talk.said())


def by_response_id(rng: random.Random) -> Iterator[Step]:
    """The Responses API with the history at the provider: only what is new is sent."""
    talk, previous = _talk(rng, "responses"), None
    for _ in talk.turns():
        fields = {"model": "m", "input": rng.choice((sentence(rng), "Go on."))}
        if previous is not None:
            fields["previous_response_id"] = previous
        previous = call_id(rng, "resp_")
        yield Step(talk.writer, fields, talk.said(), response_id=previous)


def few_shot(rng: random.Random) -> Iterator[Step]:
    """A question behind examples that nobody has ever said: each is a conversation of its own."""
    talk = _talk(rng, "chat")
    for question, answer in (
        ("I love it", "positive"),
        ("What a waste of time", "negative"),
        ("It is a film", "neutral"),
    ):
        talk.ask(question)
        talk.history += talk.writer.answer(spoken(answer))
    talk.ask(sentence(rng))
    yield talk.step(spoken(rng.choice(("positive", "negative", "neutral"))))


def one_shot(rng: random.Random) -> Iterator[Step]:
    """One question, often one that others ask too."""
    talk = _talk(rng, "chat")
    talk.ask(rng.choice((*_OPENINGS, sentence(rng), sentence(rng))))
    yield talk.step(rng.choice((spoken("OK."), talk.said())))


def template(rng: random.Random) -> Iterator[Step]:
    """After its own opening everybody says the same."""
    talk = _talk(rng)
    talk.ask(f"Write chapter {rng.randint(1, 10**6)} of the story.")
    yield talk.step(spoken("Shall I begin?"))
    for _ in talk.turns(3, 6):
        talk.ask(rng.choice(("Yes", "Continue")))
        yield talk.step(spoken("OK."))


def prefilled(rng: random.Random) -> Iterator[Step]:
    """The client begins each answer, which then stands in the history as one."""
    talk = _talk(rng, "messages")
    for _ in talk.turns():
        talk.ask(sentence(rng))
        history = [*talk.history, {"role": "assistant", "content": "{"}]
        rest = spoken(f'"answer": "{sentence(rng)}"}}')
        talk.history += talk.writer.answer(spoken("{" + rest.text))
        yield Step(talk.writer, {"model": "m", "messages": history}, rest)


def thinking_aloud(rng: random.Random) -> Iterator[Step]:
    """The model's thoughts stand in its text; the client takes them out."""
    talk = _talk(rng, "chat")
    for _ in talk.turns():
        talk.ask(sentence(rng))
        answer = talk.said()
        yield talk.step(spoken(f"<think>\n{sentence(rng)}\n</think>\n\n{answer.text}"), kept=False)
        talk.history += talk.writer.answer(answer)


def sub_agents(rng: random.Random) -> Iterator[Step]:
    """A tool call starts another agent, whose calls have their own system prompt and begin with what it was told."""
    talk = _talk(rng, rng.choice(("chat", "messages", "responses")))
    talk.ask(sentence(rng))
    for _ in range(rng.randint(1, 2)):
        task = sentence(rng, 6, 30)
        arguments = {"description": sentence(rng, 2, 3), "prompt": task}
        call = ToolCall("task", orjson.dumps(arguments).decode(), call_id(rng))
        yield talk.step(spoken(sentence(rng), call))
        agent = Talk(rng, talk.writer, "You are a careful agent. Report when done.")
        agent.ask(task)
        for _ in range(rng.randint(0, 3)):
            inner = ToolCall("read", orjson.dumps({"path": f"{rng.randint(0, 999)}.txt"}).decode(), call_id(rng))
            yield agent.step(spoken(inner))
            agent.history += agent.writer.results([inner], [sentence(rng)])
        report = agent.said()
        yield agent.step(report)
        talk.history += talk.writer.results([call], [report.text])
    yield talk.step(talk.said())


def pipeline(rng: random.Random) -> Iterator[Step]:
    """What one call answers is asked about in the next: each is a conversation of its own."""
    text = sentence(rng)
    for part, task in enumerate(("Summarise this:", "Translate this:", "Shorten this:")):
        talk = _talk(rng, "chat")
        talk.ask(f"{task}\n\n{text}")
        answer = talk.said()
        yield talk.step(answer, part=part)
        text = answer.text


def pasted(rng: random.Random) -> Iterator[Step]:
    """A user takes something a model has said into a new conversation, while the old one has gone on."""
    talk = _talk(rng)
    for _ in talk.turns(3, 4):
        talk.ask(sentence(rng))
        answer = talk.said()
        yield talk.step(answer)
    talk.ask(sentence(rng))
    yield talk.step(talk.said())
    new = _talk(rng)
    new.ask(f"What do you think of this?\n\n{answer.text}")
    for _ in new.turns(2, 3):
        yield new.step(new.said(), part=1)
        new.ask(sentence(rng))


def other_key(rng: random.Random) -> Iterator[Step]:
    """What another key's programs say, too: the seed is the same, so is every word."""
    twin = random.Random(rng.randint(0, 5))
    talk = Talk(twin, WRITERS["chat"], scope=f"key-{rng.randint(2, 10**9)}")
    for _ in range(5):
        talk.ask(sentence(twin))
        yield talk.step(talk.said())


BEHAVIOURS: Mapping[str, Behaviour] = {
    behaviour.__name__: behaviour
    for behaviour in (
        plain, same_opening, same_opening_same_answer, short_answers, changing_system, head_cut, middle_cut,
        compacted, compacted_by_model, edited, regenerated, retried, retried_by_sdk, cut_off, rewritten, tool_loop,
        tool_loop_cut, by_response_id, few_shot, one_shot, template, prefilled, thinking_aloud, sub_agents, pipeline,
        pasted, other_key,
    )
}  # fmt: skip

ALIKE = frozenset({"same_opening_same_answer"})
"""Behaviours in which histories do not differ: nothing can tell those conversations apart."""
