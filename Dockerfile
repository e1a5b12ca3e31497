# Four images: docker build --target operator|compressor|worker|worker-gpu . (`make images`: all, with what is there).
# BASE has Python 3.11 or newer with its module venv (Debian's package python3-venv) and trusts the package registry.
# What builds reaches no image: pip, uv, setuptools, and the installers of BASE.
ARG BASE=python:3.13-slim

FROM ${BASE} AS tools
ARG PIP_INDEX_URL
ARG UV_DEFAULT_INDEX
ENV UV_NO_CACHE=1 UV_LINK_MODE=copy UV_SYSTEM_CERTS=1 VIRTUAL_ENV=/opt/modelpress
COPY operator/images/requirements/build.txt /requirements/
RUN python3 -m venv /tools \
 && /tools/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r /requirements/build.txt \
 && python3 -m venv --without-pip /opt/modelpress
COPY operator/images/install.sh /tools/bin/

# The packages of others: layers that only a new lock file changes.
FROM tools AS packages-operator
COPY operator/images/requirements/operator.txt /requirements/
RUN sh /tools/bin/install.sh --require-hashes -r /requirements/operator.txt

FROM tools AS packages-compressor
COPY operator/images/requirements/compressor.txt /requirements/
RUN sh /tools/bin/install.sh --require-hashes -r /requirements/compressor.txt

FROM tools AS packages-worker
COPY operator/images/requirements/worker.txt /requirements/
RUN sh /tools/bin/install.sh --require-hashes -r /requirements/worker.txt

FROM tools AS packages-worker-gpu
COPY operator/images/requirements/worker-gpu.txt /requirements/
RUN sh /tools/bin/install.sh --require-hashes -r /requirements/worker-gpu.txt

# Our own, the same in all images.
FROM tools AS product
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY operator/modelpress ./operator/modelpress
RUN SOURCE_DATE_EPOCH=315532800 /tools/bin/uv build --quiet --wheel --no-build-isolation --python /tools/bin/python -o /wheel \
 && sh /tools/bin/install.sh --no-index /wheel/*.whl

# Bills of materials: what each environment really holds.
FROM packages-operator AS bill-operator
COPY --from=product /opt/modelpress /opt/modelpress
RUN /tools/bin/cyclonedx-py environment --output-reproducible -o /sbom.cdx.json /opt/modelpress/bin/python

FROM packages-compressor AS bill-compressor
COPY --from=product /opt/modelpress /opt/modelpress
RUN /tools/bin/cyclonedx-py environment --output-reproducible -o /sbom.cdx.json /opt/modelpress/bin/python

FROM packages-worker AS bill-worker
COPY --from=product /opt/modelpress /opt/modelpress
RUN /tools/bin/cyclonedx-py environment --output-reproducible -o /sbom.cdx.json /opt/modelpress/bin/python

FROM packages-worker-gpu AS bill-worker-gpu
COPY --from=product /opt/modelpress /opt/modelpress
RUN /tools/bin/cyclonedx-py environment --output-reproducible -o /sbom.cdx.json /opt/modelpress/bin/python

# The user is numeric so that Kubernetes can see that it is not root (runAsNonRoot); libraries ask for its name.
# Official Python images come without byte code of the standard library.
FROM ${BASE} AS runtime
RUN echo 'modelpress:x:65532:65532:ModelPress:/tmp:/usr/sbin/nologin' >>/etc/passwd \
 && echo 'modelpress:x:65532:' >>/etc/group \
 && cd "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" \
 && for name in pip setuptools wheel; do \
      for folder in site-packages /usr/local/lib/python3*/*-packages /usr/lib/python3/dist-packages; do \
        rm -rf $folder/$name $folder/$name-*; \
      done; \
    done \
 && rm -rf ensurepip /usr/share/python-wheels /usr/bin/pip /usr/bin/pip3* /usr/local/bin/pip /usr/local/bin/pip3* \
 && python3 -m compileall -q --invalidation-mode unchecked-hash -x '/(tests?|idlelib|lib2to3|turtledemo|[^/]*-packages)/' "$PWD"
ENV PATH=/opt/modelpress/bin:${PATH} HOME=/tmp LOGNAME=modelpress PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
ENTRYPOINT ["modelpress"]

FROM runtime AS operator
# One heap for all threads: with one for each, what they free stays with them (a sixth less at 300 resources).
ENV MALLOC_ARENA_MAX=1
COPY --from=packages-operator /opt/modelpress /opt/modelpress
COPY --from=product /opt/modelpress /opt/modelpress
COPY --from=bill-operator /sbom.cdx.json /opt/modelpress/
CMD ["operator"]
ARG VERSION=unknown
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="ModelPress operator" org.opencontainers.image.licenses=Apache-2.0 \
  org.opencontainers.image.version=${VERSION} org.opencontainers.image.revision=${REVISION} \
  org.opencontainers.image.source=${SOURCE}

FROM runtime AS compressor
COPY --from=packages-compressor /opt/modelpress /opt/modelpress
COPY --from=product /opt/modelpress /opt/modelpress
COPY --from=bill-compressor /sbom.cdx.json /opt/modelpress/
CMD ["job"]
ARG VERSION=unknown
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="ModelPress compressor" org.opencontainers.image.licenses=Apache-2.0 \
  org.opencontainers.image.version=${VERSION} org.opencontainers.image.revision=${REVISION} \
  org.opencontainers.image.source=${SOURCE}

FROM runtime AS worker
COPY --from=packages-worker /opt/modelpress /opt/modelpress
COPY --from=product /opt/modelpress /opt/modelpress
COPY --from=bill-worker /sbom.cdx.json /opt/modelpress/
CMD ["serve"]
ARG VERSION=unknown
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="ModelPress worker" org.opencontainers.image.licenses=Apache-2.0 \
  org.opencontainers.image.version=${VERSION} org.opencontainers.image.revision=${REVISION} \
  org.opencontainers.image.source=${SOURCE}

FROM runtime AS worker-gpu
COPY --from=packages-worker-gpu /opt/modelpress /opt/modelpress
COPY --from=product /opt/modelpress /opt/modelpress
COPY --from=bill-worker-gpu /sbom.cdx.json /opt/modelpress/
CMD ["serve"]
ARG VERSION=unknown
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="ModelPress worker-gpu" org.opencontainers.image.licenses=Apache-2.0 \
  org.opencontainers.image.version=${VERSION} org.opencontainers.image.revision=${REVISION} \
  org.opencontainers.image.source=${SOURCE}
