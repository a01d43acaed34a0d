"""The simulated provider, asked by the three official SDKs and by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anthropic
import openai
import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from google import genai

from llmqd.sim import HEADER, LABEL, build_app

Client = TestClient[web.Request, web.Application]
MODEL = "gpt-whatever"


@pytest.fixture
async def server() -> AsyncIterator[TestServer]:
    """The provider without its pauses."""
    running = TestServer(build_app(first_pause=0, pause=0))
    async with running:
        yield running


@pytest.fixture
async def client(server: TestServer) -> AsyncIterator[Client]:
    async with TestClient(server) as made:
        yield made


def url(server: TestServer) -> str:
    return str(server.make_url("")).rstrip("/")


@pytest.fixture
async def oai(server: TestServer) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=url(server) + "/v1", api_key="none", max_retries=0) as made:
        yield made


@pytest.fixture
async def claude(server: TestServer) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=url(server), api_key="none", max_retries=0) as made:
        yield made


async def test_openai_chat_reflects_the_question_and_is_labelled(oai: openai.AsyncOpenAI) -> None:
    raw = await oai.chat.completions.with_raw_response.create(
        model=MODEL,
        messages=[{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Wie spät ist es?"}],
    )
    answer = raw.parse()
    text = answer.choices[0].message.content or ""
    assert text.startswith(LABEL)
    assert "Wie spät ist es?" in text
    assert raw.headers[HEADER] == "true"
    assert (answer.model, answer.system_fingerprint, answer.id[:4]) == (MODEL, "llmqd-sim", "sim-")
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == 7
    assert answer.usage.completion_tokens == pytest.approx(len(text.encode()) / 4, abs=1)


async def test_the_same_question_gets_the_same_text(oai: openai.AsyncOpenAI) -> None:
    texts = set()
    for _ in range(2):
        answer = await oai.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "again"}])
        texts.add(answer.choices[0].message.content)
    assert len(texts) == 1


async def test_openai_chat_stream_says_the_same_and_has_no_usage_unasked(oai: openai.AsyncOpenAI) -> None:
    question: openai.types.chat.ChatCompletionUserMessageParam = {"role": "user", "content": "hi"}
    plain = await oai.chat.completions.create(model=MODEL, messages=[question])
    stream = await oai.chat.completions.create(model=MODEL, messages=[question], stream=True)
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == plain.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert not any("usage" in chunk.model_fields_set for chunk in chunks)


async def test_include_usage_adds_null_to_each_chunk_and_one_chunk_at_the_end(oai: openai.AsyncOpenAI) -> None:
    stream = await oai.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "hi"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    assert all("usage" in chunk.model_fields_set for chunk in chunks)
    assert [chunk.usage is None for chunk in chunks] == [True] * (len(chunks) - 1) + [False]
    assert chunks[-1].choices == []


async def test_max_tokens_is_respected_in_every_dialect(
    oai: openai.AsyncOpenAI, claude: anthropic.AsyncAnthropic, client: Client
) -> None:
    chat = await oai.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "hi"}], max_completion_tokens=3, n=2
    )
    assert (len(chat.choices), chat.choices[0].finish_reason) == (1, "length")
    assert chat.usage is not None
    assert chat.usage.completion_tokens == 3
    response = await oai.responses.create(model=MODEL, input="hi", max_output_tokens=16)
    assert (response.status, response.output_text) == ("incomplete", LABEL + ' You said: "hi". Con')
    message = await claude.messages.create(model=MODEL, max_tokens=3, messages=[{"role": "user", "content": "hi"}])
    assert (message.stop_reason, message.usage.output_tokens) == ("max_tokens", 3)
    body = {"contents": [{"parts": [{"text": "hi"}]}], "generationConfig": {"maxOutputTokens": 3}}
    gemini = await (await client.post("/v1beta/models/m:generateContent", json=body)).json()
    assert gemini["candidates"][0]["finishReason"] == "MAX_TOKENS"
    assert gemini["usageMetadata"]["candidatesTokenCount"] == 3


async def test_openai_responses_plain_and_streamed(oai: openai.AsyncOpenAI) -> None:
    plain = await oai.responses.create(model=MODEL, input=[{"role": "user", "content": "hello"}], instructions="short")
    assert plain.output_text.startswith(LABEL)
    assert plain.id.startswith("sim-")
    async with oai.responses.stream(model=MODEL, input="hello") as stream:
        numbers = [event.sequence_number async for event in stream]
        final = await stream.get_final_response()
    assert numbers == list(range(len(numbers)))
    assert final.output_text == plain.output_text
    assert final.usage is not None
    assert final.usage.total_tokens == final.usage.input_tokens + final.usage.output_tokens


async def test_openai_completions_plain_and_streamed(oai: openai.AsyncOpenAI) -> None:
    plain = await oai.completions.create(model=MODEL, prompt="Once upon")
    stream = await oai.completions.create(model=MODEL, prompt="Once upon", stream=True)
    assert "".join([chunk.choices[0].text async for chunk in stream]) == plain.choices[0].text
    assert "Once upon" in plain.choices[0].text


async def test_openai_embeddings_in_both_encodings(oai: openai.AsyncOpenAI, client: Client) -> None:
    answer = await oai.embeddings.create(model=MODEL, input=["a", "b", "a"], dimensions=8)
    first, second, third = (row.embedding for row in answer.data)
    assert first == third != second
    assert sum(number * number for number in first) == pytest.approx(1, abs=1e-5)
    body = {"model": MODEL, "input": [1, 2, 3], "encoding_format": "float"}
    raw = await (await client.post("/v1/embeddings", json=body)).json()
    assert len(raw["data"]) == 1
    assert len(raw["data"][0]["embedding"]) == 1536
    assert raw["usage"]["prompt_tokens"] == 3


async def test_model_lists_in_all_shapes(
    oai: openai.AsyncOpenAI, claude: anthropic.AsyncAnthropic, client: Client
) -> None:
    assert [model.id async for model in oai.models.list()] == ["sim-small", "sim-large"]
    assert [model.id async for model in claude.models.list()] == ["sim-small", "sim-large"]
    gemini = await (await client.get("/v1beta/models")).json()
    assert [model["name"] for model in gemini["models"]] == ["models/sim-small", "models/sim-large"]
    assert (await oai.models.retrieve("anything")).id == "anything"
    assert (await claude.models.retrieve("anything")).id == "anything"


async def test_anthropic_messages_plain_and_streamed(claude: anthropic.AsyncAnthropic) -> None:
    question: anthropic.types.MessageParam = {"role": "user", "content": [{"type": "text", "text": "hi there"}]}
    plain = await claude.messages.create(model=MODEL, max_tokens=500, messages=[question], system="Be brief.")
    block = plain.content[0]
    assert isinstance(block, anthropic.types.TextBlock)
    assert block.text.startswith(LABEL)
    assert "hi there" in block.text
    async with claude.messages.stream(model=MODEL, max_tokens=500, messages=[question], system="Be brief.") as stream:
        text = "".join([piece async for piece in stream.text_stream])
        final = await stream.get_final_message()
    assert text == block.text
    assert final.usage.output_tokens == plain.usage.output_tokens
    count = await claude.messages.count_tokens(model=MODEL, messages=[question], system="Be brief.")
    assert count.input_tokens == plain.usage.input_tokens


@pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession")
async def test_gemini_plain_and_streamed(server: TestServer) -> None:
    options = genai.types.HttpOptions(base_url=url(server))
    async with genai.Client(api_key="none", http_options=options).aio as client:
        plain = await client.models.generate_content(model="gemini-9", contents="hi there")
        stream = await client.models.generate_content_stream(model="gemini-9", contents="hi there")
        pieces = [piece async for piece in stream]
        count = await client.models.count_tokens(model="gemini-9", contents="hi there")
    assert plain.text is not None
    assert plain.text.startswith(LABEL)
    assert (plain.model_version, (plain.response_id or "")[:4]) == ("gemini-9", "sim-")
    assert "".join(piece.text or "" for piece in pieces) == plain.text
    assert plain.usage_metadata is not None
    assert pieces[-1].usage_metadata == plain.usage_metadata
    assert count.total_tokens == plain.usage_metadata.prompt_token_count


async def test_gemini_stream_without_sse_is_one_json_array(client: Client) -> None:
    body = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
    response = await client.post("/v1beta/models/m:streamGenerateContent", json=body)
    pieces = orjson.loads(await response.read())
    assert response.headers["Content-Type"] == "application/json"
    text = "".join(piece["candidates"][0]["content"]["parts"][0]["text"] for piece in pieces)
    assert text.startswith(LABEL)
    assert pieces[-1]["candidates"][0]["finishReason"] == "STOP"


BAD: list[tuple[str, bytes, int, str]] = [
    ("/v1/chat/completions", b"{", 400, "Invalid request body"),
    ("/v1/chat/completions", b"\xff\xfe", 400, "Invalid request body"),
    ("/v1/chat/completions", b'{"messages":[{}]}', 400, "missing required field `model`"),
    ("/v1/chat/completions", b'{"model":"m","messages":[]}', 400, "$.messages"),
    ("/v1/chat/completions", b'{"model":"m","messages":[{}],"max_tokens":0}', 400, "$.max_tokens"),
    ("/v1/chat/completions", b'{"model":"m","messages":[{}],"stream_options":{}}', 400, "only allowed when 'stream'"),
    ("/v1/messages", b'{"model":"m","messages":[{}]}', 400, "missing required field `max_tokens`"),
    ("/v1beta/models/m:generateContent", b"{}", 400, "missing required field `contents`"),
    ("/v1/nothing", b"{}", 404, "has no POST /v1/nothing"),
    ("/v1/messages/nothing", b"{}", 404, "has no POST"),
    ("/v1beta/nothing", b"{}", 404, "has no POST"),
    ("/v1/models", b"{}", 405, "has no POST /v1/models"),
]


@pytest.mark.parametrize(("path", "body", "status", "words"), BAD)
async def test_bad_calls_get_the_error_object_of_their_dialect(
    client: Client, path: str, body: bytes, status: int, words: str
) -> None:
    response = await client.post(path, data=body)
    answer = await response.json()
    assert (response.status, response.headers[HEADER]) == (status, "true")
    assert words in answer["error"]["message"]
    if path.startswith("/v1/messages"):
        assert answer["type"] == "error"
    elif path.startswith("/v1beta"):
        assert answer["error"]["code"] == status
    else:
        assert answer["error"]["type"] == "invalid_request_error"


async def test_too_large_a_body_is_refused_in_dialect(
    client: Client, monkeypatch: pytest.MonkeyPatch, server: TestServer
) -> None:
    monkeypatch.setattr(server.app, "_client_max_size", 100)
    response = await client.post("/v1/messages", data=b" " * 200)
    assert response.status == 413
    assert (await response.json())["error"]["type"] == "request_too_large"


@pytest.mark.parametrize("question", ["\x00\x1b[2J", "x" * 10_000, ""])
async def test_odd_questions_are_answered(client: Client, question: str) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": question}]}
    response = await client.post("/v1/chat/completions", json=body)
    assert response.status == 200
