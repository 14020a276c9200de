"""Remembered: within its bounds of answers, bytes and age."""

from runway_streams.dependency.remembered import MAX_AGE_MS, Remembered


def test_bytes_are_bounded_questions_included():
    answers = Remembered(max_bytes=40)
    answers.keep(("a",), "x" * 13, now=1)  # 5 bytes and 15
    answers.keep(("b",), "x" * 13, now=2)
    assert answers.recall(("a",), str, now=3) == ("x" * 13, 1)
    answers.keep(("c",), "y", now=3)
    assert answers.recall(("b",), str, now=3) is None, "it was asked for longest ago"
    assert answers.recall(("a",), str, now=3) is not None
    answers.keep(("a",), "x" * 40, now=4)
    assert answers.recall(("a",), str, now=4) is None, "larger than all may be, and what was kept is not the last any more"
    assert answers.recall(("c",), str, now=4) == ("y", 3)


def test_an_old_answer_is_none():
    answers = Remembered()
    answers.keep(("a",), 1, now=0)
    assert answers.recall(("a",), int, now=MAX_AGE_MS) == (1, 0)
    assert answers.recall(("a",), int, now=MAX_AGE_MS + 1) is None
