"""A steady load without retries, so that each lost request counts: load.py HOST MODEL RATE MODE [MODE ...]

MODE: `new` (a connection for each request), `keep` (kept connections), `grpc`. RATE: requests a second.
Ends on SIGTERM; the last line of the output is JSON: for each mode how many were sent, and the failures.
"""

import asyncio
import json
import signal
import sys
import time

import aiohttp
import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc

SECONDS = 30  # of one request
images = np.load("/holdout.npz")["x"]


def rows(count):
    return images[count % len(images)][None]


async def over_http(host, model, mode):
    connector = aiohttp.TCPConnector(force_close=mode == "new", limit=0)
    session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(SECONDS))
    url = f"http://{host}/v2/models/{model}"
    async with session.get(url) as answer:
        name = (await answer.json())["inputs"][0]["name"]

    async def ask(count):
        x = rows(count)
        tensor = {"name": name, "shape": list(x.shape), "datatype": "FP32", "data": x.ravel().tolist()}
        async with session.post(f"{url}/infer", json={"inputs": [tensor]}) as answer:
            body = await answer.read()
            if answer.status != 200 or b'"outputs"' not in body:
                raise RuntimeError(f"{answer.status} {body[:100]!r}")

    return ask, session.close


async def over_grpc(host, model):
    channel = grpc.aio.insecure_channel(f"{host}:8081")
    stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
    described = await stub.ModelMetadata(service_pb2.ModelMetadataRequest(name=model), timeout=SECONDS)

    async def ask(count):
        x = rows(count)
        request = service_pb2.ModelInferRequest(model_name=model)
        tensor = request.inputs.add(name=described.inputs[0].name, datatype="FP32")
        tensor.shape.extend(x.shape)
        request.raw_input_contents.append(x.tobytes())
        await stub.ModelInfer(request, timeout=SECONDS)

    return ask, channel.close


async def one(ask, count, failures):
    begun = time.time()
    try:
        await ask(count)
    except Exception as error:  # whatever it is: the request is lost
        moment = time.strftime("%H:%M:%S", time.gmtime(begun))
        failures.append(
            f"{moment} after {time.time() - begun:.2f} s: {type(error).__name__} {str(error)[:200]}"
        )


async def drive(host, model, rate, mode, stop):
    ask, close = await (over_grpc(host, model) if mode == "grpc" else over_http(host, model, mode))
    tasks, failures, count, begun = set(), [], 0, time.monotonic()
    while not stop.is_set():
        while count < (time.monotonic() - begun) * rate:
            task = asyncio.create_task(one(ask, count, failures))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            count += 1
        await asyncio.sleep(0.005)
    await asyncio.gather(*tasks)
    await close()
    return {"sent": count, "failures": failures}


async def main(host, model, rate, *modes):
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    drives = [asyncio.create_task(drive(host, model, float(rate), mode, stop)) for mode in modes]
    print("started", flush=True)
    done = await asyncio.gather(*drives)
    print(json.dumps(dict(zip(modes, done, strict=True))), flush=True)


asyncio.run(main(*sys.argv[1:]))
