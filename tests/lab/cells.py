"""Runs cells in a shell with our magics, and tells what came of each. Runs in an environment with IPython.

``python cells.py``: reads a JSON line for each cell from stdin, ``{"cell", "told", "interrupt"}``; ``told``, if there,
is the attachment that the server would have written down; an interrupt comes so many seconds after the begin. Answers a
line each: ``{"error", "output", "seconds", "value"}``.
"""

from __future__ import annotations

import _thread
import json
import os
import re
import sys
import threading
import time

KERNEL = os.environ["PORTAL_KERNEL"]


def main() -> None:
    """Until there are no more cells."""
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output
    from portal_lab import attachment, magics

    shell = InteractiveShell.instance(colors="NoColor")
    magics.load_ipython_extension(shell)
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        asked = json.loads(line)
        if "told" in asked:
            attachment.write(KERNEL, asked["told"])
        if asked.get("interrupt"):
            threading.Timer(asked["interrupt"], _thread.interrupt_main).start()
        began = time.perf_counter()
        with capture_output() as captured:
            result = shell.run_cell(asked["cell"])
        error = result.error_in_exec or result.error_before_exec
        shown = [str(each.data.get("text/plain", "")) for each in captured.outputs]
        answer = {
            "error": f"{type(error).__name__}: {error}" if error else "",
            "output": re.sub(r"\x1b\[[0-9;]*m", "", "\n".join([captured.stdout, captured.stderr, *shown])),
            "seconds": time.perf_counter() - began,
            "value": repr(result.result),
        }
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
