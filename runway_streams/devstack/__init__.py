"""The embedded stack: real parts, started on this machine, for trying things out and for tests."""
