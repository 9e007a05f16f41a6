# The image of reproduction sandboxes: OpenHands' agent server and what agents work with. The base image needs
# Python 3.12 or 3.13 with venv, git and tmux. `make sandbox-image` builds it; --build-arg AGENT_SERVER=0 leaves the agent
# server out (sandboxes that only run commands).
ARG BASE_IMAGE=python:3.12-slim
FROM ${BASE_IMAGE}
ARG AGENT_SERVER=1
COPY docker/agent-server.lock /opt/agent-server.lock
RUN if [ "${AGENT_SERVER}" = 1 ]; then \
      python3 -m venv /opt/agent-server && \
      /opt/agent-server/bin/pip install --no-cache-dir --disable-pip-version-check uv && \
      /opt/agent-server/bin/uv pip install --no-cache --compile-bytecode --python /opt/agent-server/bin/python \
        --require-hashes -r /opt/agent-server.lock; \
    fi
COPY agents/sandbox/bridge.py /opt/bridge.py
RUN useradd --create-home --uid 1000 agent
ENV PATH=/opt/agent-server/bin:/usr/local/bin:/usr/bin:/bin PYTHONUNBUFFERED=1
USER agent
WORKDIR /workspace
CMD ["sleep", "infinity"]
