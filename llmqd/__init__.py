"""llmqd: a daemon that queues, forwards and records the calls of programs that share LLM API keys."""

__version__ = "0.1.0"
