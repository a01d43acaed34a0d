"""The exit codes of every command."""

DONE, FAILED, USED_WRONGLY = 0, 1, 2
