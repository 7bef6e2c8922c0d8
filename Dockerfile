# The worker alone: no embedded database, no analyst. Runs as a plain user on a read-only root file system.
# For a Ray cluster: --build-arg EXTRAS=[cluster]; for Parquet and ORC: [arrow]; for both: [cluster,arrow]
FROM python:3.13-slim AS build
ARG EXTRAS=
WORKDIR /src
RUN pip install --no-cache-dir uv
COPY pyproject.toml requirements.lock README.md LICENSE CHANGELOG.md ./
COPY worker worker
COPY migrations migrations
RUN uv build --wheel --out-dir /dist \
 && uv venv /opt/modworker \
 && uv pip install --python /opt/modworker/bin/python --compile-bytecode --constraints requirements.lock "$(ls /dist/*.whl)$EXTRAS"

FROM python:3.13-slim
COPY --from=build /opt/modworker /opt/modworker
ENV PATH=/opt/modworker/bin:$PATH PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
EXPOSE 9108
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s CMD ["python", "-c", \
  "import urllib.request as u; u.urlopen('http://127.0.0.1:9108/healthz', timeout=3)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["modworker"]
CMD ["run", "--config", "/etc/modworker/worker.toml"]
