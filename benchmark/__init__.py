"""The benchmark: from a request to a leaderboard.

The rooms, from the top; each imports only from those below its own line:

- ``commands``: the command line, one file per group of commands
- ``report``: page, plots, one cell; ``running``: cohorts, processes, journal, executors
- ``leaderboard``: tables and their formats; ``costs``: what a network costs; ``doctor``: what
  works on this machine
- ``conformance``: checks for methods; ``evaluation``: AP, intervals, views
- ``training``: lockstep training
- ``config``: what to run
- ``records``: what is kept of a finished cell; ``data``: frames and batches
- ``files``, ``device``: safe writing, text and YAML; device and precision

``tests/test_architecture.py`` enforces this.
"""
