# The official Airflow image with this package in it, for docker-compose.yaml.
#
# The packages of the official image stay unchanged, so that Airflow's other providers keep working; those that this
# package adds are pinned to the versions of constraints.txt. Another image: .env.example, or --build-arg AIRFLOW_IMAGE=...
ARG AIRFLOW_IMAGE=apache/airflow:3.3.2-python3.12@sha256:9df9c8be4096b9cc626bd7cb1f2b8c712eef66c59c615f8c7e6200871ca10bd1

FROM ${AIRFLOW_IMAGE} AS build
RUN mkdir /tmp/package
WORKDIR /tmp/package
COPY --chown=airflow:0 pyproject.toml README.md LICENSE constraints.txt scripts/image_constraints.py ./
COPY --chown=airflow:0 airflow_bedrock/ airflow_bedrock/
RUN python image_constraints.py < constraints.txt > pins.txt \
    && pip install --no-cache-dir --constraint pins.txt hatchling \
    && pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir dist .

FROM ${AIRFLOW_IMAGE}
USER root
# A named volume takes over the owner of the directory it is mounted on.
RUN install --directory --owner=airflow --group=0 --mode=0775 /var/lib/local-bedrock
USER airflow
COPY --from=build /tmp/package/pins.txt /tmp/package/dist/*.whl /tmp/package/
# Naming Airflow's own version keeps pip from moving it.
RUN pip install --no-cache-dir --constraint /tmp/package/pins.txt "apache-airflow==${AIRFLOW_VERSION}" \
        "$(echo /tmp/package/*.whl)[local,prep,evaluation]" \
    && pip check
