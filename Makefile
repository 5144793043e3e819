# Postern. `make run` builds everything and starts a server; `make test` passes all tests. Both install what is missing.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build
POSTERN := target/release/postern
PLUGINS := $(dir $(wildcard plugins/*/Cargo.toml))
GUESTS := $(dir $(wildcard tests/guests/*/Cargo.toml))

.PHONY: build
build: plugins ## the server and the shipped plugins

.PHONY: server
server: ## the server alone
	@scripts/build-deps
	cargo build --release --locked --workspace

# Guests share one target folder, so that the SDK's dependencies are compiled once. The toolchain's settings hold for
# this command alone.
define build_guests
	toolchain="$$(scripts/guest-toolchain)"; eval "$$toolchain"; \
	  POSTERN_GUEST_TARGET_DIR="$${POSTERN_GUEST_TARGET_DIR:-$(CURDIR)/target/guests}" $(POSTERN) plugin build $(1)
endef

.PHONY: plugins
plugins: server ## the shipped plugins
	@$(call build_guests,$(PLUGINS))

.PHONY: guests
guests: server ## the hostile plugins of the tests
	@$(call build_guests,$(GUESTS))

.PHONY: examples
examples: ## the plugin examples in Python and JavaScript
	@scripts/examples

.PHONY: run
run: build ## a server with the shipped config and the demo's plugin
	$(POSTERN) run -c config/postern.toml -c config/demo.toml

.PHONY: demo
demo: build ## one message through server, plugin and sink
	@scripts/apt-install python3
	@scripts/demo

.PHONY: test-deps
test-deps:
	@scripts/apt-install postfix swaks libnet-ssleay-perl msmtp curl openssl dnsmasq-base python3 python3-aiosmtpd \
	  python3-dnslib libgnutls-dane0 libidn12 libnsl2 libnss-wrapper haproxy e2fsprogs xfsprogs strace util-linux gcc \
	  libc6-dev rspamd systemd
	@scripts/exim >/dev/null || echo "not run: deliveries to Exim"
	@scripts/corpora
	@scripts/pip-install target/python flufl.bounce==4.0 atpublic==9.0.0 zope.interface==8.7 \
	  dkimpy==1.1.8 dnspython==2.8.0
	@scripts/pip-install target/sslyze sslyze==6.1.0 || echo "not run: sslyze"
	@scripts/pip-install target/schemathesis schemathesis==4.32.5 openapi-spec-validator==0.9.0 || echo "not run: schemathesis"
	cargo build --release --locked --manifest-path tests/lettre/Cargo.toml --target-dir target/lettre
	@scripts/npm-install target/nodemailer nodemailer@10.6.0 || echo "not run: Nodemailer"
	@scripts/examples || [ $$? = 69 ] # It has said which one can't be built here.

.PHONY: test
test: test-deps build guests ## all tests
	cargo test --locked -p postern-core
	for dir in plugin-sdk/ $(PLUGINS); do cargo test --locked --manifest-path "$${dir}Cargo.toml" --target-dir target/guests; done
	cargo test --locked --release --workspace --exclude postern-core
	@scripts/demo >/dev/null && echo "demo passed"
	@scripts/fuzz all 3

.PHONY: wasi
wasi: ## test the build with WASI, by a plugin in Python that uses it
	@scripts/pip-install target/python-tools componentize-py==0.25.1
	cargo build --release --locked -p postern --features wasi --target-dir target/wasi
	PYTHONPATH=target/python-tools target/python-tools/bin/componentize-py --quiet --wit-path wit --world bare-rewriter \
	  componentize --python-path tests/guests/wasi --output target/wasi/wasi-probe.wasm wasi_probe
	POSTERN=$(CURDIR)/target/wasi/release/postern cargo test --locked --release --workspace --test languages -- --ignored

.PHONY: soak
soak: test-deps build guests wasi ## the long forms of the crash and load tests
	POSTERN_SOAK=1 cargo test --locked --release -p postern-tests -- --nocapture
	@scripts/fuzz all 600

SECONDS := 60
.PHONY: fuzz
fuzz: ## fuzz one target: make fuzz TARGET=server SECONDS=600
	@scripts/fuzz run "$(TARGET)" "$(SECONDS)"

.PHONY: lint
lint: ## formatting and lints, warnings denied
	cargo fmt --all --check
	for dir in tests/fuzz/ tests/lettre/; do cargo fmt --check --manifest-path "$${dir}Cargo.toml"; done
	for dir in plugin-sdk/ $(PLUGINS) $(GUESTS); do cargo fmt --check --manifest-path "$${dir}Cargo.toml"; done
	cargo clippy --locked --release --workspace --all-targets -- -D warnings
	cargo clippy --locked --release --workspace --features postern/wasi -- -D warnings
	cargo clippy --locked --release -p postern --no-default-features --all-targets -- -D warnings
	for dir in plugin-sdk/ $(PLUGINS); do \
	  cargo clippy --locked --manifest-path "$${dir}Cargo.toml" --target-dir target/guests --all-targets -- -D warnings; done

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand -t 12
