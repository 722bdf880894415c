"""A metrics page as vLLM's API server has it: prometheus_client's own ASGI app over its own registry, in one process or, with
PROMETHEUS_MULTIPROC_DIR, in two. The numbers are set by requests; no engine stands behind them.

    GET  /metrics   the page
    POST /set       {"gauges": {name: {model: value}}, "counters": {name: {model: more}},
                     "histograms": {name: {model: [observations]}}}
    GET  /empty     nothing, from the same server: what an answer costs without a page
    GET  /usage     {"cpu": seconds of processor time, "connections": so far}

Listens on a free port of 127.0.0.1, prints it, and ends with its standard input. HTTP/1.1 with keep-alive, no more of it than
the tests and the trial need.
"""

import asyncio
import json
import os
import subprocess
import sys
import threading
import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, make_asgi_app, multiprocess

MODELS = ["llama2-70b", "text2sql-lora-2"]
GAUGES = ["num_requests_running", "num_requests_waiting", "kv_cache_usage_perc", "engine_sleep_state"]
COUNTERS = ["prompt_tokens", "generation_tokens", "num_preemptions", "prefix_cache_queries", "prefix_cache_hits"]
# Nineteen bounds and the infinite one.
SECONDS = [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0]
TOKENS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000, 200000, 500000, 1000000]
HISTOGRAMS = {
    "time_to_first_token_seconds": SECONDS,
    "inter_token_latency_seconds": SECONDS,
    "request_time_per_output_token_seconds": SECONDS,
    "e2e_request_latency_seconds": SECONDS,
    "request_queue_time_seconds": SECONDS,
    "request_inference_time_seconds": SECONDS,
    "request_prefill_time_seconds": SECONDS,
    "request_decode_time_seconds": SECONDS,
    "request_prompt_tokens": TOKENS,
    "request_generation_tokens": TOKENS,
    "request_params_max_tokens": TOKENS,
    "request_params_n": TOKENS,
    "iteration_tokens_total": TOKENS,
}
LABELS = ["model_name", "engine"]


class Metrics:
    """The registry, with a series of each metric per model."""

    def __init__(self):
        self.registry = CollectorRegistry()
        made = [Gauge("vllm:" + n, "What is there.", LABELS, multiprocess_mode="mostrecent", registry=self.registry) for n in GAUGES]
        made += [Counter("vllm:" + n, "What was done.", LABELS, registry=self.registry) for n in COUNTERS]
        made += [Histogram("vllm:" + n, "What was observed.", LABELS, buckets=b, registry=self.registry) for n, b in HISTOGRAMS.items()]
        names = GAUGES + COUNTERS + list(HISTOGRAMS)
        self.series = {n: {m: metric.labels(m, "0") for m in MODELS} for n, metric in zip(names, made)}

    def change(self, change):
        for name, models in change.get("gauges", {}).items():
            for model, value in models.items():
                self.series[name][model].set(value)
        for name, models in change.get("counters", {}).items():
            for model, more in models.items():
                self.series[name][model].inc(more)
        for name, models in change.get("histograms", {}).items():
            for model, observations in models.items():
                for value in observations:
                    self.series[name][model].observe(value)


class Worker:
    """A second process whose counts are on the same page."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, __file__, "worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.process.stdout.readline()

    def change(self, change):
        self.process.stdin.write(json.dumps(change) + "\n")
        self.process.stdin.flush()
        self.process.stdout.readline()


def worker():
    metrics = Metrics()
    print("ready", flush=True)
    for line in sys.stdin:
        metrics.change(json.loads(line))
        print("done", flush=True)


class Exporter:
    def __init__(self):
        self.metrics = Metrics()
        self.worker = None
        self.connections = 0
        registry = self.metrics.registry
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            self.worker = Worker()
            registry = CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)
        self.app = make_asgi_app(registry)

    def change(self, change):
        """All of it here, or half of what is counted in the other process."""
        if self.worker:
            halves = {n: {m: more / 2 for m, more in models.items()} for n, models in change.get("counters", {}).items()}
            split = lambda i: {n: {m: o[i::2] for m, o in models.items()} for n, models in change.get("histograms", {}).items()}
            self.worker.change({"counters": halves, "histograms": split(1)})
            change = {"gauges": change.get("gauges", {}), "counters": halves, "histograms": split(0)}
        self.metrics.change(change)

    async def answer(self, method, path, query, headers, body):
        if (method, path) == ("POST", "/set"):
            self.change(json.loads(body))
        elif path == "/usage":
            return 200, [], json.dumps({"cpu": time.process_time(), "connections": self.connections}).encode()
        elif path != "/empty":
            return await self.page(method, path, query, headers)
        return 200, [], b""

    async def page(self, method, path, query, headers):
        sent = []

        async def send(message):
            sent.append(message)

        async def receive():
            return {"type": "http.request", "body": b""}

        scope = {"type": "http", "method": method, "path": path, "query_string": query, "headers": headers}
        await self.app(scope, receive, send)
        start = sent[0]
        return start["status"], start["headers"], b"".join(m.get("body", b"") for m in sent[1:])

    async def serve(self, reader, writer):
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
                method, target, _ = head[0].decode("latin-1").split(" ")
                headers = [tuple(h.split(b": ", 1)) for h in head[1:] if h]
                headers = [(name.lower(), value) for name, value in headers]
                length = int(dict(headers).get(b"content-length", 0))
                path, _, query = target.partition("?")
                body = await reader.readexactly(length) if length else b""
                status, extra, page = await self.answer(method, path, query.encode("latin-1"), headers, body)
                extra = b"".join(name + b": " + value + b"\r\n" for name, value in extra)
                writer.write(b"HTTP/1.1 %d OK\r\ncontent-length: %d\r\n%s\r\n%s" % (status, len(page), extra, page))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def run(self):
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


def end_with_input():
    sys.stdin.buffer.read()
    os._exit(0)


if sys.argv[1:] == ["worker"]:
    worker()
else:
    exporter = Exporter()
    threading.Thread(target=end_with_input, daemon=True).start()
    asyncio.run(exporter.run())
