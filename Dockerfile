# Four images from one file: docker build --target operator|compressor|worker|worker-gpu .
# uv resolves the many clients of object stores in seconds. BASE needs Python 3.11 or newer and a package registry;
# GPU_BASE also what the CUDA libraries need from the system.
ARG BASE=python:3.13-slim
ARG GPU_BASE=python:3.13-slim

FROM ${BASE} AS source
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY operator ./operator
RUN python3 -m venv /opt/modelpress && pip install --no-cache-dir 'uv>=0.5'

FROM source AS build-operator
RUN uv pip install --no-cache --python /opt/modelpress/bin/python '.[operator]'

FROM source AS build-compressor
RUN uv pip install --no-cache --python /opt/modelpress/bin/python '.[compression]'

FROM source AS build-worker
RUN uv pip install --no-cache --python /opt/modelpress/bin/python '.[serving]'

FROM ${GPU_BASE} AS build-worker-gpu
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY operator ./operator
RUN python3 -m venv /opt/modelpress && pip install --no-cache-dir 'uv>=0.5'
RUN uv pip install --no-cache --python /opt/modelpress/bin/python '.[serving,gpu]'

# The user is numeric so that Kubernetes can see that it is not root (runAsNonRoot).
FROM ${BASE} AS runtime
ENV PATH=/opt/modelpress/bin:${PATH} PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
ENTRYPOINT ["modelpress"]

FROM runtime AS operator
COPY --from=build-operator /opt/modelpress /opt/modelpress
CMD ["operator"]

FROM runtime AS compressor
COPY --from=build-compressor /opt/modelpress /opt/modelpress
CMD ["job"]

FROM runtime AS worker
COPY --from=build-worker /opt/modelpress /opt/modelpress
CMD ["serve"]

FROM ${GPU_BASE} AS worker-gpu
ENV PATH=/opt/modelpress/bin:${PATH} PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
COPY --from=build-worker-gpu /opt/modelpress /opt/modelpress
ENTRYPOINT ["modelpress"]
CMD ["serve"]
