from urllib.parse import urlsplit

import pytest

from llmqd.providers.presets import DIALECTS, PRESETS, RESERVED_NAMES, SIM, Preset

HOSTS = {
    "anthropic": "https://api.anthropic.com",
    "aws-bedrock": None,
    "azure-openai": None,
    "cartesia": "https://api.cartesia.ai",
    "cerebras": "https://api.cerebras.ai",
    "cohere": "https://api.cohere.ai",
    "deepbricks": "https://api.deepbricks.ai",
    "deepseek": "https://api.deepseek.com",
    "elevenlabs": "https://api.elevenlabs.io",
    "fireworks": "https://api.fireworks.ai/inference",
    "google-ai-studio": "https://generativelanguage.googleapis.com",
    "google-vertex-ai": None,
    "grok": "https://api.x.ai",
    "groq": "https://api.groq.com",
    "huggingface": "https://router.huggingface.co",
    "hyperbolic": "https://api.hyperbolic.xyz",
    "jina": "https://api.jina.ai",
    "jina-deepsearch": "https://deepsearch.jina.ai",
    "mistral": "https://api.mistral.ai",
    "openai": "https://api.openai.com",
    "openrouter": "https://openrouter.ai/api",
    "perplexity-ai": "https://api.perplexity.ai",
    "poe": "https://api.poe.com",
    "replicate": "https://api.replicate.com",
    "together": "https://api.together.xyz",
    "vercel": "https://ai-gateway.vercel.sh",
}


def test_the_26_providers_are_known_at_their_hosts() -> None:
    assert len(HOSTS) == 26
    assert {name: PRESETS[name].base_url for name in HOSTS} == HOSTS


@pytest.mark.parametrize("name", ["gemini", "azure", "ollama", "vllm", "llamacpp", "xai", *(name for name in DIALECTS)])
def test_short_names_and_dialects_are_known_too(name: str) -> None:
    assert name in PRESETS


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_each_preset_is_sound(preset: Preset) -> None:
    assert preset.name not in RESERVED_NAMES
    assert preset.name == preset.name.lower()
    assert preset.dialect in DIALECTS
    url = preset.base_url or preset.example
    assert url is not None
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.scheme == "https" or parts.hostname == "127.0.0.1"
    assert not url.endswith("/")
    assert (parts.query, parts.fragment, parts.username) == ("", "", None)
    assert preset.v1 == "" or preset.v1.startswith("/")
    assert not preset.v1.endswith("/")


def test_the_genai_prices_ids_exist() -> None:
    from genai_prices import data_snapshot

    known = {provider.id for provider in data_snapshot.get_snapshot().providers}
    assert {preset.genai_prices for preset in PRESETS.values()} - {None} <= known


def test_where_v1_stands() -> None:
    def v1(name: str) -> str:
        return f"{PRESETS[name].base_url}{PRESETS[name].v1}"

    assert v1("groq") == "https://api.groq.com/openai/v1"
    assert v1("openrouter") == "https://openrouter.ai/api/v1"
    assert v1("fireworks") == "https://api.fireworks.ai/inference/v1"
    assert v1("gemini") == "https://generativelanguage.googleapis.com/v1beta/openai"
    assert v1("perplexity-ai") == "https://api.perplexity.ai"


def test_the_simulated_provider_is_no_preset_that_a_key_could_bring_up() -> None:
    assert SIM.name not in PRESETS
    assert SIM.auth == "none"
    assert SIM.env == ()
