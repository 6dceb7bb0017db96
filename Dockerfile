# syntax=docker/dockerfile:1
# The relay with its embedded PostgreSQL:
#   docker build --tag push-relay . && docker run --init --publish 8080:8080 --volume push-relay:/var/lib/push-relay push-relay
# With a PostgreSQL of your own: --env PUSH_RELAY_DATABASE__URL=postgresql://… Two nodes behind nginx: compose.yaml
ARG PYTHON=3.11-slim-bookworm

FROM python:${PYTHON} AS build
WORKDIR /build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 UV_NO_CACHE=1 UV_COMPILE_BYTECODE=1
# What is needed changes seldom, the relay's own code often: a layer each. EXTRAS: "--extra telemetry" for OpenTelemetry.
ARG EXTRAS=""
COPY constraints.txt pyproject.toml ./
RUN pip install --constraint constraints.txt uv \
 && uv venv --python python3 /opt/push-relay \
 && uv pip install --python /opt/push-relay/bin/python --constraint constraints.txt \
      --requirements pyproject.toml ${EXTRAS}
COPY README.md LICENSE ./
COPY openapi openapi
COPY apns_standin apns_standin
COPY sdk_stub sdk_stub
COPY relay relay
RUN uv pip install --python /opt/push-relay/bin/python --constraint constraints.txt --no-deps .

FROM python:${PYTHON}
# A user with a name and a home: PostgreSQL runs neither as root nor as nobody knows whom.
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/push-relay --shell /usr/sbin/nologin push-relay \
 && install --directory --owner push-relay --mode 0700 /var/lib/push-relay /var/lib/push-relay/keys
COPY --from=build /opt/push-relay /opt/push-relay
ENV PATH=/opt/push-relay/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PUSH_RELAY_HTTP__HOST=0.0.0.0 \
    PUSH_RELAY_DATABASE__EMBEDDED=/var/lib/push-relay/postgres \
    PUSH_RELAY_KEYS__FILE=/var/lib/push-relay/keys/keys.yaml
USER push-relay
WORKDIR /var/lib/push-relay
# Keys and embedded PostgreSQL. Without a volume all identifiers are lost with the container.
VOLUME /var/lib/push-relay
EXPOSE 8080
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --start-interval=2s --retries=3 \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/readyz', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["push-relay"]
CMD ["serve"]
