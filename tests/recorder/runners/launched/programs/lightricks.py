"""Calls of ltx-pipelines, in ways that scripts start processes. Knows nothing of a recorder."""

import hashlib
import multiprocessing
import os
import subprocess
import sys
import time


def generate(name: str, pause: float = 0.0) -> None:
    from ltx_pipelines.distilled import DistilledPipeline
    from ltx_pipelines.utils.blocks import SimpleDenoiser

    class Slow(SimpleDenoiser):
        def __call__(self, *args, **kwargs):
            print(name, "evaluates", flush=True)
            time.sleep(pause)
            return super().__call__(*args, **kwargs)

    denoiser = Slow() if pause else None
    video, _ = DistilledPipeline()(prompt="a fox", seed=3, second=True, denoiser=denoiser)
    print(name, hashlib.sha256(video.latent.numpy().tobytes()).hexdigest(), flush=True)


def children() -> None:
    import ltx_pipelines.distilled  # so that forked children have it

    assert ltx_pipelines
    subprocess.run([sys.executable, __file__, "plain"], check=True)
    for method in ("spawn", "fork"):
        process = multiprocessing.get_context(method).Process(target=generate, args=(method,))
        process.start()
        process.join()
        assert process.exitcode == 0
    child = os.fork()
    if child == 0:
        generate("os.fork")
        sys.exit(0)
    assert os.waitpid(child, 0)[1] == 0


def rank() -> None:
    import torch.distributed

    torch.distributed.init_process_group("gloo")
    generate(f"rank{torch.distributed.get_rank()}")
    torch.distributed.destroy_process_group()


def itself(runs_dir: str) -> None:
    from recorder import record

    with record("ltx-pipelines", runs_dir=runs_dir, name="own"):
        generate("itself")


def endless() -> None:
    while True:
        generate("endless", 0.02)


if __name__ == "__main__":
    ways = {"plain": lambda: generate("plain"), "children": children, "rank": rank, "endless": endless}
    itself(sys.argv[2]) if sys.argv[1] == "itself" else ways[sys.argv[1]]()
