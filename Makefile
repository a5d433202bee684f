# `make run` and `make test` need only Python 3.11+ and make; everything else goes into $(VENV).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
FUZZ_EXAMPLES ?= 3000

# Without byte code, each process of a run would rewrite the assertions of every file by itself.
unexport PYTHONDONTWRITEBYTECODE

# A virtual environment without pip (Debian without python3-venv) is not taken for one.
.DELETE_ON_ERROR:

# A command, unless ARGS has --without for this name.
unless-left-out = $(if $(filter --without=$(1),$(subst --without ,--without=,$(ARGS))),@echo "$(1) is left out.",$(2))

# The catalogs of translations, which git does not keep. The tests compile them by themselves.
compile-catalogs = @$(BIN)/python packaging/gateway/catalogs.py gateway_site oauth sessions_kms

.PHONY: run messages test test-slow test-long interop mcp-clients matrix fuzz soak docs docs-here screenshots links bench bench-here check audit format lock dist release-check deploy-check image-check clean

ifneq (,$(filter -h --help,$(ARGS)))
run:
	@$(PYTHON) -m gateway_site.local.options
else
run: $(VENV)/.local-installed
	$(compile-catalogs)
	@$(BIN)/python manage.py runlocal $(ARGS)
endif

# About three minutes on two cores. Each of the three fails if it runs nothing.
test: $(VENV)/.dev-installed
	$(BIN)/python -m pytest --workers auto -m "not slow and not long" $(ARGS)

# Two minutes more, which CI spends too: many processes, clicks in a browser, every fault at each call.
test-slow: $(VENV)/.dev-installed
	$(BIN)/python -m pytest --workers auto -m "slow and not long" $(ARGS)

# Fifteen minutes at most: kills, the wheel, whole matrices, the browser's long cases.
test-long: $(VENV)/.dev-installed
	$(BIN)/python -m pytest --workers auto -m long $(ARGS)

# The gateway as a client of providers and MCP servers that others wrote, over real HTTP, by browser
# and by the clients of `make mcp-clients`; twelve minutes; needs Node 20 and npm. Fails if one of them
# is missing; ARGS=--without=canaille (oidc-provider, fastmcp, …: tests/interop/conftest.py) leaves
# it out.
interop: $(VENV)/.dev-installed
	npm ci --prefix tests/interop/node --ignore-scripts --no-fund --no-audit
	$(call unless-left-out,canaille,$(MAKE) VENV=$(VENV)-interop $(VENV)-interop/.interop-installed)
	$(call unless-left-out,fastmcp,$(MAKE) VENV=$(VENV)-clients $(VENV)-clients/.clients-installed)
	$(call unless-left-out,mcp-clients,npm ci --prefix tests/mcp_clients --ignore-scripts --no-fund --no-audit)
	INTEROP=1 CANAILLE_PYTHON=$(VENV)-interop/bin/python FASTMCP=$(VENV)-clients/bin/fastmcp \
	  $(BIN)/python -m pytest -rs tests/interop $(ARGS)

# Real MCP clients through a real browser, disturbed in eight ways; needs npm, which brings Node 22.
# ARGS="--client fastmcp --disturbance 'gateway killed'" for a part of it. Fails if a client is missing;
# ARGS="--without=fastmcp --without='Claude Code'" leaves some out.
mcp-clients: $(VENV)/.dev-installed
	npm ci --prefix tests/mcp_clients --ignore-scripts --no-fund --no-audit
	$(call unless-left-out,fastmcp,$(MAKE) VENV=$(VENV)-clients $(VENV)-clients/.clients-installed)
	FASTMCP=$(VENV)-clients/bin/fastmcp $(BIN)/python -m tests.mcp_clients $(ARGS)

# The documentation as a site, in build/docs; a warning is an error.
docs:
	$(MAKE) VENV=$(VENV)-docs docs-here

docs-here: $(VENV)/.docs-installed
	$(BIN)/sphinx-build --nitpicky --fail-on-warning --fresh-env --quiet docs build/docs

# The pictures in docs/images, from the real pages in both colour schemes; needs chromium and pngquant.
screenshots: $(VENV)/.dev-installed
	$(BIN)/python -m tests.e2e.pictures

# Whether the pages' external links still work: needs the internet, and never fails a change.
links: $(VENV)-docs/.docs-installed
	$(VENV)-docs/bin/sphinx-build -b linkcheck --quiet docs build/links

# The supported pairs of Python and Django that this machine has the interpreters of.
matrix: $(VENV)/.dev-installed
	$(BIN)/nox $(ARGS)

# Twenty minutes; ARGS="--minutes 2" for a trial.
soak: $(VENV)/.dev-installed
	$(BIN)/python -m tests.soak $(ARGS)

# About 25 minutes on a quiet machine; ARGS=--quick for a trial.
# In an environment of its own: a peer installs a package `tests`, which would hide this one.
# Peers that are not here are left out by name: Redis, PostgreSQL, Apache with mod_auth_openidc, Node.
bench:
	npm ci --prefix tests/bench/peer_proxies --ignore-scripts --no-fund --no-audit || true
	$(MAKE) VENV=$(VENV)-bench bench-here

bench-here: $(VENV)/.bench-installed
	$(BIN)/python -m tests.bench $(ARGS)

# At length: the engine against its model (3,000 examples are 150,000 steps), faults at each call,
# every interleaving of what is done to a grant; 100,000 signatures, requests and responses of the
# built-in DynamoDB client against botocore's and http.client's; 100,000 MCP messages against the
# parsers of Python, Node, Go and Jackson, and 100,000 under rules, as far as they are here (Debian:
# golang-go, libjackson2-databind-java, a JDK).
fuzz: $(VENV)/.dev-installed
	FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) $(BIN)/python -m pytest -s --timeout 0 \
	  tests/sessions_kms/model/test_engine_model.py tests/sessions_kms/adversity/test_faults_everywhere.py \
	  tests/oauth/provider/test_revocation_faults.py tests/oauth/clients/test_every_interleaving.py \
	  tests/sessions_kms/aws/dynamodb tests/sessions_kms/aws/http_client \
	  tests/gateway_site/mcp/test_other_parsers.py tests/gateway_site/mcp/test_verdicts.py \
	  tests/gateway_site/forwarding/calls/mcp/test_list_verdicts.py $(ARGS)

check: $(VENV)/.dev-installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy .
	$(BIN)/python manage.py makemigrations --check --dry-run --settings tests.settings
	$(BIN)/python -m tests.deploy_check

# Known vulnerabilities of what is pinned (which asks a service for them), and patterns in the code.
audit: $(VENV)/.dev-installed
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive sessions_kms oauth gateway_site
	$(BIN)/pip-audit --strict --disable-pip --require-hashes \
	  -r requirements/gateway.txt -r requirements/dev.txt

format: $(VENV)/.dev-installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Brings the catalogs of translations up to date with the texts; ARGS=fr starts those of a language.
messages: $(VENV)/.dev-installed
	$(BIN)/python packaging/messages.py $(ARGS)

# Rewrites the hash-pinned requirements from pyproject.toml; they name no host.
lock: $(VENV)/.dev-installed
	for group in gateway local dev bench interop clients; do \
	  $(BIN)/uv pip compile pyproject.toml --group $$group --universal --python-version 3.11 \
	    --fork-strategy requires-python --generate-hashes --no-header --no-annotate --quiet \
	    --upgrade --output-file requirements/$$group.txt || exit 1; \
	done
	for group in docs release deploy image publish; do \
	  $(BIN)/uv pip compile --group pyproject.toml:$$group --universal --python-version 3.11 \
	    --fork-strategy requires-python --generate-hashes --no-header --no-annotate --quiet \
	    --upgrade --output-file requirements/$$group.txt || exit 1; \
	done

# Wheels and sdists of both distributions, in dist/; each wheel is built from its sdist.
dist:
	$(MAKE) VENV=$(VENV)-release $(VENV)-release/.release-installed
	rm -rf dist
	for folder in . packaging/gateway; do \
	  $(VENV)-release/bin/python -m build --no-isolation --outdir dist $$folder || exit 1; \
	done

# What takes too long for the suite: the distributions in empty environments, on the oldest and the
# newest pair. Fetches packages.
release-check: dist $(VENV)/.dev-installed
	$(VENV)-release/bin/twine check --strict dist/*
	$(VENV)-release/bin/check-wheel-contents dist/django_sessions_kms-*.whl
	$(VENV)-release/bin/check-wheel-contents --config packaging/gateway/pyproject.toml \
	  dist/django_sessions_kms_gateway-*.whl
	RELEASE_DIST=dist $(BIN)/python -m pytest tests/release $(ARGS)

# The manifests against the schemas of Kubernetes; needs kustomize.
deploy-check:
	$(MAKE) VENV=$(VENV)-deploy $(VENV)-deploy/.deploy-installed
	mkdir -p build
	kustomize build deploy/kubernetes/example > build/kubernetes.yaml
	$(VENV)-deploy/bin/kubernetes-validate --strict build/kubernetes.yaml

# Builds the container image without an engine, runs it, and tests it; as root on Debian with
# buildah, mmdebstrap and bubblewrap. About five minutes; fetches packages.
image-check: $(VENV)/.dev-installed
	packaging/image-check.sh $(BIN)/python -m pytest tests/image $(ARGS)

clean:
	rm -rf $(VENV) .nox .mypy_cache .pytest_cache .ruff_cache build dist

$(VENV)/.%-installed: requirements/%.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	@echo "Environment: $(VENV), of $$($(PYTHON) --version)."
	@$(PYTHON) packaging/environment.py $(VENV) $<
	@touch $@
