import io

from rich.console import Console

from runway_streams.demo.progress import telling, working


def test_without_a_terminal_each_tenth_is_a_line_as_it_is_reached():
    console = Console(file=io.StringIO(), width=80)
    with telling(console, 1_000) as begin:
        sent = begin("Sent")
        for done in range(0, 1_001, 50):
            sent(done)
            assert f"Sent: {done // 100 * 100:,} of 1,000" in console.file.getvalue()
    assert len(console.file.getvalue().splitlines()) == 11


def test_without_a_terminal_work_is_said_as_it_begins():
    console = Console(file=io.StringIO(), width=80)
    with working(console, "Running ..."):
        assert console.file.getvalue() == "Running ...\n"


def test_on_a_terminal_there_are_bars():
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    with telling(console, 1_000) as begin:
        begin("Sent")(1_000)
    assert "1000/1000" in console.file.getvalue()
    assert "━" in console.file.getvalue()
