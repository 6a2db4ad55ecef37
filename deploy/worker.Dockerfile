# A stage's job on Kubernetes, and the worker that starts it: docker build -f deploy/worker.Dockerfile -t attestrl-worker:0.1.0 .
FROM python:3.11.14-slim-bookworm
RUN apt-get update && apt-get install -y --no-install-recommends git openssh-client && rm -rf /var/lib/apt/lists/*
COPY requirements.lock /tmp/requirements.lock
RUN pip install --no-cache-dir "$(grep '^torch==' /tmp/requirements.lock)" \
 && pip install --no-cache-dir -r /tmp/requirements.lock \
 && pip install --no-cache-dir -c /tmp/requirements.lock prefect-kubernetes==0.8.0
COPY pyproject.toml requirements.in README.md LICENSE /tmp/attestrl/
COPY flows /tmp/attestrl/flows
COPY tasks /tmp/attestrl/tasks
COPY governance /tmp/attestrl/governance
RUN pip install --no-cache-dir --no-deps /tmp/attestrl && rm -rf /tmp/attestrl \
 && useradd --uid 10001 --create-home worker && mkdir /work && chown worker /work
USER worker
ENV HOME=/work
WORKDIR /work
