# Airflow, and all that its tasks need. Built by `docker compose build`; the service has an image of its own.
# --chmod: a clone's umask may keep files from others, and nothing here runs as who made the clone.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm
FROM ${PYTHON_IMAGE} AS built

RUN pip install --no-cache-dir --root-user-action=ignore uv==0.13.8
ENV UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never VIRTUAL_ENV=/app/.venv
WORKDIR /app
COPY requirements.txt .
RUN --mount=type=cache,target=/root/.cache/uv \
    uv venv --quiet .venv && uv pip install --quiet --compile-bytecode --require-hashes -r requirements.txt
COPY --chmod=0755 pyproject.toml README.md ./
COPY --chmod=0755 include include
RUN --mount=type=cache,target=/root/.cache/uv \
    uv pip install --quiet --no-deps --no-build-isolation -e . && rm -rf build

FROM ${PYTHON_IMAGE}

# LightGBM's C library needs it.
RUN apt-get update && apt-get install --yes --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*
# Airflow writes to these; a new volume takes its owner from here.
RUN useradd --uid 50000 --gid 0 --home-dir /home/airflow --create-home airflow \
    && install -d -o airflow -g 0 -m 0750 /var/lib/updraft /var/lib/updraft/artifacts /var/lib/airflow /var/lib/airflow/logs
WORKDIR /app
COPY --from=built /app/.venv .venv
COPY --from=built /app/include include
COPY --chmod=0755 expectations expectations
COPY --chmod=0755 plugins plugins
COPY --chmod=0755 dags dags
COPY --chmod=0755 deploy/airflow deploy/airflow
COPY --chmod=0755 deploy/airflow/airflow_local_settings.py /var/lib/airflow/config/
COPY --chmod=0755 deploy/entrypoint.sh /usr/local/bin/updraft-entrypoint

# One thread for each task: they run side by side, and a model's bytes depend on the count.
ENV PATH=/app/.venv/bin:$PATH PYTHONPATH=/app/include PYTHONUNBUFFERED=1 \
    AIRFLOW_HOME=/var/lib/airflow \
    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 LOKY_MAX_CPU_COUNT=1 \
    GX_ANALYTICS_ENABLED=false SCARF_ANALYTICS=false DO_NOT_TRACK=1
ARG UPDRAFT_COMMIT=
ENV UPDRAFT_COMMIT=$UPDRAFT_COMMIT
USER airflow
ENTRYPOINT ["updraft-entrypoint"]
CMD ["airflow", "version"]
