"""A provider that llmqd does not know by itself: it speaks OpenAI's dialect and wants its key in `api-key`."""

from llmqd.providers.presets import Preset

EXAMPLE = Preset(
    name="examplecloud",
    dialect="openai",
    base_url="https://api.examplecloud.invalid",
    v1="/inference/v1",
    auth="api-key",
    env=("EXAMPLECLOUD_API_KEY",),
)
