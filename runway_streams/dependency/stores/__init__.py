"""Where lineage is kept: SQLite, PostgreSQL and Neo4j behind one port, and the queues before them."""
