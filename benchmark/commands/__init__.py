"""The commands of run_bench.py: one file per group, options beside what they do."""
