# Builds the shipped plugins and the guests of the tests. To be included by the Makefile, which defines POSTERN (the
# binary with `plugin build`) as a prerequisite of what calls it.
#
# The compiler's settings reach the guest build alone: they are exported in the shell of one recipe line.

POSTERN ?= target/release/postern
PLUGINS := $(patsubst %/Cargo.toml,%,$(wildcard plugins/*/Cargo.toml))
GUESTS := $(patsubst %/Cargo.toml,%,$(wildcard tests/guests/*/Cargo.toml))
GUEST_TARGET_DIR := $(CURDIR)/.cache/guest-target

# One folder for what the plugins depend on, so that it is compiled once. The toolchain may name another.
define build_guests
	export POSTERN_GUEST_TARGET_DIR="$(GUEST_TARGET_DIR)"; \
	eval "$$(scripts/guest-toolchain)" && for dir in $(1); do $(POSTERN) plugin build "$$dir" || exit 1; done
endef

.PHONY: plugins guests test-plugins
plugins: $(POSTERN)
	$(call build_guests,$(PLUGINS))

guests: $(POSTERN)
	$(call build_guests,$(GUESTS))

# Unit tests of the SDK's users run natively, without WebAssembly.
test-plugins:
	for dir in plugin-sdk $(PLUGINS); do \
		cargo test --quiet --manifest-path "$$dir/Cargo.toml" --target-dir "$(GUEST_TARGET_DIR)" || exit 1; done
