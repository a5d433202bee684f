# The gateway as a container image: docs/deployment.md says how to build and run it.
#
# Both FROM lines name the index of python:3.13-slim-trixie for amd64 and arm64, by the digest that
# github.com/amahpour/switchboard (Dockerfile) and github.com/Seeeaaa/jlpe pin: Python 3.13.15,
# Debian 13. Dependabot renews them together.
ARG SOURCE_DATE_EPOCH=0

FROM python:3.13-slim-trixie@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b AS build
ARG SOURCE_DATE_EPOCH
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_COMPILE=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
RUN mkdir /empty
COPY requirements/image.txt requirements/gateway.txt requirements/otel.txt requirements/
RUN python -m venv /build \
 && python -m venv --without-pip /opt/gateway \
 && /build/bin/pip install --require-hashes --no-deps -r requirements/image.txt \
 && /build/bin/pip --python /opt/gateway/bin/python install \
      --require-hashes --no-deps --only-binary :all: \
      -r requirements/gateway.txt -r requirements/otel.txt
COPY pyproject.toml LICENSE README.md CHANGELOG.md ./
COPY packaging packaging
COPY docs docs
COPY sessions_kms sessions_kms
COPY oauth oauth
COPY gateway_site gateway_site
RUN /build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . packaging/gateway \
 && /build/bin/pip --python /opt/gateway/bin/python install --no-deps --no-index /wheels/*.whl \
 && STATIC_ROOT=/opt/static /opt/gateway/bin/kms-gateway collectstatic --no-input --verbosity 0 \
 && find /opt/gateway -name __pycache__ -prune -exec rm -r {} + \
 && /opt/gateway/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/gateway/lib

# The same with DynamoDB, KMS, a provider and an MCP server for one machine.
FROM build AS build-local
COPY requirements/local.txt requirements/
RUN /build/bin/pip --python /opt/gateway/bin/python install \
      --require-hashes --no-deps --only-binary :all: -r requirements/local.txt \
 && /opt/gateway/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/gateway/lib

FROM python:3.13-slim-trixie@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b AS runtime
ARG SOURCE_DATE_EPOCH
# Nothing installs packages at run time, and the standard library comes without byte code.
RUN export DEBIAN_FRONTEND=noninteractive \
 && apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates tini \
 && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/* \
      /usr/local/bin/pip* /usr/local/lib/python3.13/site-packages/pip* \
 && python -m compileall -q --invalidation-mode unchecked-hash -x '/(test|tests|site-packages)/' \
      "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
# psycopg's OpenSSL would look for certificate authorities in a folder that does not exist.
ENV PATH=/opt/gateway/bin:$PATH \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1 \
    STATIC_ROOT=/opt/static \
    UVICORN_HOST=0.0.0.0 \
    UVICORN_PORT=8000
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
  CMD ["python", "-m", "gateway_site.probe"]
ENTRYPOINT ["tini", "--", "kms-gateway"]

FROM runtime AS local
COPY --from=build-local /opt/static /opt/static
COPY --from=build-local /opt/gateway /opt/gateway
COPY --from=build --chown=10001:10001 --chmod=0700 /empty /state
VOLUME /state
CMD ["runlocal", "--state", "/state"]

FROM runtime AS gateway
COPY --from=build /opt/static /opt/static
COPY --from=build /opt/gateway /opt/gateway
# On Fargate a volume there belongs to root, unless the image declares it: then it is made like this one.
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/bind-mounts.html
VOLUME /tmp
# For AUDIT_FILE: a new volume that is mounted here gets this owner.
COPY --from=build --chown=10001:10001 --chmod=0700 /empty /var/log/gateway
ENV LOG_FORMAT=json
CMD ["serve"]
