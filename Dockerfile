FROM python:3.13-slim

# LightGBM's OpenMP runtime, which pip cannot bring
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /var/lib/sidecar --create-home sidecar

WORKDIR /opt/sidecar
COPY requirements.lock ./
RUN pip install --no-cache-dir --require-hashes -r requirements.lock

COPY pyproject.toml README.md LICENSE NOTICE ./
COPY sidecar sidecar
COPY models models
COPY training training
COPY migrations migrations
RUN pip install --no-cache-dir --no-deps --no-build-isolation .

ENV PYTHONUNBUFFERED=1
USER 10001
WORKDIR /var/lib/sidecar
VOLUME /var/lib/sidecar
EXPOSE 9095

# Set SIDECAR_PORT when server.listen names another port than 9095.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ.get('SIDECAR_PORT', '9095') + '/-/healthy', timeout=4)"]

ENTRYPOINT ["sidecar"]
CMD ["serve", "--config", "/etc/sidecar/sidecar.yml"]
