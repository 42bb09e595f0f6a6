"""numba is imported whole or not at all, whenever Ctrl-C comes."""

import subprocess
import sys

INTERRUPTED = """
import _thread, sys, threading, time

def interrupt():
    while "numba.core" not in sys.modules:
        time.sleep(1e-4)
    _thread.interrupt_main()

threading.Thread(target=interrupt).start()
try:
    import expmax.inference.kernels
except KeyboardInterrupt:
    print("interrupted")
import expmax.inference.kernels
print("whole")
"""


def test_an_interrupted_import_can_be_repeated():
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["interrupted", "whole"]
    assert done.stderr == ""
