"""The providers that llmqd knows by name: where they are, how a key is shown to them, what their streams report.

Hosts and path prefixes are those of each provider's API reference. Where a host depends on the customer (an Azure
resource, an AWS or Google region) `base_url` is None and the operator gives it: a host is never built from text that a
client sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

from llmqd.call import Dialect
from llmqd.errors import PluginError
from llmqd.plugins import PROVIDERS, load_plugin, plugin_names

Auth = Literal["bearer", "x-api-key", "x-goog-api-key", "api-key", "xi-api-key", "none"]
"""Which request header carries the key: `bearer` is `Authorization: Bearer`, the others are header names."""

Algorithm = Literal["auto", "even", "bucket", "fixed", "sliding"]
"""How a provider keeps its limits: `even` spacing, a continuously refilled `bucket`, `fixed` windows of the wall clock,
a `sliding` window; `auto` where that is not known: what is safe against all of these."""

ReserveOutput = Literal["max_tokens", "refunded", "typical", "none"]
"""What a provider counts as output against a limit on tokens: `max_tokens` of the request, whatever comes out;
`refunded`, that at first and what came out in the end; `typical`, what comes out alone; `none`, no output at all in
limits on all tokens."""

DIALECTS: tuple[Dialect, ...] = get_args(Dialect)

RESERVED_NAMES = frozenset(
    {"v1", "v1beta", "health", "metrics", "config", "providers", "session", "sessions", "queue", "events", "api"}
    | {"docs", "openapi.json", "dashboard", "favicon.ico"}
)
"""First path segments of llmqd's own URLs: neither a preset nor a configured upstream may bear such a name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """What is known about one provider.

    `base_url` has no trailing slash; None means that the operator must give it, `example` shows how it looks.
    `v1` is the path on that host which stands for `/v1` of an OpenAI-style client (for Anthropic, of its own).
    `env` are the environment names under which its key is usually found, the preferred one first; `base_url_env`
    likewise for the base URL. `include_usage` says whether `stream_options.include_usage` may be added to a chat
    stream: false where usage comes without it or where unknown fields are refused. `genai_prices` is the provider id
    in the genai-prices data, None where it has none.

    The rest is how it counts against its limits, as its page on rate limits says: `reserve_output`; `count_cached`,
    whether input read from its cache counts; `day_zone`, the time zone whose midnight begins a day; `algorithm`, where
    it says how its limits refill. Providers that say nothing are taken to count what is really used.
    """

    name: str
    dialect: Dialect = "openai"
    base_url: str | None = None
    example: str | None = None
    v1: str = "/v1"
    auth: Auth = "bearer"
    env: tuple[str, ...] = ()
    base_url_env: tuple[str, ...] = ()
    include_usage: bool = False
    genai_prices: str | None = None
    reserve_output: ReserveOutput = "typical"
    count_cached: bool = True
    day_zone: str = "UTC"
    algorithm: Algorithm = "auto"


_AZURE_EXAMPLE = "https://my-resource.openai.azure.com"
_GEMINI_HOST = "https://generativelanguage.googleapis.com"
_GEMINI_KEYS = ("GEMINI_API_KEY", "GOOGLE_API_KEY")

_TABLE = (
    Preset(
        name="openai",
        base_url="https://api.openai.com",
        env=("OPENAI_API_KEY",),
        base_url_env=("OPENAI_BASE_URL",),
        include_usage=True,
        genai_prices="openai",
        reserve_output="max_tokens",
    ),
    Preset(
        name="anthropic",
        dialect="anthropic",
        base_url="https://api.anthropic.com",
        auth="x-api-key",
        env=("ANTHROPIC_API_KEY",),
        genai_prices="anthropic",
        count_cached=False,
        algorithm="bucket",
    ),
    Preset(
        name="gemini",
        dialect="gemini",
        base_url=_GEMINI_HOST,
        v1="/v1beta/openai",
        auth="x-goog-api-key",
        env=_GEMINI_KEYS,
        genai_prices="google",
        reserve_output="none",
        day_zone="America/Los_Angeles",
    ),
    Preset(
        name="google-ai-studio",
        dialect="gemini",
        base_url=_GEMINI_HOST,
        v1="/v1beta/openai",
        auth="x-goog-api-key",
        env=_GEMINI_KEYS,
        genai_prices="google",
        reserve_output="none",
        day_zone="America/Los_Angeles",
    ),
    Preset(
        name="google-vertex-ai",
        dialect="gemini",
        example="https://us-central1-aiplatform.googleapis.com",
        genai_prices="google",
        reserve_output="none",
        day_zone="America/Los_Angeles",
    ),
    Preset(
        name="azure",
        example=_AZURE_EXAMPLE,
        v1="/openai/v1",
        auth="api-key",
        env=("AZURE_OPENAI_API_KEY",),
        base_url_env=("AZURE_OPENAI_ENDPOINT",),
        include_usage=True,
        genai_prices="azure",
        reserve_output="max_tokens",
    ),
    Preset(
        name="azure-openai",
        example=_AZURE_EXAMPLE,
        v1="/openai/v1",
        auth="api-key",
        env=("AZURE_OPENAI_API_KEY",),
        base_url_env=("AZURE_OPENAI_ENDPOINT",),
        include_usage=True,
        genai_prices="azure",
        reserve_output="max_tokens",
    ),
    Preset(
        name="aws-bedrock",
        example="https://bedrock-runtime.us-east-1.amazonaws.com",
        v1="/openai/v1",
        env=("AWS_BEARER_TOKEN_BEDROCK",),
        genai_prices="aws",
        reserve_output="refunded",
    ),
    Preset(name="mistral", base_url="https://api.mistral.ai", env=("MISTRAL_API_KEY",), genai_prices="mistral"),
    Preset(
        name="groq",
        base_url="https://api.groq.com",
        v1="/openai/v1",
        env=("GROQ_API_KEY",),
        genai_prices="groq",
        reserve_output="max_tokens",
        count_cached=False,
    ),
    Preset(
        name="deepseek",
        base_url="https://api.deepseek.com",
        env=("DEEPSEEK_API_KEY",),
        include_usage=True,
        genai_prices="deepseek",
    ),
    Preset(
        name="openrouter",
        base_url="https://openrouter.ai/api",
        env=("OPENROUTER_API_KEY",),
        genai_prices="openrouter",
    ),
    Preset(name="together", base_url="https://api.together.xyz", env=("TOGETHER_API_KEY",), genai_prices="together"),
    Preset(
        name="xai",
        base_url="https://api.x.ai",
        env=("XAI_API_KEY",),
        include_usage=True,
        genai_prices="x-ai",
    ),
    Preset(
        name="grok",
        base_url="https://api.x.ai",
        env=("XAI_API_KEY",),
        include_usage=True,
        genai_prices="x-ai",
    ),
    Preset(
        name="cohere",
        base_url="https://api.cohere.ai",
        v1="/compatibility/v1",
        env=("COHERE_API_KEY", "CO_API_KEY"),
        genai_prices="cohere",
    ),
    Preset(
        name="fireworks",
        base_url="https://api.fireworks.ai/inference",
        env=("FIREWORKS_API_KEY",),
        include_usage=True,
        genai_prices="fireworks",
    ),
    Preset(
        name="cerebras",
        base_url="https://api.cerebras.ai",
        env=("CEREBRAS_API_KEY",),
        include_usage=True,
        genai_prices="cerebras",
    ),
    Preset(
        name="perplexity-ai",
        base_url="https://api.perplexity.ai",
        v1="",
        env=("PERPLEXITY_API_KEY", "PPLX_API_KEY"),
        genai_prices="perplexity",
    ),
    Preset(name="hyperbolic", base_url="https://api.hyperbolic.xyz", env=("HYPERBOLIC_API_KEY",)),
    Preset(name="deepbricks", base_url="https://api.deepbricks.ai", env=("DEEPBRICKS_API_KEY",)),
    Preset(name="poe", base_url="https://api.poe.com", env=("POE_API_KEY",)),
    Preset(name="vercel", base_url="https://ai-gateway.vercel.sh", env=("AI_GATEWAY_API_KEY",)),
    Preset(name="huggingface", base_url="https://router.huggingface.co", env=("HF_TOKEN",)),
    Preset(name="replicate", base_url="https://api.replicate.com", env=("REPLICATE_API_TOKEN",)),
    Preset(name="jina", base_url="https://api.jina.ai", env=("JINA_API_KEY",)),
    Preset(name="jina-deepsearch", base_url="https://deepsearch.jina.ai", env=("JINA_API_KEY",)),
    Preset(
        name="elevenlabs",
        base_url="https://api.elevenlabs.io",
        auth="xi-api-key",
        env=("ELEVENLABS_API_KEY",),
        genai_prices="elevenlabs",
    ),
    Preset(name="cartesia", base_url="https://api.cartesia.ai", auth="x-api-key", env=("CARTESIA_API_KEY",)),
    Preset(name="ollama", dialect="ollama", base_url="http://127.0.0.1:11434", include_usage=True),
    Preset(name="vllm", base_url="http://127.0.0.1:8000", include_usage=True),
    Preset(name="llamacpp", example="http://127.0.0.1:8081", include_usage=True),
)

SIM = Preset(name="sim", base_url="", auth="none", include_usage=True)
"""The built-in simulated provider; the daemon knows its address only once it runs."""


def with_plugins(built_in: Mapping[str, Preset]) -> tuple[Mapping[str, Preset], tuple[str, ...]]:
    """The providers, those of plug-ins last, and what is wrong with other plug-ins, as sentences."""
    known, faults = dict(built_in), list[str]()
    for name in plugin_names(PROVIDERS):
        try:
            preset = load_plugin(PROVIDERS, name)
            if not isinstance(preset, Preset):
                preset = preset()
        except PluginError as error:
            faults.append(str(error))
            continue
        except Exception as error:  # whatever another's code does when it is called
            faults.append(f"plug-in {name} of group {PROVIDERS}: {error!r}")
            continue
        if not isinstance(preset, Preset) or preset.name != name or preset.dialect not in DIALECTS:
            faults.append(f"plug-in {name} of group {PROVIDERS} gives no Preset of that name with a known dialect")
        elif name in RESERVED_NAMES or name in known or name == SIM.name or name != name.lower():
            faults.append(f"plug-in {name} of group {PROVIDERS}: that name is taken, or not in lower case")
        else:
            known[name] = preset
    return MappingProxyType(known), tuple(faults)


PRESETS, PLUGIN_FAULTS = with_plugins({preset.name: preset for preset in _TABLE})
"""Every known provider by name, in the order in which keys found in the environment become upstreams; and what is wrong
with plug-ins that should add some."""
