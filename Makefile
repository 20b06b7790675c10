# Meridian in a few words; "make" alone says which. A fresh clone needs Go, make,
# python3 (with pip, for the real Envoy) and git; the race detector a C compiler.
# Tests build a real Kubernetes control plane once, which takes some minutes.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GO       ?= go
PKGS     ?= ./...
FUZZTIME ?= 10s
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null)

GOLANGCI_VERSION := v2.15.0
GOLANGCI := .tools/golangci-lint-$(GOLANGCI_VERSION)

.PHONY: help
help: ## say what there is
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: build envoy ## a world on this machine: regions, clusters, Envoys and the map
	bin/meridian demo

.PHONY: e2e
e2e: build envoy kube ## the demo's story, then installations on real API servers from beginning to end, then workloads over many
	bin/meridian demo --story
	$(GO) test -tags e2e -count=1 -timeout 15m -v ./internal/walkthrough
	$(GO) test -tags e2e -count=1 -timeout 15m -v ./internal/workloads

.PHONY: build
build: ## bin/meridian, bin/meridiand and bin/whereami
	@mkdir -p bin
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/ ./cmd/meridian ./cmd/meridiand ./cmd/whereami

.PHONY: test
test: envoy kube helm ## every test, package by package
	$(GO) test -timeout 9m $(PKGS)

.PHONY: race
race: envoy kube helm ## every test under the race detector, or those of PKGS=...
	@command -v "$$($(GO) env CC)" >/dev/null || { echo "make race: the race detector needs a C compiler (Debian: apt-get install gcc libc6-dev)" >&2; exit 1; }
	CGO_ENABLED=1 $(GO) test -race -timeout 15m $(PKGS)

.PHONY: fuzz
fuzz: ## each fuzz target for FUZZTIME (10s)
	@set -euo pipefail; list=$$(mktemp); said=$$(mktemp); trap 'rm -f "$$list" "$$said"' EXIT; \
	$(GO) test -list '^Fuzz' $(PKGS) >"$$list"; \
	awk '/^Fuzz/ { names[n++] = $$1 } /^ok/ { for (i = 0; i < n; i++) print $$2, names[i]; n = 0 }' "$$list" | \
	while read -r pkg name; do \
		echo "$$pkg $$name"; \
		for try in 1 2 3; do \
			if $(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1s "$$pkg" </dev/null 2>&1 | tee "$$said"; then continue 2; fi; \
			grep -q 'context deadline exceeded' "$$said" && ! grep -q 'Failing input' "$$said" || exit 1; \
			echo "no input failed, the time ran out in the middle of one (golang/go#48591); once more"; \
		done; \
		exit 1; \
	done

.PHONY: bench
bench: ## how pushes scale: clusters, services, proxies
	$(GO) run ./bench/xds

.PHONY: bench-placement
bench-placement: ## what 5000 workloads in 20 clusters cost, some minutes
	$(GO) run ./bench/placement

.PHONY: lint
lint: $(GOLANGCI) ## format, vet, golangci-lint, and a tidy go.mod
	@unformatted=$$(gofmt -l .); \
	if [ -n "$$unformatted" ]; then echo "not formatted, run gofmt -w on:" >&2; echo "$$unformatted" >&2; exit 1; fi
	$(GO) vet -tags e2e ./...
	$(GOLANGCI) run ./...
	$(GO) mod tidy -diff

.PHONY: generate
generate: ## write the generated files anew
	$(GO) generate ./...

.PHONY: envoy
envoy: ## find the real Envoy, or install it into .tools
	@$(GO) run ./internal/lab/envoybin/install

.PHONY: kube
kube: ## find a real Kubernetes control plane, or build it into .tools
	@$(GO) run ./internal/lab/kubebin/install

.PHONY: helm
helm: ## find helm, or build it into .tools
	@$(GO) run ./internal/lab/helmbin/install

.PHONY: clean
clean: ## remove what was built and installed
	rm -rf bin .tools

$(GOLANGCI):
	@echo "building golangci-lint $(GOLANGCI_VERSION), once; this takes some minutes"
	@mkdir -p .tools/build
	GOBIN='$(CURDIR)/.tools/build' $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	@mv .tools/build/golangci-lint $@
	@rm -rf .tools/build
