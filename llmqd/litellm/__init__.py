"""Calls that a LiteLLM proxy has recorded, taken into the ledger: read from its table LiteLLM_SpendLogs."""
