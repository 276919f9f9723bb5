# The gateway as an unprivileged process. The folder with config.toml, catalog/, keys/ and data/ is mounted at /gateway.
#
#   docker build -t mcpgw .
#   docker run --rm -v "$PWD/gateway:/gateway" mcpgw init
#   docker run -p 127.0.0.1:8080:8080 -v "$PWD/gateway:/gateway" -e MCPGW_LISTEN__HOST=0.0.0.0 mcpgw

FROM python:3.12-slim AS build
WORKDIR /src
COPY requirements/runtime.txt requirements/build.txt requirements/
RUN python -m venv /opt/mcpgw && /opt/mcpgw/bin/pip install --no-cache-dir --require-hashes --only-binary :all: \
      -r requirements/runtime.txt
RUN python -m venv /opt/build && /opt/build/bin/pip install --no-cache-dir --require-hashes --only-binary :all: \
      -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY mcpgw mcpgw
COPY examples examples
RUN /opt/build/bin/hatchling build -t wheel && /opt/mcpgw/bin/pip install --no-cache-dir --no-deps dist/*.whl

FROM python:3.12-slim
RUN useradd --uid 10001 --create-home mcpgw && mkdir /gateway && chown mcpgw /gateway
COPY --from=build /opt/mcpgw /opt/mcpgw
ENV PATH=/opt/mcpgw/bin:$PATH PYTHONUNBUFFERED=1
USER mcpgw
WORKDIR /gateway
VOLUME /gateway
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/readyz')"]
ENTRYPOINT ["mcpgw"]
CMD ["serve"]
