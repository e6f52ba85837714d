# The image of API, worker and commands. docs/deployment.md says where the tags are from.

FROM python:3.13.9-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/build && python -m venv --without-pip /opt/holdfast
COPY requirements/build.txt requirements/production.txt requirements/
RUN install="/opt/build/bin/python -m pip --no-cache-dir --disable-pip-version-check" \
    && $install install --no-deps --require-hashes -r requirements/build.txt \
    && $install --python /opt/holdfast install --no-deps --require-hashes --only-binary :all: -r requirements/production.txt
COPY LICENSE README.md pyproject.toml hatch_build.py worker.py ./
COPY activities/ activities/
COPY api/ api/
COPY cli/ cli/
COPY core/ core/
COPY domain/ domain/
COPY holds/ holds/
COPY inventory/ inventory/
COPY migrations/ migrations/
COPY payments/ payments/
COPY workflows/ workflows/
# Last: a new commit repeats nothing that is above.
ARG HOLDFAST_COMMIT
RUN HOLDFAST_COMMIT="$HOLDFAST_COMMIT" /opt/build/bin/python -m hatchling build -t wheel -d /dist \
    && /opt/build/bin/python -m pip --python /opt/holdfast install --no-deps --no-index --no-cache-dir /dist/holdfast-*.whl

FROM python:3.13.9-slim-bookworm
RUN groupadd --system --gid 10001 holdfast \
    && useradd --system --uid 10001 --gid holdfast --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin holdfast
COPY --from=build /opt/holdfast /opt/holdfast
ENV PATH=/opt/holdfast/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
EXPOSE 8000 9464
# Both finish what they have begun, which takes 20 s at most.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/livez', timeout=4)"]
CMD ["holdfast", "api", "--host", "0.0.0.0", "--port", "8000", "--workers", "2"]
