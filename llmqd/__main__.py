"""Runs the command line with `python -m llmqd`."""

import sys

from llmqd.cli import main

if __name__ == "__main__":
    sys.exit(main())
