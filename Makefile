# Everything needed beyond Rust, Go and make is fetched and built by these targets.
CARGO ?= cargo

.PHONY: demo test lint bench soak fuzz

# The main job in front of your eyes. DEMO_KEEP=1 leaves it running to explore.
demo:
	@echo "Building Windlass; from nothing that and the control plane take about 15 minutes."
	$(CARGO) run --quiet --package windlass -- demo

# Every test, end to end on a real control plane, then the table of conformance with the peers.
test: exporter
	$(CARGO) test --workspace --exclude windlass-bench
	$(CARGO) xtask conformance

# Python and its Prometheus client, which some tests and a trial read a real page of; installs what is missing.
.PHONY: exporter
exporter:
	crates/scrape/tests/exporter/setup.sh

lint:
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml --check
	$(CARGO) clippy --workspace --all-targets -- --deny warnings
	cd controlplane && test -z "$$(gofmt -l .)" && CGO_ENABLED=0 go vet -trimpath ./...

# Figures with a baseline in the same run, then trials on a testbed and the table of all budgets (about 15 min).
bench: trials
	$(CARGO) bench --workspace --bench exposition --bench decide --bench scrape
	target/release/windlass-trials bench

# The long runs (about 70 min): slow starts, outages, calm, takeovers, kills, the way back, half an hour of a real trace.
soak: trials
	target/release/windlass-trials soak

# libFuzzer on all that reads bytes of others, for MINUTES; exits with failure when something is found.
MINUTES ?= 10
fuzz:
	$(CARGO) xtask fuzz --minutes $(MINUTES)

.PHONY: trials
trials:
	$(CARGO) build --release --workspace
