"""A third corpus: clients as they are seen on the wire, in all four APIs, with words that they share with all others.

It was written from what issues and predecessors report of clients, without a look at how sessions are found. What is
said is short and much the same in all conversations, answers pass through the bytes of their API, whole or streamed.
"""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from bench.session_clients import (
    Client,
    aside,
    asking_for,
    client,
    goes_on,
    in_turn,
    new_id,
    reply,
    request_for,
    use_of,
)
from bench.session_talk import Step
from bench.session_tools import agents, cleared, thoughtful, tool_window, tools_alone, tools_at_once
from bench.session_wire import Turn

Stranger = Callable[[random.Random], Iterator[Step]]


def small_talk(rng: random.Random) -> Iterator[Step]:
    """Short turns that everybody says."""
    yield from goes_on(client(rng), rng.randint(3, 8))


def numbered(rng: random.Random) -> Iterator[Step]:
    """Questions and answers that differ from those of others in a number alone."""
    one, number = client(rng), rng.randint(1, 10**6)
    for turn in range(rng.randint(3, 7)):
        one.ask(f"Question {turn} of conversation {number}")
        yield one.call(one.says(f"Answer {turn} of conversation {number}"))


def same_start(rng: random.Random) -> Iterator[Step]:
    """One opening for all, then turns that all have; answers alone differ."""
    one = client(rng, "chat")
    one.ask("Hello")
    yield one.call(one.says(f"Hello! Your ticket is {rng.randint(1, 10**6)}."))
    for text in ("Tell me more.", "And then?", "Thanks.")[: rng.randint(1, 3)]:
        one.ask(text)
        yield one.call(one.says(f"It has {rng.randint(1, 10**6)} rows."))


def same_short_answers(rng: random.Random) -> Iterator[Step]:
    """One opening and "OK." for all; then each says what is its own."""
    one = client(rng, "chat", "messages")
    one.ask("Hello")
    yield one.call(one.says("OK."))
    for _ in range(rng.randint(2, 5)):
        one.ask(request_for(rng))
        yield one.call(one.says("OK."))


def one_word(rng: random.Random) -> Iterator[Step]:
    """Each says what is its own, from the start; the model says one word."""
    one = client(rng)
    for _ in range(rng.randint(3, 8)):
        one.ask(request_for(rng))
        yield one.call(one.says(rng.choice(("Yes", "No", "42", "OK.", "Done"))))


def silent(rng: random.Random) -> Iterator[Step]:
    """Some answers are empty; the client sends them back or leaves them out."""
    one, kept = client(rng, "chat", "messages", "gemini"), rng.random() < 0.5
    for _ in range(rng.randint(4, 7)):
        one.ask(request_for(rng))
        told = one.says("" if rng.random() < 0.3 else one.reply())
        yield one.call(told, kept=kept or told.text != "")


def clock(rng: random.Random) -> Iterator[Step]:
    """Time and directory stand in a long system prompt."""
    one = client(rng)
    for _ in range(rng.randint(3, 7)):
        head, tail = f"Today is 2026-11-{rng.randint(1, 30)}, {rng.random()}.", f"cwd: /{rng.random()}"
        one.system = f"{head}\n{'Follow the rules. ' * 50}\n{tail}"
        yield from goes_on(one, 1)


def window(rng: random.Random) -> Iterator[Step]:
    """The last few messages, wherever the cut falls; or the first one and those."""
    one, size, first = client(rng, "chat", "messages", "gemini"), rng.randint(3, 7), rng.random() < 0.3
    for _ in range(rng.randint(6, 12)):
        one.ask(request_for(rng) if not one.turns or rng.random() < 0.8 else aside(rng))
        sent = one.turns[-size:]
        sent = [one.turns[0], *sent] if first and one.turns[0] not in sent else sent
        yield one.call(one.says(one.reply()), sent=list(sent))


def compacted(rng: random.Random) -> Iterator[Step]:
    """The client sums up, in a message of the user or of the system, and sends the last exchange after it."""
    one, as_system = client(rng), rng.random() < 0.4
    for number in range(rng.randint(5, 9)):
        if number == 3:
            told = f"Summary of the conversation so far: the user wants to {request_for(rng)}. {reply(rng, 2)}"
            last = one.turns[-2:]
            if as_system:
                one.system, one.turns = f"{one.system}\n\n{told}", last
            else:
                one.turns = [Turn("user", told), Turn("assistant", "Understood."), *last]
        yield from goes_on(one, 1)


def continued(rng: random.Random) -> Iterator[Step]:
    """An agent has the model sum up at the end of the history, and begins anew with that."""
    one = client(rng, "messages", "responses")
    yield from goes_on(one, rng.randint(2, 5))
    one.ask("Your task is to create a detailed summary of the conversation so far, paying close attention to requests.")
    summary = f"<summary>\n1. Request: {request_for(rng)}\n2. Files: {request_for(rng)}\n3. {reply(rng)}\n</summary>"
    yield one.call(one.says(summary))
    head = "This session is being continued from a previous conversation that ran out of context. The summary:\n"
    one.turns = [Turn("user", f"{head}{summary}\nPlease continue the conversation from where we left it off.")]
    yield one.call(one.says(one.reply()))
    yield from goes_on(one, rng.randint(1, 3))


def branched(rng: random.Random) -> Iterator[Step]:
    """An earlier turn is edited; both branches may go on."""
    one = client(rng)
    yield from goes_on(one, rng.randint(2, 5))
    old, users = list(one.turns), [at for at, turn in enumerate(one.turns) if turn.role == "user"]
    at = rng.choice(users[1:])
    one.turns = [*old[:at], Turn("user", f"No: {request_for(rng)}")]
    yield one.call(one.says(one.reply()))
    yield from goes_on(one, rng.randint(0, 2))
    if rng.random() < 0.5:
        one.turns = old
        yield from goes_on(one, 2)


def resent(rng: random.Random) -> Iterator[Step]:
    """A turn comes again word for word, answered otherwise; the client goes on with either."""
    one = client(rng)
    yield from goes_on(one, rng.randint(1, 3))
    one.ask(request_for(rng))
    tries = [one.says(one.reply()) for _ in range(rng.randint(2, 3))]
    for told in tries:
        yield one.call(told, kept=False)
    one.turns.append(rng.choice(tries))
    yield from goes_on(one, 2)


def failed(rng: random.Random) -> Iterator[Step]:
    """The first turn and later ones fail and come again, from the SDK or from the user."""
    one, sdk = client(rng), rng.random() < 0.5
    for _ in range(rng.randint(2, 5)):
        one.ask(request_for(rng))
        for number in range(rng.randint(0, 2)):
            yield one.call(None, retry=number if sdk else 0)
        yield one.call(one.says(one.reply()))


def aborted(rng: random.Random) -> Iterator[Step]:
    """A stream breaks off: the client asks again, or keeps the piece that came and says "continue"."""
    one, again = client(rng), rng.random() < 0.6
    one.streams = True
    for _ in range(rng.randint(3, 6)):
        one.ask(request_for(rng))
        if rng.random() < 0.4:
            told = one.says(one.reply(4))
            step = one.call(told, cut=rng.uniform(0.3, 0.9), kept=False)
            yield step
            if not again and step.answer is not None and step.answer.text:
                one.turns.append(replace(told, text=step.answer.text))
                one.ask("continue")
        yield one.call(one.says(one.reply()))


def retyped(rng: random.Random) -> Iterator[Step]:
    """White space, parts, line ends and the form of letters are others with each call."""
    one = client(rng)
    for _ in range(rng.randint(3, 6)):
        one.ask(f"{request_for(rng)}: é, ü, Å, naïve")
        one.manner = replace(one.manner, parts=rng.random() < 0.5)
        form = rng.choice((str.strip, lambda t: f"{t} \n", lambda t: unicodedata.normalize("NFD", t), _crlf))
        sent = [replace(turn, text=form(turn.text)) for turn in one.turns]
        yield one.call(one.says(f"{one.reply()} Déjà vu."), sent=sent)


def _crlf(text: str) -> str:
    return text.replace("\n", "\r\n")


def keys(rng: random.Random) -> Iterator[Step]:
    """The same conversation word for word under two keys, at the same time."""
    seed, wire = rng.random(), rng.choice(("chat", "messages", "responses", "gemini"))
    both = [client(random.Random(seed), wire, scope=f"key-{part}", part=part) for part in (1, 2)]
    yield from in_turn(rng, [goes_on(one, 5) for one in both])


def twins(rng: random.Random) -> Iterator[Step]:
    """Two clients of one key begin with the same words and get the same short answers, then part."""
    opening = request_for(rng)
    both = [client(random.Random(rng.random()), "chat", part=part) for part in (1, 2)]

    def talks(one: Client) -> Iterator[Step]:
        for text in (opening, "go on"):
            one.ask(text)
            yield one.call(one.says("OK."))
        yield from goes_on(one, 4)

    yield from in_turn(rng, [talks(one) for one in both])


def titles(rng: random.Random) -> Iterator[Step]:
    """Beside the conversation the client asks for its title, the transcript inside: a question of its own."""
    one = client(rng, "chat", "messages")
    yield from goes_on(one, rng.randint(1, 2))
    said = "\n".join(f"{turn.role.upper()}: {turn.text}" for turn in one.turns)
    side = Client(rng, one.wire, one.manner, None, part=1)
    side.ask(f"### Task:\nGive this conversation a short title.\n<chat_history>\n{said}\n</chat_history>")
    yield side.call(side.says(f"Ticket {rng.randint(1, 10**6)}"))
    yield from goes_on(one, rng.randint(2, 4))


def switched(rng: random.Random) -> Iterator[Step]:
    """Model, temperature, tools and the order of JSON's members change half-way."""
    one = client(rng)
    one.manner = replace(one.manner, shuffled=True)
    for number in range(rng.randint(3, 6)):
        asking_for(one, model=f"model-{number % 2}", temperature=rng.random(), tools=[])
        yield from goes_on(one, 1)


def by_response(rng: random.Random) -> Iterator[Step]:
    """Each call names the response before it and brings what is new alone; one earlier may be gone on from."""
    one, ids = client(rng, "responses"), list[str]()
    for _ in range(rng.randint(4, 7)):
        one.turns = [turn for turn in one.turns if turn.role == "tool"] or [Turn("user", aside(rng))]
        if ids:
            asking_for(one, previous_response_id=f"resp_{ids[-1 if rng.random() < 0.8 else 0]}")
        one.system = f"Be brief. {rng.random()}"
        use = use_of(rng)
        told = one.says("", use) if rng.random() < 0.4 else one.says(one.reply())
        yield one.call(told)
        ids.append(told.id)
        if told.uses:
            one.results((use, reply(rng)))


def by_item(rng: random.Random) -> Iterator[Step]:
    """What the model said comes back as references to its items."""
    one = client(rng, "responses")
    one.manner = replace(one.manner, references=True)
    yield from goes_on(one, rng.randint(3, 6))


def pictures(rng: random.Random) -> Iterator[Step]:
    """The user shows pictures, which the client leaves out later or not."""
    one, left_out = client(rng), rng.random() < 0.5
    for _ in range(rng.randint(3, 5)):
        one.ask("What is this?", image=new_id(rng) * 8)
        yield one.call(one.says(reply(rng)))
        if left_out:
            one.turns = [replace(turn, image="") for turn in one.turns]


def corrected(rng: random.Random) -> Iterator[Step]:
    """The user writes an answer anew and goes on with that."""
    one = client(rng, "chat", "messages")
    yield from goes_on(one, rng.randint(2, 4))
    at = rng.choice([at for at, turn in enumerate(one.turns) if turn.role == "assistant"])
    one.turns[at] = replace(one.turns[at], text=f"{one.turns[at].text[:30]} and no more.")
    yield from goes_on(one, 2)


def augmented(rng: random.Random) -> Iterator[Step]:
    """Documents that were found stand before the latest question, and not in the history."""
    one = client(rng)
    for _ in range(rng.randint(3, 6)):
        question = request_for(rng)
        found = "\n".join(f"Invoice {rng.randint(1, 10**6)} of {request_for(rng)} has been open." for _ in range(2))
        one.ask(f"Use these documents:\n{found}\n\nQuestion: {question}")
        told = one.says(reply(rng))
        yield one.call(told, kept=False)
        one.turns[-1:] = [Turn("user", question), told]


def again(rng: random.Random) -> Iterator[Step]:
    """One question that is asked over and over by a program, each time for itself."""
    for part in range(1, 4):
        one = client(rng, "chat", part=part)
        one.manner = replace(one.manner, parts=False)
        one.ask("Is this text spam? Answer yes or no.\n\nBuy now!")
        yield one.call(one.says(rng.choice(("yes", "Yes."))))


def handed_over(rng: random.Random) -> Iterator[Step]:
    """The conversation goes on in another API."""
    one = client(rng, "chat", "messages", "responses")
    for name in ("chat", "messages", "responses"):
        one.wire = client(rng, name).wire
        yield from goes_on(one, rng.randint(1, 2))


STRANGERS: Mapping[str, Stranger] = {
    one.__name__: one
    for one in (
        small_talk, numbered, same_start, same_short_answers, one_word, silent, clock, window, tool_window, compacted,
        continued, branched, resent, failed, aborted, retyped, tools_at_once, tools_alone, agents, keys, twins, titles,
        switched, by_response, by_item, thoughtful, pictures, cleared, corrected, augmented, again, handed_over,
    )
}  # fmt: skip

EQUAL = frozenset({"same_short_answers", "twins"})
"""Strangers whose histories are equal word for word for a while: who is who is a matter of chance there."""
