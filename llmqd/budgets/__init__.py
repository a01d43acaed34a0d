"""Budgets: how much keys, users, agents, sessions and all together may spend, and what becomes of calls beyond it."""
