"""Pull hostile images, each measured, as a program of its own.

python -m tests.support.hostile.pull LAYOUT LIMIT reads lines of digests, and prints a line of JSON for each,
as `measured` returns it. A file of more than LIMIT bytes cannot be written.
"""

import json
import resource
import signal
import sys
import tempfile
from functools import partial
from pathlib import Path

from modelpress.artifacts.stores.layout import LayoutStore
from tests.support.hostile.measure import measured


def main() -> None:
    store, limit = LayoutStore(Path(sys.argv[1])), int(sys.argv[2])
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    for line in sys.stdin:
        with tempfile.TemporaryDirectory() as folder:
            answer = measured(partial(store.pull, line.strip(), Path(folder, "out")))
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
