"""Dependency: what models are made from and who uses them; impact, feedback loops and root causes over that graph."""
