"""Background: a bug in it ends the process, and says why."""

import subprocess
import sys

PROGRAM = """
import asyncio
from runway_streams.background import Background

class Broken(Background):
    task_name = "broken part"
    async def _run(self):
        await asyncio.sleep(0)
        raise ZeroDivisionError("a bug")

async def main():
    part = Broken()
    part.start()
    await asyncio.sleep(60)

asyncio.run(main())
"""


def test_a_bug_ends_the_process_with_its_traceback():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert "The broken part has ended by an error" in done.stderr
    assert 'raise ZeroDivisionError("a bug")' in done.stderr or "ZeroDivisionError: a bug" in done.stderr
