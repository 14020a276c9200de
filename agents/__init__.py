"""Agents: one edge of the topology a file, plain async functions over a stream. `ls agents` is the topology."""
