# syntax=docker/dockerfile:1
# The Python that the tests run on.
FROM python:3.11-slim AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE CHANGELOG.md ./
COPY service ./service
COPY migrations ./migrations
RUN python -m venv /opt/headrace \
    && /opt/headrace/bin/pip install --no-cache-dir --constraint constraints.txt .

FROM python:3.11-slim
# A number, so that it is known not to be root without a look into the image.
RUN useradd --create-home --uid 10001 headrace \
    && install --directory --owner=headrace /project /var/lib/headrace
COPY --from=build /opt/headrace /opt/headrace
COPY --chown=headrace metadata.yaml io_config.yaml /project/
COPY --chown=headrace pipelines /project/pipelines
COPY --chown=headrace sensors /project/sensors
# Where no HEADRACE_DATABASE_URL is given, the embedded Postgres keeps its data under HEADRACE_HOME.
ENV PATH=/opt/headrace/bin:$PATH HEADRACE_HOME=/var/lib/headrace
WORKDIR /project
USER 10001
VOLUME /var/lib/headrace
EXPOSE 6789
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:6789/readyz', timeout=8)"]
CMD ["headrace", "start", "/project", "--host", "0.0.0.0"]
