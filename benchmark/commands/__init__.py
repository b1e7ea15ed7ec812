"""The commands of run_bench.py: one file per group, options next to what they do."""
