"""Load model files and data sets, each measured, as a program of its own.

Reads JSON from standard input: {"warm": [paths of models], "work": folder, "files": [[path, is data]]}.
Prints one line of JSON of what libraries have left in the current folder, then one for each file, as
`measured` returns it.
"""

import json
import sys
from pathlib import Path
from typing import Any

from modelpress.compression.evaluation import dataset
from modelpress.models.load import load
from modelpress.models.types import TensorSpec
from tests.support.hostile.measure import measured

INPUT = TensorSpec("image", (-1, 64), "float32")
OUTPUT = TensorSpec("digit", (-1, 10), "float32")


def main() -> None:
    request = json.load(sys.stdin)
    work = Path(request["work"])
    for path in request["warm"]:
        load(Path(path), work)
    print(json.dumps(sorted(str(path) for path in Path().rglob("*"))), flush=True)
    for path, is_data in request["files"]:
        print(json.dumps(_measured(Path(path), work, is_data=is_data)), flush=True)


def _measured(path: Path, work: Path, *, is_data: bool) -> dict[str, Any]:
    def action() -> None:
        if is_data:
            dataset.load(path, work / f"data-{path.parent.name}", [INPUT], [OUTPUT], labels=True)
        else:
            load(path, work)

    return measured(action)


if __name__ == "__main__":
    main()
