"""Ask a model with clients that are not ours: ask.py HOST MODEL.

Prints the accuracy over each protocol as JSON.
"""

import json
import sys
import urllib.request

import numpy as np
import tritonclient.grpc
import tritonclient.http

ROWS = 32


def main(host, model):
    data = np.load("/holdout.npz")
    images, labels = data["x"], data["y"]
    batches = [images[start : start + ROWS] for start in range(0, len(images), ROWS)]
    rest = tritonclient.http.InferenceServerClient(f"{host}:80")
    described = rest.get_model_metadata(model)
    scores = {
        "http": triton(tritonclient.http, rest, model, described, batches),
        "grpc": triton(
            tritonclient.grpc,
            tritonclient.grpc.InferenceServerClient(f"{host}:8081"),
            model,
            described,
            batches,
        ),
        "json": predict(host, model, batches),
    }
    print(json.dumps({name: float((found.argmax(1) == labels).mean()) for name, found in scores.items()}))


def triton(library, client, model, described, batches):
    answers = []
    for rows in batches:
        tensor = library.InferInput(described["inputs"][0]["name"], list(rows.shape), "FP32")
        tensor.set_data_from_numpy(rows)
        answers.append(client.infer(model, [tensor]).as_numpy(described["outputs"][0]["name"]))
    return np.concatenate(answers)


def predict(host, model, batches):
    answers = []
    for rows in batches:
        body = json.dumps({"instances": rows.tolist()}).encode()
        request = urllib.request.Request(f"http://{host}/v1/models/{model}:predict", body)
        with urllib.request.urlopen(request, timeout=30) as answer:
            answers.append(json.load(answer)["predictions"])
    return np.concatenate([np.asarray(rows) for rows in answers])


main(*sys.argv[1:])
