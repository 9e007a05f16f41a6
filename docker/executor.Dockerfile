# The image of the executor process, with what its reproductions need: OpenHands' agent server, git and tmux for sandboxes
# of the bubblewrap tier. The base image needs Python 3.12 or 3.13 with pip and venv; git and tmux are installed where it
# lacks them. --build-arg AGENT_SERVER=0 leaves the agent server out (about 700 MB): nothing is reproduced then.
ARG BASE_IMAGE=python:3.12-slim
FROM ${BASE_IMAGE}
ARG AGENT_SERVER=1
WORKDIR /opt/research-agent
RUN if ! command -v git >/dev/null || ! command -v tmux >/dev/null; then \
      apt-get update -qq && apt-get install -qq -y --no-install-recommends git tmux && rm -rf /var/lib/apt/lists/*; \
    fi
RUN python3 -m venv /opt/venv && /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check uv
COPY docker/agent-server.lock /opt/agent-server.lock
RUN if [ "${AGENT_SERVER}" = 1 ]; then \
      /opt/venv/bin/uv venv --python "$(command -v python3)" /opt/agent-server && \
      /opt/venv/bin/uv pip install --no-cache --compile-bytecode --python /opt/agent-server/bin/python \
        --require-hashes -r /opt/agent-server.lock; \
    fi
COPY requirements.lock pyproject.toml README.md ./
COPY core core
COPY agents agents
COPY graphs graphs
COPY worker worker
COPY app app
COPY migrations migrations
# The lock file pins every version; extras decide what is installed of it.
RUN /opt/venv/bin/uv pip install --no-cache --python /opt/venv/bin/python --constraint requirements.lock --no-verify-hashes "." && \
    /opt/venv/bin/python -c 'from core.bubblewrap import bubblewrap_binary; bubblewrap_binary()'
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 RESEARCH_AGENT_SANDBOX_PYTHON=/opt/agent-server/bin/python
RUN useradd --create-home --uid 10001 research && mkdir -p /var/lib/research-agent && chown research /var/lib/research-agent
USER research
VOLUME /var/lib/research-agent
CMD ["research-agent", "executor"]
