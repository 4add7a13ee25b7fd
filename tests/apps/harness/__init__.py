"""What the application tests and the benchmarks share: labs, processes, a Redis client, checks."""
