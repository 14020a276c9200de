"""Metaflow: runs of flows, their artifacts and what they tell of lineage and versions; nothing is unpickled, nothing is written."""
