# softnet. `make` lists what there is. Nothing here needs `sudo make`: what needs root asks for it by sudo.

CARGO ?= cargo
PREFIX ?= /usr/local
DESTDIR ?=
SETUID ?= 0
VM ?= 0
CHECK ?= 0
SECONDS ?= 20

demo := target/release/examples/demo

.DEFAULT_GOAL := help
.PHONY: help demo test build macos dist package bench fuzz lint shellcheck docs book manual install uninstall clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo '  VM=1 PREFIX=/usr/local DESTDIR= SETUID=1 SECONDS=20 CHECK=1'

demo: ## See softnet at work (Linux: in namespaces of its own, VM=1: with a real VM under QEMU)
	scripts/setup.sh demo $(if $(filter 1,$(VM)),vm)
	$(if $(filter 1,$(VM)),$(vm_image))
	$(CARGO) build --release --locked --bin softnet --example demo
	scripts/as-root.sh $(demo) $(if $(filter 1,$(VM)),--vm)

test: ## Every test: unit, property, scenarios, end to end, on Linux a real VM (asks for root)
	scripts/setup.sh test
	$(vm_image)
	scripts/test.sh

# The kernel and the file system of the test's VM, from Debian's packages; quick when they are there. Not on a Mac.
vm_image = @if [ -x scripts/vm-image.sh ] && [ "$$(uname -s)" = Linux ]; then scripts/vm-image.sh; fi

build: ## The release binary, target/release/softnet
	scripts/setup.sh build
	$(CARGO) build --release --locked

macos: ## Type-check, lint and link for Macs, without a Mac (on a Mac: the universal binary)
	scripts/macos.sh

dist: ## What a release has, static programs and Debian packages, into target/dist (CHECK=1: twice, bit for bit the same)
	scripts/setup.sh build
	scripts/dist.sh $(if $(filter 1,$(CHECK)),--check)

package: ## Install what `make dist` made on a clean file system, and use it
	scripts/test-package.sh

bench: ## The benchmarks, and their table (about five minutes; asks for root; MARKDOWN=1)
	scripts/setup.sh bench
	scripts/bench.sh $(if $(filter 1,$(MARKDOWN)),--markdown)

fuzz: ## Fuzz what hostile guests and callers send, SECONDS each target; no panic behind a frame
	scripts/setup.sh fuzz
	scripts/engine-panics.sh
	scripts/fuzz.sh --seconds $(SECONDS)

lint: ## Format, clippy, shell scripts, dependencies: what is installed of it
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	@if command -v shellcheck >/dev/null; then $(MAKE) --no-print-directory shellcheck; fi
	@if command -v cargo-deny >/dev/null; then $(CARGO) deny --locked --workspace check licenses bans sources; fi

# vm-*.sh: for dash on the host and for busybox in the guest, which know -nt, a file only there, and what udhcpc sets.
shellcheck:
	shellcheck .ci/run $(filter-out scripts/vm-%,$(wildcard scripts/*.sh)) packaging/debian/build.sh packaging/debian/post* packaging/debian/prerm
	@for file in scripts/vm-*.sh; do \
	    [ ! -e "$$file" ] || shellcheck --shell=dash --exclude=SC1010,SC1091,SC2154,SC3013 "$$file" || exit 1; \
	done

docs: ## The documentation of the code, private items too; warnings are errors
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps --document-private-items

book: ## The documents as a book, target/book/html; every link in it is looked at
	scripts/book.sh

manual: ## softnet(1) and the completions, into target/manual
	$(CARGO) run --quiet --locked -p softnet-manual -- target/manual "$$(date +%F)"

# Not `install: build`: under `sudo make install` there may be no cargo, and nothing should be built as root.
install: ## Install root-owned into PREFIX, with manual and completions (SETUID=1: so that anyone may start it as root)
	@if [ -z "$$SUDO_USER" ] || [ ! -x target/release/softnet ]; then $(MAKE) --no-print-directory build manual; fi
	@PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' SETUID='$(SETUID)' scripts/install.sh

uninstall: ## Remove what install put into PREFIX
	@PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' scripts/install.sh --remove

clean: ## Remove what was built
	$(CARGO) clean
