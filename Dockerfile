# syntax=docker/dockerfile:1
FROM python:3.12-slim AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE CHANGELOG.md ./
COPY service ./service
COPY migrations ./migrations
RUN python -m venv /opt/headrace \
    && /opt/headrace/bin/pip install --no-cache-dir --constraint constraints.txt .

FROM python:3.12-slim
RUN useradd --create-home --uid 10001 headrace
COPY --from=build /opt/headrace /opt/headrace
ENV PATH=/opt/headrace/bin:$PATH
WORKDIR /project
COPY --chown=headrace metadata.yaml io_config.yaml ./
COPY --chown=headrace pipelines ./pipelines
COPY --chown=headrace sensors ./sensors
RUN chown headrace /project
USER headrace
EXPOSE 6789
HEALTHCHECK --interval=30s --timeout=10s --start-period=20s CMD ["headrace", "db", "status"]
CMD ["headrace", "run", "/project", "api_to_postgres"]
