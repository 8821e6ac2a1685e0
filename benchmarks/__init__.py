"""What yamlflow costs, side by side with raw SQLite: ``python -m benchmarks``."""
