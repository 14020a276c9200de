"""OpenLineage: events of runs, jobs and datasets as reports to the graph, and the graph as events for others."""
