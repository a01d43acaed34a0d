"""A fourth corpus: clients and gateways that send back something else than what they were told.

Agents that cut the output of tools and fill the rest anew, libraries that split and merge messages, programs that write
JSON, white space and ids in their own way, and front ends that keep of a loop of tools only what a person reads.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

import orjson

from bench.session_clients import Client, aside, client, goes_on, new_id, reply, request_for, use_of
from bench.session_talk import Step
from bench.session_wire import Fields, Manner, Turn
from llmqd.messages.message import Message, Text

Rewriter = Callable[[random.Random], Iterator[Step]]

_CANNED = (
    ("Here are the files of the repository: ", "Ok, I won't try to edit those files without asking first."),
    ("These files are in the chat now: ", "Ok, any changes I propose will be to those files."),
)


def _system(rng: random.Random) -> str:
    return (
        f"You are an agent.\nTime: 2026-11-{rng.randint(1, 30):02}T{rng.randint(0, 23):02}:00Z\ncwd: /w/{rng.random()}"
    )


def _loop(one: Client, text: str = "") -> Iterator[Step]:
    """The model calls a tool, whose output is long and much like that of others."""
    use = use_of(one.rng)
    yield one.call(one.says(text, use))
    one.results((use, "\n".join(reply(one.rng) for _ in range(3))))


def cutting_agent(rng: random.Random) -> Iterator[Step]:
    """Time and directory in the system prompt; outputs of tools are cut once they are history."""
    one = client(rng, "chat", "messages", "responses")
    for _ in range(rng.randint(2, 4)):
        one.ask(request_for(rng))
        for _ in range(rng.randint(1, 3)):
            one.system = _system(rng)
            yield from _loop(one, one.reply(1) if rng.random() < 0.5 else "")
            old = [turn if not turn.results or turn is one.turns[-1] else _cut(turn) for turn in one.turns]
            one.turns = old
        yield one.call(one.says(one.reply()))


def _cut(turn: Turn) -> Turn:
    return replace(turn, results=tuple((use, f"{text[:40]}\n[output truncated]") for use, text in turn.results))


def cutting_at_once(rng: random.Random) -> Iterator[Step]:
    """The same, and the whole loop is sent each time with other cuts, as a budget of tokens demands."""
    one = client(rng, "chat", "messages", "responses")
    one.ask(request_for(rng))
    for _ in range(rng.randint(3, 7)):
        size = rng.randint(10, 200)
        cut = [replace(turn, results=tuple((use, text[:size]) for use, text in turn.results)) for turn in one.turns]
        use = use_of(rng)
        yield one.call(one.says("", use), sent=cut)
        one.results((use, reply(rng, 6)))
    yield one.call(one.says(one.reply()))


def signed_pictures(rng: random.Random) -> Iterator[Step]:
    """Pictures stand behind links that are signed anew for each call."""
    one = client(rng, "chat")
    for _ in range(rng.randint(3, 5)):
        one.ask("What is this?", image=new_id(rng))
        step = one.call(one.says(reply(rng)))
        for message in step.fields["messages"]:
            for part in message["content"] if isinstance(message["content"], list) else ():
                if part["type"] == "image_url":
                    name = part["image_url"]["url"][-24:]
                    part["image_url"] = {"url": f"https://files.example/{name}?sig={rng.random()}"}
        yield step


def noted_pictures(rng: random.Random) -> Iterator[Step]:
    """Pictures of earlier turns are a note in brackets."""
    one = client(rng, "chat", "messages", "gemini")
    for _ in range(rng.randint(3, 5)):
        for at, turn in enumerate(one.turns):
            if turn.image:
                one.turns[at] = replace(turn, text=f"{turn.text}\n[image omitted]", image="")
        one.ask(f"What is this? {request_for(rng)}", image=new_id(rng) * 4)
        yield one.call(one.says(reply(rng)))


def thoughts_gone(rng: random.Random) -> Iterator[Step]:
    """Thoughts are sent back with the latest answer only, or never."""
    one = client(rng, "messages", "gemini", "responses")
    for _ in range(rng.randint(3, 5)):
        one.ask(aside(rng) if one.turns and rng.random() < 0.5 else request_for(rng))
        one.manner = replace(one.manner, thoughts=rng.random() < 0.5)
        use = use_of(rng)
        yield one.call(one.says(one.reply(1), use, thought=reply(rng)))
        one.results((use, reply(rng)))
        yield one.call(one.says(one.reply(), thought=reply(rng)))
        one.turns = [replace(turn, thought="") for turn in one.turns[:-1]] + one.turns[-1:]


def items_without_ids(rng: random.Random) -> Iterator[Step]:
    """Items come back without ids, with statuses, their reasoning encrypted anew."""
    one = client(rng, "responses")
    one.manner = Manner(parts=rng.random() < 0.5, thoughts=True)
    for _ in range(rng.randint(2, 4)):
        one.ask(aside(rng) if one.turns and rng.random() < 0.5 else request_for(rng))
        for last in (False, True):
            use = use_of(rng)
            step = one.call(one.says(one.reply(), *(() if last else (use,)), thought=reply(rng)))
            for item in step.fields["input"]:
                item.pop("id", None)
                if item.get("type") == "reasoning":
                    item["encrypted_content"] = new_id(rng)
                elif "call_id" in item:
                    item["status"] = "completed"
            yield step
            if not last:
                one.results((use, reply(rng)))


def split_answers(rng: random.Random) -> Iterator[Step]:
    """An answer with words and calls of tools comes back as one message for each."""
    one = client(rng, "chat", "messages")
    one.ask(request_for(rng))
    for _ in range(rng.randint(2, 5)):
        uses = [use_of(rng) for _ in range(rng.randint(1, 2))]
        step = one.call(one.says(one.reply(1), *uses))
        step.fields["messages"] = [part for message in step.fields["messages"] for part in _split(message)]
        yield step
        one.results(*((use, reply(rng)) for use in uses))
    yield from goes_on(one, 2)


def _split(message: Fields) -> list[Fields]:
    content = message["content"]
    if message["role"] != "assistant":
        return [message]
    if isinstance(content, list):
        return [{"role": "assistant", "content": [block]} for block in content]
    if "tool_calls" in message:
        return [{"role": "assistant", "content": content or ""}, {**message, "content": None}]
    return [message]


def merged_answers(rng: random.Random) -> Iterator[Step]:
    """What the model said before, between and after its tools is one message without them: what a person reads."""
    one = client(rng, "chat", "messages", "responses")
    for _ in range(rng.randint(3, 5)):
        one.ask(aside(rng) if one.turns and rng.random() < 0.4 else request_for(rng))
        before, told = list(one.turns), []
        for _ in range(rng.randint(0, 2)):
            told.append(reply(rng, 1))
            yield from _loop(one, told[-1])
        told.append(reply(rng))
        yield one.call(one.says(told[-1]))
        one.turns = [*before, Turn("assistant", "\n".join(told), id=new_id(rng))]


def last_words(rng: random.Random) -> Iterator[Step]:
    """Of a loop of tools only the last answer is kept."""
    one = client(rng)
    for _ in range(rng.randint(3, 5)):
        one.ask(request_for(rng))
        before = list(one.turns)
        for _ in range(rng.randint(0, 2)):
            yield from _loop(one)
        yield one.call(one.says(one.reply()))
        one.turns = [*before, one.turns[-1]]


def joined_results(rng: random.Random) -> Iterator[Step]:
    """What a user says while tools run stands in one message with their results, or in the next."""
    one = client(rng, "messages")
    one.ask(request_for(rng))
    for _ in range(rng.randint(3, 5)):
        use = use_of(rng)
        yield one.call(one.says(one.reply(1), use))
        one.results((use, reply(rng)))
        one.ask(aside(rng))
        step = one.call(one.says(one.reply()))
        step.fields["messages"] = _joined(step.fields["messages"]) if rng.random() < 0.5 else step.fields["messages"]
        yield step
        one.ask(request_for(rng))


def _joined(messages: list[Fields]) -> list[Fields]:
    joined: list[Fields] = []
    for message in deepcopy(messages):
        blocks = message["content"]
        blocks = [{"type": "text", "text": blocks}] if isinstance(blocks, str) else blocks
        if joined and joined[-1]["role"] == message["role"] == "user":
            joined[-1]["content"] += blocks
        else:
            joined.append({"role": message["role"], "content": blocks})
    return joined


def wandering_marks(rng: random.Random) -> Iterator[Step]:
    """Cache marks stand on other messages, the system text and the tools with each call."""
    one = client(rng, "messages")
    for _ in range(rng.randint(3, 6)):
        one.ask(aside(rng) if one.turns and rng.random() < 0.6 else request_for(rng))
        one.manner = replace(one.manner, parts=True, marks=False)
        step = one.call(one.says(one.reply()))
        blocks = [block for message in step.fields["messages"] for block in message["content"]]
        for block in rng.sample(blocks, min(3, len(blocks))):
            block["cache_control"] = {"type": "ephemeral", "ttl": rng.choice(("5m", "1h"))}
        yield step


def resplit_parts(rng: random.Random) -> Iterator[Step]:
    """Gemini's parts are cut anywhere, with empty ones between, without ids of calls."""
    one = client(rng, "gemini")
    for _ in range(rng.randint(3, 6)):
        one.ask(aside(rng) if one.turns and rng.random() < 0.4 else request_for(rng))
        if rng.random() < 0.5:
            yield _resplit(one, one.says(one.reply(1), use := use_of(rng)))
            one.results((use, reply(rng)))
        yield _resplit(one, one.says(one.reply()))


def _resplit(one: Client, told: Turn) -> Step:
    step = one.call(told)
    for content in step.fields["contents"]:
        parts: list[Fields] = []
        for part in content["parts"]:
            text = part.get("text", "")
            at = one.rng.randint(0, len(text))
            parts += [{"text": text[:at]}, {"text": text[at:]}] if text else [part]
        content["parts"] = parts
    return step


def prefilled(rng: random.Random) -> Iterator[Step]:
    """The client begins an answer in JSON; it comes back whole, without the beginning, or written anew."""
    one, how = client(rng, "messages"), rng.randint(0, 2)
    for _ in range(rng.randint(3, 6)):
        one.ask(request_for(rng))
        value = {"about": request_for(rng), "rows": rng.randint(1, 10**6), "done": True}
        rest = orjson.dumps(value).decode()[1:]
        yield one.call(Turn("assistant", rest, id=new_id(rng)), sent=[*one.turns, Turn("assistant", "{")], kept=False)
        text = ("{" + rest, rest, orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())[how]
        one.turns.append(Turn("assistant", text))


def choices(rng: random.Random) -> Iterator[Step]:
    """Several answers at once, of which the client goes on with any."""
    one = client(rng, "chat")
    for _ in range(rng.randint(3, 5)):
        one.ask(aside(rng) if one.turns and rng.random() < 0.4 else request_for(rng))
        told = [one.says(one.reply()) for _ in range(rng.randint(2, 3))]
        step = one.call(told[0], kept=False)
        step.others = tuple(Message("assistant", (Text(turn.text),)) for turn in told[1:])
        yield step
        one.turns.append(rng.choice(told))


def trimmed(rng: random.Random) -> Iterator[Step]:
    """White space at the ends of answers is gone, and so are blank lines; words of the user as well."""
    one = client(rng)
    for _ in range(rng.randint(3, 6)):
        one.ask(f"  {request_for(rng)}\n\n")
        text = f"\n\n{one.reply()}\n\n\n{one.reply()}  \n"
        yield one.call(one.says(text), kept=False)
        one.turns[-1] = replace(one.turns[-1], text=one.turns[-1].text.strip())
        one.turns.append(Turn("assistant", "\n".join(filter(None, text.split("\n"))), id=new_id(rng)))


def numbers(rng: random.Random) -> Iterator[Step]:
    """Arguments are parsed and written by another language: order, spaces, 1.0 as 1, escapes, an empty object."""
    one = client(rng, "chat")
    one.ask(request_for(rng))
    for _ in range(rng.randint(3, 6)):
        given = {"path": f"src/é{rng.randint(1, 9)}.py", "ratio": float(rng.randint(1, 9)), "most": 1e21, "note": "a/b"}
        use = replace(use_of(rng), id=f"call_{rng.randint(0, 3)}", input=rng.choice(({}, given)))
        step = one.call(one.says("", use))
        for message in step.fields["messages"]:
            for call in message.get("tool_calls", ()):
                call["function"]["arguments"] = _other_language(call["function"]["arguments"])
        yield step
        one.results((use, f"{rng.randint(1, 10**6)} lines"))
    yield one.call(one.says(one.reply()))


def _other_language(text: str) -> str:
    value: dict[str, Any] = dict(reversed(orjson.loads(text).items()))
    if not value:
        return ""
    text = orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    return text.replace(".0,", ",").replace("1e21", "1e+21").replace("é", "\\u00e9").replace("/", "\\/")


def renamed_tools(rng: random.Random) -> Iterator[Step]:
    """A gateway puts a server's name before names of tools, has ids of its own, and drops the words beside them."""
    one = client(rng, "chat", "messages", "responses")
    one.ask(request_for(rng))
    for number in range(rng.randint(3, 6)):
        use = use_of(rng, limit=str(rng.randint(1, 400)))
        yield one.call(one.says(one.reply(1) if rng.random() < 0.5 else "", use), kept=False)
        mine = replace(use, name=f"mcp__files__{use.name}", id=f"call_{number}")
        one.turns.append(Turn("assistant", "", (mine,)))
        one.results((mine, reply(rng)))
    yield one.call(one.says(one.reply()))


def placeholders(rng: random.Random) -> Iterator[Step]:
    """Where the model said nothing but called a tool, or nothing at all, a library puts words in their place."""
    one, words = client(rng, "chat", "messages"), rng.choice(("(no content)", "[System: Empty message]", "."))
    for _ in range(rng.randint(3, 5)):
        one.ask(request_for(rng))
        for _ in range(rng.randint(0, 2)):
            yield from _loop(one)
            one.turns[-2] = replace(one.turns[-2], text=words)
        yield one.call(one.says(one.reply()))


def canned(rng: random.Random) -> Iterator[Step]:
    """Words that the client has put into the model's mouth stand before the question, about files that change."""
    one = client(rng, "chat", "messages")
    for _ in range(rng.randint(3, 6)):
        one.ask(aside(rng) if one.turns and rng.random() < 0.3 else request_for(rng))
        notes = [
            turn for ask, told in _CANNED for turn in (Turn("user", ask + request_for(rng)), Turn("assistant", told))
        ]
        yield one.call(one.says(reply(rng)), sent=[*notes[:2], *one.turns[:-1], *notes[2:], one.turns[-1]])


def open_files(rng: random.Random) -> Iterator[Step]:
    """The first message has what is open in the editor, anew with each call."""
    one = client(rng)
    for _ in range(rng.randint(3, 6)):
        one.ask(aside(rng) if one.turns and rng.random() < 0.4 else request_for(rng))
        first = replace(one.turns[0], text=f"<open>{rng.random()}</open>\n{one.turns[0].text}")
        yield one.call(one.says(reply(rng)), sent=[first, *one.turns[1:]])


def cited(rng: random.Random) -> Iterator[Step]:
    """Marks of citations are taken out of what the model said, and links made of them."""
    one = client(rng)
    for _ in range(rng.randint(3, 6)):
        one.ask(request_for(rng))
        text = f"{reply(rng, 1)} 【4:0†source】 {reply(rng)}【4:1†source】"
        yield one.call(one.says(text), kept=False)
        text = text.replace("【4:0†source】", "[1]").replace("【4:1†source】", "")
        one.turns.append(Turn("assistant", text, id=new_id(rng)))


def shared_history(rng: random.Random) -> Iterator[Step]:
    """Agents with system prompts of their own take turns in one conversation, each named in what it said."""
    one, names = client(rng, "chat"), ("planner", "coder", "critic")
    one.ask(request_for(rng))
    for number in range(rng.randint(4, 7)):
        name = names[number % 3]
        one.system = f"You are the {name}. {rng.random()}"
        told = one.says(reply(rng))
        yield one.call(told, kept=False)
        one.turns.append(Turn("user", f"[{name}]: {told.text}"))


REWRITERS: Mapping[str, Rewriter] = {
    one.__name__: one
    for one in (
        cutting_agent, cutting_at_once, signed_pictures, noted_pictures, thoughts_gone, items_without_ids,
        split_answers, merged_answers, last_words, joined_results, wandering_marks, resplit_parts, prefilled, choices,
        trimmed, numbers, renamed_tools, placeholders, canned, open_files, cited, shared_history,
    )
}  # fmt: skip
