"""How long a labelling takes, and what it moves: a small model of shards, workers that fail, and Label Studio's import.

    python benchmarks/scale.py --images 1000000 --rate 8 --workers 20
    python benchmarks/scale.py --images 10000000 --rate 8 --workers 200 --worker-days-between-failures 10 --import-rate 40

Every shard is simulated: a worker takes one, reads, labels and writes it; where it fails the shard is begun again. The
defaults are figures of docs/scale.md; give your own.
"""

from __future__ import annotations

import argparse
import heapq
import random


def simulated(
    images: int, shard_images: int, workers: int, rate: float, failures: float, restart: float, seed: int
) -> tuple[float, int]:
    """Return the seconds until the last shard is finished, and how many shards were begun again.

    Args:
        images: of the source.
        shard_images: of a shard.
        workers: side by side.
        rate: images a second of each.
        failures: a second, of each worker.
        restart: seconds until a failed worker has its model again.
        seed: of what is random.
    """
    chance = random.Random(seed)
    free = [(restart, worker) for worker in range(workers)]
    heapq.heapify(free)
    left, again, end = -(-images // shard_images), 0, 0.0
    while left:
        now, worker = heapq.heappop(free)
        takes = shard_images / rate
        until = chance.expovariate(failures) if failures else float("inf")
        if until < takes:
            again += 1
            heapq.heappush(free, (now + until + restart, worker))
            continue
        left -= 1
        end = max(end, now + takes)
        heapq.heappush(free, (now + takes, worker))
    return end, again


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--shard-images", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rate", type=float, default=8.0, help="images a second of a worker")
    parser.add_argument("--worker-days-between-failures", type=float, default=30.0)
    parser.add_argument("--restart", type=float, default=20.0, help="seconds until a worker has its model")
    parser.add_argument("--image-kb", type=float, default=330.0, help="read, and written again where images are copied")
    parser.add_argument("--mask-kb", type=float, default=6.0, help="written an image")
    parser.add_argument(
        "--import-rate", type=float, help="predictions a second that Label Studio stores, where it is asked to"
    )
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    failures = 1 / (86400 * a.worker_days_between_failures)
    seconds, again = simulated(a.images, a.shard_images, a.workers, a.rate, failures, a.restart, a.seed)
    shards = -(-a.images // a.shard_images)
    print(
        f"{shards:,} shards, {again:,} of them begun again, {seconds / 3600:,.1f} h, {seconds * a.workers / 3600:,.0f} worker hours"
    )
    moved = a.images * (2 * a.image_kb + a.mask_kb) / 1e6
    print(
        f"{moved:,.0f} GB moved, {moved * 8 / seconds:.3f} Gbit/s, {(a.images + 4 * shards) / seconds:,.0f} requests/s of a bucket"
    )
    if a.import_rate:
        print(f"Label Studio's import alone: {a.images / a.import_rate / 3600:,.1f} h")


if __name__ == "__main__":
    main()
