"""OpenTelemetry: a trace of each call by the GenAI conventions, sent over OTLP/HTTP from a thread of its own."""
