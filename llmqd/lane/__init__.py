"""Waiting and turns: how calls queue for an upstream key and when each may go."""
