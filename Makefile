.PHONY: help run generate lint test e2e race fuzz packages bench soak faults verify

GOLANGCI_LINT_VERSION := v2.15.0
LINT := .bin/golangci-lint

help: ## show this
	@grep -hE '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

run: ## a trial on this machine
	go run . -dev

generate: ## write the generated code anew
	go generate ./...

lint: $(LINT) packages ## check style and import directions, and the schema
	$(LINT) run ./...
	$(LINT) run --build-tags bench ./bench/...
	$(LINT) run --build-tags soak ./soak/...
	$(LINT) run --build-tags faults ./faults/...
	cd graph/schema && npm run --silent lint

$(LINT):
	GOBIN=$(CURDIR)/.bin go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)

test: ## run the tests; those that need redis-server skip without it
	go test ./...

e2e: ## the program as a whole: the documents, the audit, clients, a browser, the examples
	go test -count=1 . ./httpapi ./web ./examples

race: ## the tests under the race detector
	go test -race ./...

fuzz: ## each fuzz test for ten seconds
	@set -e; listed=$$(go test -list '^Fuzz' ./...) || { echo "$$listed"; exit 1; }; \
	tests=$$(echo "$$listed" | awk '/^Fuzz/ { names[n++] = $$1 } $$1 == "ok" { while (n) print $$2, names[--n] }'); \
	[ -n "$$tests" ] || { echo "there is no fuzz test"; exit 1; }; \
	echo "$$tests" | while read -r package test; do \
		echo "$$package $$test"; \
		go test -run '^$$' -fuzz "^$$test$$" -fuzztime 10s "$$package"; \
	done

packages: ## install the npm packages that tests and the schema's lint use
	cd examples/apollo && npm ci --no-audit --no-fund
	cd graph/schema && npm ci --no-audit --no-fund
	cd httpapi/audit && npm ci --no-audit --no-fund
	cd httpapi/clients && npm ci --no-audit --no-fund
	cd web/browser && npm ci --no-audit --no-fund

bench: ## measure on a real Redis: scripts, memory, large values, layers, identity (twenty minutes)
	go test -tags bench -count=1 -v -timeout 60m ./bench

soak: ## measure the live floor on a real Redis, with nothing beside it (twenty-five minutes)
	go test -tags soak -count=1 -v -timeout 60m ./soak -report $(CURDIR)/docs/measurements/floor.md

faults: ## break servers under load, and have every history judged (an hour)
	go test -tags faults -count=1 -v -timeout 120m ./faults -report $(CURDIR)/docs/measurements/faults.md

verify: ## what CI runs
	.ci/run
