"""Faults, broken bytes and long loads around a real daemon."""
