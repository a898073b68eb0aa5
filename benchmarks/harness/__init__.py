"""The benchmark harness: environments, measured processes, tables. Standard library only."""
