"""A second corpus: habits of real clients with a history, each call labelled with its conversation.

Where the first corpus has behaviours by the book, this one has what agents, gateways and chat programs do on top of
them: they tidy up what a model said, put notes into what a user says and take them out again, write JSON anew, merge
messages, clear old results, change model, settings and dialect half-way.
"""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson

from bench.session_talk import Step, Talk
from bench.session_words import WRITERS, Fields, call_id, paragraphs, sentence, spoken
from llmqd.messages.message import Message, ToolCall

Habit = Callable[[random.Random], Iterator[Step]]

_SYSTEMS = (
    "# Role\nYou write code. Answer in Markdown.\n\n## Rules\n- be brief\n- cite files",
    "Du bist ein freundlicher Berater eines Gartencenters.",
    "You are Ada, support agent of ACME. Never promise refunds.",
)
_FIRST = ("hey", "Bonjour !", "fix the tests", "What can you do?")


def _talk(rng: random.Random, *names: str) -> Talk:
    return Talk(rng, WRITERS[rng.choice(names or tuple(WRITERS))], rng.choice(_SYSTEMS))


def _rich(rng: random.Random) -> str:
    """An answer with all that Markdown has."""
    rows = "\n".join(f"* **{sentence(rng, 1, 2)}** {sentence(rng, 4, 9)}  " for _ in range(3))
    return f"## {sentence(rng, 2, 4)}\n\n{sentence(rng)}\n\n{rows}\n\n```python\nprint({rng.randint(0, 10**6)})\n```\n"


def _plainer(text: str, how: str) -> str:
    match how:
        case "stripped":
            return text.strip()
        case "bullets":
            return re.sub(r"^\* ", "- ", text, flags=re.M).replace("  \n", "\n")
        case "no emphasis":
            return text.replace("**", "").replace("## ", "")
        case "no fences":
            return text.replace("```python", "```")
        case "quotes":
            return text.replace(".", "…").replace("?", "？")
        case "escaped":
            return text.replace("'", "&#39;").replace('"', "&quot;") + "\u200b"
        case "crlf":
            return unicodedata.normalize("NFD", text).replace("\n", "\r\n")
        case _:
            return text


def tidied(rng: random.Random) -> Iterator[Step]:
    """What the model said comes back trimmed or with other Markdown, the same way throughout."""
    talk, how = _talk(rng), rng.choice(("stripped", "bullets", "no emphasis", "no fences", "escaped", "crlf"))
    for _ in talk.turns():
        talk.ask(sentence(rng))
        said = _rich(rng)
        yield talk.step(spoken(said), kept=False)
        talk.history += talk.writer.answer(spoken(_plainer(said, how)))


def clipped(rng: random.Random) -> Iterator[Step]:
    """Of each long answer only the beginning is kept."""
    talk = _talk(rng, "chat", "messages")
    for _ in talk.turns(4, 6):
        talk.ask(sentence(rng))
        said = paragraphs(rng, 4)
        yield talk.step(spoken(said), kept=False)
        talk.history += talk.writer.answer(spoken(f"{said[:200]}..."))


def reminders(rng: random.Random) -> Iterator[Step]:
    """Notes stand in the user's latest message, and not in it any more when it is history."""
    talk = _talk(rng, "chat", "messages")
    for number in talk.turns():
        text = sentence(rng)
        talk.ask(f"<system-reminder>\nTurn {number}, {rng.randint(0, 59)} files open.\n</system-reminder>\n{text}")
        said = talk.said()
        yield talk.step(said, kept=False)
        talk.history[-1] = talk.writer.user(text)
        talk.history += talk.writer.answer(said)


def stamped(rng: random.Random) -> Iterator[Step]:
    """Every message of the user tells the time, and how long ago it was."""
    talk, texts = _talk(rng, "chat"), list[str]()
    for number in talk.turns():
        texts.append(sentence(rng))
        talk.ask("")
        mine = [index for index, message in enumerate(talk.history) if message["role"] == "user"]
        for index, text in zip(mine, texts, strict=True):
            talk.history[index] = talk.writer.user(f"[{number * 3 - index} min ago] {text}")
        yield talk.step(talk.said())


def dated_system(rng: random.Random) -> Iterator[Step]:
    """Time and place stand in a system message, at the front or as the last one."""
    talk, last = _talk(rng, "chat"), rng.random() < 0.5
    for _ in talk.turns():
        talk.ask(sentence(rng))
        note = {"role": rng.choice(("system", "developer")), "content": f"Now: 2026-11-{rng.randint(1, 30)}T08:00Z"}
        said = talk.said()
        history = [*talk.history, note] if last else [note, *talk.history]
        yield Step(talk.writer, {"model": "m", "messages": history}, said)
        talk.history += talk.writer.answer(said)


def other_settings(rng: random.Random) -> Iterator[Step]:
    """Failed calls come again with another temperature, another model, another order of keys."""
    talk = _talk(rng)
    for number in talk.turns(3, 6):
        talk.ask(rng.choice(_FIRST) if number == 0 and rng.random() < 0.3 else sentence(rng))
        for attempt in range(rng.randint(0, 2)):
            step = talk.step(None)
            step.fields = dict(reversed(step.fields.items())) | {"temperature": attempt / 2, "model": f"m{attempt}"}
            yield step
        step = talk.step(talk.said())
        step.fields |= {"model": rng.choice(("small", "large")), "user": str(rng.random())}
        yield step


def same_first(rng: random.Random) -> Iterator[Step]:
    """The first words are those of many, and so is the first answer in part."""
    talk = Talk(rng, WRITERS["chat"], _SYSTEMS[0])
    talk.ask(rng.choice(_FIRST))
    yield talk.step(spoken(f"Sure! {sentence(rng, 3, 6)}"))
    for _ in talk.turns(2, 5):
        talk.ask(rng.choice(("yes", "go on", sentence(rng))))
        yield talk.step(talk.said())


def parts_and_strings(rng: random.Random) -> Iterator[Step]:
    """The same message is a string now and parts the next time, with names, annotations and empty members."""
    talk = _talk(rng, "chat", "messages")
    for _ in talk.turns():
        talk.ask(sentence(rng))
        said = spoken(_rich(rng))
        history = [_as_parts(rng, message) for message in talk.history]
        yield Step(talk.writer, talk.writer.body(talk.system, history), said)
        talk.history += talk.writer.answer(said)


def _as_parts(rng: random.Random, message: Fields) -> Fields:
    content: Any = message["content"]
    if isinstance(content, str) and rng.random() < 0.6:
        content = [{"type": "text", "text": content}]
    elif isinstance(content, list) and rng.random() < 0.6:
        content = content[0]["text"]
    return dict(rng.sample([("role", message["role"]), ("content", content)], 2))


def last_few(rng: random.Random) -> Iterator[Step]:
    """Only the last messages go along, as few as one exchange and the question."""
    talk, window = _talk(rng, "chat", "messages", "gemini"), rng.choice((3, 5))
    for _ in talk.turns(5, 8):
        talk.ask(sentence(rng))
        del talk.history[: max(len(talk.history) - window, 0)]
        yield talk.step(spoken(sentence(rng, 6, 12)) if talk.writer.operation == "generate_content" else talk.said())


def first_and_last(rng: random.Random) -> Iterator[Step]:
    """The first message stays, a note stands for what was between, the last exchange follows."""
    talk = _talk(rng, "chat", "messages")
    for _ in talk.turns(5, 8):
        talk.ask(sentence(rng))
        if len(talk.history) > 5:
            note = talk.writer.user("[earlier messages were removed]")
            talk.history = [talk.history[0], note, *talk.history[-3:]]
        yield talk.step(talk.said())


def summary_as_system(rng: random.Random) -> Iterator[Step]:
    """What was said so far is summed up in the system prompt; the last two exchanges follow."""
    talk = _talk(rng, "chat", "messages", "responses")
    for number in talk.turns(5, 9):
        talk.ask(sentence(rng))
        if number and number % 3 == 0:
            talk.system = f"{_SYSTEMS[0]}\n\nConversation so far, in short:\n{paragraphs(rng, 1)}"
            users = [index for index, one in enumerate(talk.history) if one.get("role") == "user"]
            talk.history = talk.history[users[-3] :] if len(users) > 2 else talk.history
        yield talk.step(talk.said())


def summary_by_model(rng: random.Random) -> Iterator[Step]:
    """The model sums up a transcript of the conversation, and its words open what comes then."""
    talk = _talk(rng, "chat", "messages")
    said: list[str] = []
    for _ in talk.turns(3, 5):
        text, answer = sentence(rng), talk.said()
        said += [f"Human: {text}", f"AI: {answer.text}"]
        talk.ask(text)
        yield talk.step(answer)
    whole, summary = "\n".join(said), paragraphs(rng, 3)
    asking = Talk(rng, talk.writer, "You sum up conversations.")
    asking.ask(f"Sum up the following conversation:\n\n{whole}")
    yield asking.step(spoken(summary))
    talk.history.clear()
    talk.ask(f"<summary>\n{summary}\n</summary>")
    talk.history += talk.writer.answer(spoken("Thanks, I will go on from there."))
    for _ in talk.turns(2, 3):
        talk.ask(sentence(rng))
        yield talk.step(talk.said())


def edited_and_gone_on(rng: random.Random) -> Iterator[Step]:
    """A user goes back to any turn but the first, words it anew, and does so again."""
    talk = _talk(rng, "chat", "messages")
    for _ in talk.turns(3, 5):
        talk.ask(sentence(rng))
        yield talk.step(talk.said())
    for _ in range(2):
        del talk.history[2 * rng.randint(1, len(talk.history) // 2 - 1) :]
        talk.ask(sentence(rng))
        yield talk.step(talk.said())
        talk.ask(sentence(rng))
        yield talk.step(talk.said())


def rewritten_arguments(rng: random.Random) -> Iterator[Step]:
    """An agent writes the arguments of its tool calls anew, and clears old results."""
    talk = _talk(rng)
    talk.ask(sentence(rng))
    for number in range(rng.randint(3, 6)):
        fields = {"path": f"src/{rng.randint(0, 99)}.py", "limit": rng.randint(1, 9), "note": sentence(rng, 2, 4)}
        call = ToolCall(rng.choice(("Read", "Grep")), orjson.dumps(fields).decode(), call_id(rng, "toolu_"))
        yield talk.step(spoken(*([sentence(rng)] if rng.random() < 0.5 else []), call), kept=False)
        anew = orjson.dumps(dict(reversed(fields.items())), option=orjson.OPT_INDENT_2).decode()
        talk.history += talk.writer.answer(spoken(ToolCall(call.name, anew, call.id)))
        talk.history += talk.writer.results([call], [sentence(rng)])
        if number > 1:
            _clear(talk.history[2])
    yield talk.step(talk.said())


def _clear(message: Fields) -> None:
    """Takes out what a tool gave back."""
    for name in ("content", "output"):
        if isinstance(message.get(name), str):
            message[name] = "[Old tool result content cleared]"
    for part in message.get("content", ()) if isinstance(message.get("content"), list) else ():
        if part.get("type") == "tool_result":
            part["content"] = "[Old tool result content cleared]"


def many_tools(rng: random.Random) -> Iterator[Step]:
    """Several tools at once, whose results come in another order, after hardly a word of the model."""
    talk = _talk(rng)
    talk.ask(rng.choice((*_FIRST, sentence(rng))))
    for _ in range(rng.randint(2, 4)):
        calls = [ToolCall("ls", '{"path": "."}', call_id(rng)) for _ in range(rng.randint(2, 3))]
        yield talk.step(spoken(*calls))
        results = talk.writer.results(calls, [rng.choice(("", "README.md", sentence(rng))) for _ in calls])
        talk.history += rng.sample(results, len(results))
    yield talk.step(talk.said())


def parallel_agents(rng: random.Random) -> Iterator[Step]:
    """Several sub-agents at the same time, each told its task inside of a template."""
    talk = _talk(rng, "chat", "messages")
    talk.ask(sentence(rng))
    tasks = [sentence(rng, 12, 30) for _ in range(rng.randint(2, 3))]
    calls = [ToolCall("Task", orjson.dumps({"prompt": task}).decode(), call_id(rng)) for task in tasks]
    yield talk.step(spoken(*calls))
    agents = [Talk(rng, talk.writer, _SYSTEMS[1]) for _ in tasks]
    for agent, task in zip(agents, tasks, strict=True):
        agent.ask(f"Today is Monday.\n\n{task}\n\nReport in a few words.")
    reports: list[Message] = []
    for number in range(2):
        for agent in agents:
            said = agent.said()
            yield agent.step(said)
            agent.ask(sentence(rng))
            reports += [said] if number else []
    talk.history += talk.writer.results(calls, [report.text for report in reports])
    yield talk.step(talk.said())


def other_dialect(rng: random.Random) -> Iterator[Step]:
    """A gateway goes on in another dialect, with the same words."""
    names = rng.sample(("chat", "messages", "responses"), 2)
    said: list[tuple[str, Message]] = []
    for number in range(rng.randint(4, 7)):
        talk = Talk(rng, WRITERS[names[number >= 3]], _SYSTEMS[2])
        for text, answer in said:
            talk.ask(text)
            talk.history += talk.writer.answer(answer)
        said.append((sentence(rng), talk.said()))
        talk.ask(said[-1][0])
        yield talk.step(said[-1][1])


def merged_messages(rng: random.Random) -> Iterator[Step]:
    """Two messages of the user in a row are one the next time."""
    talk = _talk(rng, "chat", "messages")
    for _ in talk.turns():
        one, two = sentence(rng), sentence(rng)
        talk.ask(one)
        talk.ask(two)
        said = talk.said()
        yield talk.step(said, kept=False)
        del talk.history[-2:]
        talk.ask(f"{one}\n\n{two}")
        talk.history += talk.writer.answer(said)


def unrelated(rng: random.Random) -> Iterator[Step]:
    """One template filled in for many: nothing of it is a conversation."""
    talk = Talk(rng, WRITERS["chat"], "Classify the review as good or bad. Answer in one word.")
    talk.ask(f"Review:\n{sentence(rng)}\n\nRemember to answer with one word only, which must be good or bad.")
    yield talk.step(spoken(rng.choice(("good", "bad"))))


def same_document(rng: random.Random) -> Iterator[Step]:
    """Many ask about one long document, each something else, and go on."""
    book = random.Random(rng.randint(0, 2))
    talk = _talk(rng, "chat", "messages")
    talk.ask(f"{paragraphs(book, 12)}\n\n{sentence(rng)}")
    yield talk.step(talk.said())
    for _ in talk.turns(2, 4):
        talk.ask(sentence(rng))
        yield talk.step(talk.said())


HABITS: Mapping[str, Habit] = {
    habit.__name__: habit
    for habit in (
        tidied, clipped, reminders, stamped, dated_system, other_settings, same_first, parts_and_strings, last_few,
        first_and_last, summary_as_system, summary_by_model, edited_and_gone_on, rewritten_arguments, many_tools,
        parallel_agents, other_dialect, merged_messages, unrelated, same_document,
    )
}  # fmt: skip

TOLD = frozenset({"parallel_agents"})
"""Habits whose sessions begin at tools that run: a daemon is told at its start which do, and asks for no more."""
