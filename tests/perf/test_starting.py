"""How long the process of a cohort takes to start, beside the imports that the server spares it.

`pytest tests/perf/test_starting.py -s` prints the seconds; their ratio is asserted.
"""

import subprocess
import sys
import time

from benchmark.running.server import CONTEXT

TURNS = 5


def answer(sender):
    """What a cohort's process does first."""
    sender.send(time.time())


def start_one():
    """Seconds from the request to the first line of the process."""
    receiver, sender = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=answer, args=(sender,))
    begun = time.time()
    process.start()
    seconds = receiver.recv() - begun
    process.join()
    return seconds


def test_starting_costs_a_small_part_of_the_imports():
    start_one()  # the server starts with it
    forked = min(start_one() for _ in range(TURNS))
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import benchmark.running.preloaded"], check=True)
    imported = time.perf_counter() - begun
    print(f"\nfrom the server: {forked:.2f} s; with its own imports: {imported:.2f} s")
    assert forked < imported / 5
