"""The traceability API below `/api/v1`, described and documented by the definitions that check its input."""
