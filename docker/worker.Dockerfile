# The image of the worker process. The base image needs Python 3.12 or 3.13 with pip and venv.
ARG BASE_IMAGE=python:3.12-slim
FROM ${BASE_IMAGE}
WORKDIR /opt/research-agent
RUN python3 -m venv /opt/venv && /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check uv
COPY requirements.lock pyproject.toml README.md ./
COPY core core
COPY agents agents
COPY graphs graphs
COPY worker worker
COPY app app
COPY migrations migrations
# The lock file pins every version; extras decide what is installed of it.
RUN /opt/venv/bin/uv pip install --no-cache --python /opt/venv/bin/python --constraint requirements.lock --no-verify-hashes ".[worker]" && \
    /opt/venv/bin/python -c 'from core.bubblewrap import bubblewrap_binary; bubblewrap_binary()'
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1
RUN useradd --create-home --uid 10001 research && mkdir -p /var/lib/research-agent && chown research /var/lib/research-agent
USER research
VOLUME /var/lib/research-agent
CMD ["research-agent", "worker"]
