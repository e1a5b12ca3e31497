"""A report with everything in it, as the pipeline would write it."""

from typing import Any

from modelpress.compression.report.document import Report


def metric(name: str, original: float, compressed: float, **fields: Any) -> dict[str, Any]:
    return {
        "metric": name,
        "original": original,
        "originalInterval": [original - 1.2, min(100.0, original + 1.2)],
        "compressed": compressed,
        "compressedInterval": [compressed - 1.4, min(100.0, compressed + 1.4)],
        "drop": original - compressed,
        "dropInterval": [original - compressed - 0.7, original - compressed + 0.7],
        "intervalMethod": "Wilson score; drop: Bonett-Price",
        "outputs": [{"name": "digit", "original": original, "compressed": compressed}],
        **fields,
    }


def wire(**fields: Any) -> dict[str, Any]:
    tensors = [
        {
            "name": "dense/kernel",
            "role": "kernel",
            "shape": [64, 64],
            "elements": 4096,
            "changed": 4096,
            "bytesBefore": 16384,
            "bytesAfter": 4096,
            "formula": {"axis": 1, "scale": [1.0] * 64, "bias": [0] * 64, "largestError": 0.4999},
        },
        {"name": "dense/bias", "shape": [64], "elements": 64, "skipped": "fewer than 1,024 elements"},
    ]
    training = {
        "learningRate": 0.0003,
        "byFormula": True,
        "batch": 32,
        "layers": 2,
        "parameters": 4736,
        "rows": 1258,
        "losses": {"digit": "crossentropy"},
        "epochs": [{"epoch": i, "learningRate": 0.0003, "loss": 0.5 / (i + 1)} for i in range(4)],
    }
    return {
        "name": "digits",
        "recipe": {"scheme": "Int8Dynamic"},
        "recipeHash": "1" * 64,
        "artifactKey": "2" * 64,
        "versions": {"modelpress": "0.1.0", "keras": "3.15.1"},
        "source": {
            "file": "model.keras",
            "kind": "KerasLayers",
            "digest": f"sha256:{'3' * 64}",
            "inputs": [{"name": "image", "shape": [-1, -1], "dtype": "float32"}],
            "outputs": [{"name": "digit", "shape": [-1, 3], "dtype": "float32"}],
            "weights": [
                {
                    "name": "dense/kernel",
                    "role": "kernel",
                    "shape": [64, 64],
                    "dtype": "float32",
                    "bytes": 16384,
                }
            ],
        },
        "sizes": {"originalBytes": 16640, "float32Bytes": 18000, "compressedBytes": 6200, "ratio": 2.68},
        "passes": [
            {
                "name": "fineTuning",
                "parameters": {"epochs": "3"},
                "training": training,
                "tensors": tensors[:1],
            },
            {"name": "quantization", "parameters": {"scheme": "Int8Dynamic"}, "tensors": tensors},
        ],
        "evaluation": {
            **metric("Accuracy", 97.4, 97.0),
            "rows": 540,
            "limits": {"minScore": "92%", "maxDrop": "0.5%", "maxSize": "20Mi"},
            "others": [metric("Agreement", 100.0, 99.1, originalInterval=None)],
            "notMeasured": [{"metric": "R2", "reason": "labels have shape (540,)"}],
            "confusion": [
                {
                    "output": "digit",
                    "classes": ["0", "1", "2"],
                    "original": [[180, 0, 0], [1, 178, 1], [0, 0, 180]],
                    "compressed": [[180, 0, 0], [3, 174, 3], [0, 0, 180]],
                }
            ],
        },
        "latency": [
            {"batch": 1, "original": 12.2, "compressed": 9.4, "speedup": 1.3},
            {"batch": 32, "original": 12049.5, "compressed": 204.4, "speedup": 58.9},
        ],
        "inputSizes": {
            "known": [[64]],
            "memory": [{"shapes": [[1]], "bytes": 0}, {"shapes": [[4096]], "bytes": 734_003_200}],
        },
        "layers": [
            {"name": "dense", "before": 16640, "after": 4352},
            {"name": "(file structure)", "before": 0, "after": 1848},
        ],
        "histograms": [
            {
                "name": "dense/kernel",
                "low": -0.5,
                "high": 0.6,
                "before": [1, 4, 9, 5, 2],
                "after": [0, 2, 17, 2, 0],
            },
            {"name": "merged/kernel", "low": 0.1, "high": 0.6, "before": [1, 4, 9, 5, 2]},
        ],
        "steps": [
            {"name": "load", "seconds": 4.31, "peakBytes": 734_003_200},
            {"name": "convert", "seconds": 61.2, "peakBytes": 2_040_109_466},
            {"name": "write", "seconds": 0.1},
        ],
        "warnings": ["maxDrop 0.5%: 540 rows cannot tell it from the limit"],
        **fields,
    }


def report(**fields: Any) -> Report:
    return Report.model_validate(wire(**fields))
