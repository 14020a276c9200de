"""Migrations: revisions in a folder, and those that a program does not know."""

import pytest

from runway_streams.registry.migrate import MIGRATIONS


@pytest.mark.parametrize(("revision", "is_additive"), [("{}.7", True), ("0999", False), ("0999.1", False), ("", False)])
def test_a_revision_has_only_added_where_it_counts_on_from_the_newest(revision, is_additive):
    assert MIGRATIONS.is_additive(revision.format(MIGRATIONS.newest())) is is_additive


def test_the_newest_revision_is_known_and_others_are_not():
    assert MIGRATIONS.is_known(MIGRATIONS.newest())
    assert not MIGRATIONS.is_known("9999")
