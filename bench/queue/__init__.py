"""Strict upstreams behind real daemons: does the queue keep what it promises."""
