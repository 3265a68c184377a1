# An image that runs every deployment: docker build -t dmd:0.1.0 .
FROM python:3.11-slim-bookworm

# MediaPipe draws through these two, with or without a GPU.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libegl1 libgles2 \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/dmd
COPY pyproject.toml constraints.txt README.md ./
COPY flows flows
COPY tasks tasks
COPY storage storage
COPY dmd_model dmd_model
RUN pip install --no-cache-dir -c constraints.txt -e '.[sample]'
COPY prefect.yaml ./

# Mount a volume here: data sets, models, reports, and the model files that are fetched once.
ENV DMD_HOME=/data XDG_CACHE_HOME=/data/cache
VOLUME /data
