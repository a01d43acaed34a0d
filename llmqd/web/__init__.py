"""The HTTP side: every URL, the path of a call, and llmqd's own answers."""
