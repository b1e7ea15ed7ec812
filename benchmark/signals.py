"""How batch systems ask a run to stop, and who hears it.

They signal the command alone, or every process of it at once. The command and the processes of
cohorts stop at the next checkpoint; those that serve others go on until these have ended.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

STOPPED = 75
"""Exit code of what was asked to stop and can go on: EX_TEMPFAIL of sysexits.h."""
WARNINGS = tuple(
    number
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
    if signal.getsignal(number) != signal.SIG_IGN
)
"""Signals that announce the end of a job: Slurm's and Kubernetes' SIGTERM, the one that Slurm's
``--signal`` is often set to, and a closed terminal's, which ``nohup`` ignores for all processes."""


class Asked(KeyboardInterrupt):
    """The run was asked to stop by a batch system, or by whoever closed its terminal."""


def stop_on_warnings() -> None:
    """Let the first such signal raise :class:`Asked` in the main thread, and ignore later ones."""

    def stop(number: int, frame: Any) -> None:
        on_warnings(signal.SIG_IGN)
        raise Asked

    on_warnings(stop)


def on_warnings(handler: Callable[[int, Any], None] | signal.Handlers) -> None:
    """Handle these signals."""
    for number in WARNINGS:
        signal.signal(number, handler)
