"""What /metrics tells Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """The counters of one server, in a registry of its own so that two servers in a process do not share them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "maskloop_requests", "HTTP requests answered.", ["endpoint", "status"], registry=self.registry
        )
        self.request_seconds = Histogram(
            "maskloop_request_seconds",
            "From a request's arrival at a worker to the end of its answer.",
            ["endpoint"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.predicting = Gauge(
            "maskloop_predict_requests_running", "Predict requests being answered now.", registry=self.registry
        )
        self.tasks = Counter(
            "maskloop_tasks",
            "Tasks answered: predicted, image_failed, model_failed, build_failed or cancelled.",
            ["outcome"],
            registry=self.registry,
        )
        self.cache = Counter(
            "maskloop_cache_lookups",
            "Predictions asked of the cache: hit, miss, or shared with a request that was computing it already.",
            ["outcome"],
            registry=self.registry,
        )
        self.cache_bytes = Gauge("maskloop_cache_bytes", "Bytes of cached predictions.", registry=self.registry)
        self.image_bytes = Gauge(
            "maskloop_image_bytes", "Bytes of images that are decoded or wait for the model.", registry=self.registry
        )
        self.batch_images = Histogram(
            "maskloop_batch_images",
            "Images in one call of the model.",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self.registry,
        )
        self.stage_seconds = Histogram(
            "maskloop_stage_seconds",
            "Time in one stage: fetch (one image), predict (one batch), build (one answer).",
            ["stage"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.queue = Gauge("maskloop_queued_images", "Images waiting for the model.", registry=self.registry)
        self.model_loads = Counter(
            "maskloop_model_loads", "Model versions loaded.", ["outcome"], registry=self.registry
        )
        self.model_info = Gauge(
            "maskloop_model_info", "1 for each version that is in memory.", ["version"], registry=self.registry
        )
        self.jobs = Gauge("maskloop_jobs", "Trainings that wait or run.", ["state"], registry=self.registry)
        self.jobs_over = Counter("maskloop_jobs_over", "Trainings that ended.", ["state"], registry=self.registry)
        self.job_seconds = Histogram(
            "maskloop_job_seconds",
            "From the start of a training to its end.",
            buckets=(10, 30, 60, 120, 300, 600, 1800, 3600, 3 * 3600, 12 * 3600),
            registry=self.registry,
        )
        self.outcomes = Counter(
            "maskloop_outcomes",
            "Tasks submitted, by what became of their prediction: accepted, changed, rejected, drawn (there was none), or "
            "left_out (not counted).",
            ["outcome"],
            registry=self.registry,
        )
        self.events = Counter("maskloop_webhook_events", "Webhook events taken in.", ["action"], registry=self.registry)
        # Prometheus sees no increase where a series begins with 1: the first failure would alert nobody.
        for counter, values in (
            (self.tasks, ("predicted", "image_failed", "model_failed", "build_failed", "cancelled")),
            (self.cache, ("hit", "miss", "shared")),
            (self.model_loads, ("loaded", "failed")),
            (self.jobs_over, ("done", "failed", "cancelled")),
            (self.outcomes, ("accepted", "changed", "rejected", "drawn", "left_out")),
        ):
            for value in values:
                counter.labels(value)
