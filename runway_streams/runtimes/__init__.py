"""Runtimes: what a worker holds beside its Faust app; one file a worker, `runtime.py` is what they share."""
