"""Measures what llmqd adds, always as a ratio against something measured in the same run."""
