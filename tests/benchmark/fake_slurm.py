"""A stand-in for Slurm: runs a batch script in a session of its own, and signals it as Slurm."""

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil

JOB = {"SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "3", "SLURM_CPUS_PER_TASK": "8"}


class Batch:
    """A job of one batch script.

    Args:
        script: its text.
        folder: where it runs; ``requeued`` lists there what ``scontrol requeue`` was asked for.
        commands: further programs, by name, as shell scripts.
    """

    def __init__(self, script: str, folder: Path, commands: dict[str, str]) -> None:
        programs = folder / ".venv" / "bin"
        programs.mkdir(parents=True)
        (programs / "activate").write_text(f"export PATH={str(programs)!r}:$PATH\n")
        self.requeued = folder / "requeued"
        commands = {"scontrol": f'echo "$@" >> {str(self.requeued)!r}', **commands}
        for name, text in commands.items():
            (programs / name).write_text(f"#!/bin/bash\n{text}\n")
            (programs / name).chmod(0o755)
        (folder / "job.sh").write_text(script)
        self._output = (folder / "slurm-12_3.out").open("w")
        self.shell = subprocess.Popen(
            ["bash", "job.sh"], cwd=folder, env={**os.environ, **JOB}, start_new_session=True,
            stdout=self._output, stderr=self._output,
        )  # fmt: skip

    def warn_shell(self, number: int = signal.SIGUSR1) -> None:
        """``--signal=B:USR1@300``: the batch shell alone."""
        self.shell.send_signal(number)

    def time_out(self, grace: float) -> None:
        """At the time limit: SIGTERM to every process, SIGKILL after ``KillWait``."""
        for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, 0.0)):
            for process in self.processes():
                with suppress(psutil.Error):
                    process.send_signal(number)
            deadline = time.monotonic() + seconds
            while self.processes() and time.monotonic() < deadline:
                time.sleep(0.05)

    def processes(self) -> list[psutil.Process]:
        """What still runs of the job."""
        self.shell.poll()
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, ProcessLookupError):
                ours = os.getsid(process.pid) == self.shell.pid
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def end(self) -> None:
        """SIGKILL to all that is left."""
        self.time_out(0.0)
        self._output.close()
