# One image for the workers, the API and the batch; the command decides.
FROM python:3.11-slim

WORKDIR /app
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY schemas schemas
COPY runway_streams runway_streams
COPY tables tables
COPY agents agents
COPY batch batch
COPY api api
RUN pip install --no-cache-dir --constraint constraints.txt . \
    && useradd --uid 10001 --create-home runway \
    && mkdir -p /var/lib/runway /var/lib/lake \
    && chown runway /var/lib/runway /var/lib/lake

# By number, so that Kubernetes sees that it is not root.
USER 10001
ENV RUNWAY_HOME=/var/lib/runway RUNWAY_ARCHIVE=file:///var/lib/lake
VOLUME ["/var/lib/runway", "/var/lib/lake"]
ENTRYPOINT ["runway"]
CMD ["--help"]
