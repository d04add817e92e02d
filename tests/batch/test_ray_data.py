"""The Ray engine on a cluster of two workers: as the local engine, each image once, whoever is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secam_onnx import Explainer, Segmenter
from secam_onnx.batch.run import Totals, run
from secam_onnx.batch.run_settings import run_settings, settings_digest
from secam_onnx.batch.sources import Sources
from secam_onnx.errors import OptionError, ProviderError, SecamError

# Everything on the loopback interface, nobody told; read when Ray is imported, here and in its processes.
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
ray = pytest.importorskip("ray")
parquet = pytest.importorskip("secam_onnx.batch.parquet")
ray_actor = pytest.importorskip("secam_onnx.batch.ray_actor")
ray_data = pytest.importorskip("secam_onnx.batch.ray_data")

MakePhotos = Callable[..., list[Path]]
OPTIONS = {"providers": "cpu", "preprocessing": "unit", "segmenter": Segmenter("grid", 9)}
NODE = {"node_ip_address": "127.0.0.1", "object_store_memory": 100 << 20}
COMMAND = ["explain", "photos", "--segmenter", "grid", "--preprocess", "unit", "--class", "all"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without a core and two workers of one core each, as processes of this machine."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **NODE})
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1, **NODE)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture
def driver(cluster: Any) -> Iterator[None]:
    ray.init(cluster.address, logging_level="ERROR", log_to_driver=False)
    yield
    ray.shutdown()


def job(model: Path, *, label_maps: bool = False, settings: str | None = None, **options: Any) -> Any:
    explainer = Explainer(model, **OPTIONS)
    digest = settings or settings_digest(run_settings(explainer, ["all"]))
    return ray_actor.Job(str(model), {**OPTIONS, **options}, ("all",), label_maps, 4, digest)


def sink(folder: Path, model: Path, **options: Any) -> Any:
    return parquet.ParquetSink(folder, run_settings(Explainer(model, **OPTIONS), ["all"]), **options)


def table(folder: Path) -> list[dict[str, Any]]:
    from pyarrow import parquet

    files = sorted(folder.glob("part-*.parquet"))
    return sorted((row for file in files for row in parquet.read_table(file).to_pylist()), key=lambda row: row["image"])


def keys(folder: Path) -> list[str]:
    return [Path(row["image"]).name for row in table(folder)]


def actors() -> list[dict[str, Any]]:
    """The actors that explain, as Ray knows them."""
    from ray._private import state

    known = state.actors().values()
    return [actor for actor in known if "ShardExplainer" in actor["ActorClassName"] and actor["State"] == "ALIVE"]


def same(one: Any, other: Any) -> bool:
    """Equal, numbers to float rounding."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(np.isclose(one, other, rtol=1e-5, atol=1e-6)) if isinstance(one, float) else one == other


@pytest.mark.usefixtures("driver")
def test_the_same_dataset_as_the_local_engine(tmp_path: Path, tiny_model: Path, photos: MakePhotos) -> None:
    """Label maps, settings and errors included; files by their paths and by their addresses."""
    import pyarrow.parquet

    names = [str(photos(40)[0].parent), f"file://{photos(5, 'store')[0].parent}"]
    (tmp_path / "photos" / "0007.jpg").write_bytes(b"no picture")
    (tmp_path / "store" / "0003.jpg").write_bytes(b"")
    sources = Sources([*names, names[0], "gone.jpg"], stores=True)
    totals = ray_data.explain_on_ray(
        job(tiny_model, label_maps=True), sources, sink(tmp_path / "ray", tiny_model, label_maps=True)
    )
    assert totals == Totals(explained=43, failed=3, repeated=40)

    local = [str(tmp_path / "photos"), str(tmp_path / "store"), "gone.jpg"]
    run(
        Explainer(tiny_model, **OPTIONS),
        Sources(local),
        sink(tmp_path / "local", tiny_model, label_maps=True),
        ["all"],
        batch_size=4,
    )
    ours, theirs = table(tmp_path / "ray"), table(tmp_path / "local")
    for row in ours:
        row["image"] = row["image"].removeprefix("file://")
    ours.sort(key=lambda row: row["image"])
    assert len(ours) == 43
    assert same(ours, theirs)
    first = [next((tmp_path / name).glob("part-*.parquet")) for name in ("ray", "local")]
    assert pyarrow.parquet.read_schema(first[0]).equals(pyarrow.parquet.read_schema(first[1]), check_metadata=True)

    errors = {Path(row["image"]).name: row for row in table(tmp_path / "ray" / "_errors")}
    assert errors.keys() == {"0007.jpg", "0003.jpg", "gone.jpg"}
    assert {row["kind"] for row in errors.values()} == {"image"}
    assert "is not an image" in errors["0007.jpg"]["message"]
    assert "is empty" in errors["0003.jpg"]["message"]
    assert "does not exist" in errors["gone.jpg"]["message"]


@pytest.mark.usefixtures("driver")
@pytest.mark.parametrize("whole_machine", [False, True], ids=["process", "machine"])
def test_a_killed_worker(
    whole_machine: bool,
    cluster: Any,
    tmp_path: Path,
    tiny_model: Path,
    photos: MakePhotos,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One of two is stopped, keeps work that the other would have finished, and dies with it."""
    monkeypatch.setattr(ray_data, "_SHARD", 10)
    paths = photos(600)
    for number in (3, 333):
        paths[number].write_bytes(b"no picture")
    totals = Totals()
    done_when_killed: list[int] = []
    home = ray.get_runtime_context().get_node_id()  # the driver's own machine cannot be lost

    def kill() -> None:
        while totals.done < 20 or not (others := [one for one in actors() if one["Address"]["NodeID"] != home]):
            time.sleep(0.02)
        victim = others[0]
        os.kill(victim["Pid"], signal.SIGSTOP)
        while not done_when_killed or done_when_killed[-1] < totals.done:
            done_when_killed.append(totals.done)
            time.sleep(1)
        if whole_machine:
            lost = next(node for node in cluster.worker_nodes if node.node_id == victim["Address"]["NodeID"])
            cluster.remove_node(lost, allow_graceful=False)
        else:
            os.kill(victim["Pid"], signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    sources = Sources([str(tmp_path / "photos")])
    ray_data.explain_on_ray(job(tiny_model), sources, sink(tmp_path / "out", tiny_model), totals=totals)
    killer.join(60)
    if whole_machine:
        cluster.add_node(num_cpus=1, **NODE)  # for the other tests
    assert 20 <= done_when_killed[-1] < 600, "nothing was left to the one that was killed"
    assert totals == Totals(explained=598, failed=2)
    assert keys(tmp_path / "out") == [path.name for path in paths if path not in (paths[3], paths[333])]
    assert keys(tmp_path / "out" / "_errors") == ["0003.jpg", "0333.jpg"]


def test_a_killed_driver(cluster: Any, tmp_path: Path, tiny_model: Path, photos: MakePhotos) -> None:
    """The command itself, killed as soon as it has written something, and the same again with --resume."""
    photos(300)
    (tmp_path / "photos" / "0299.jpg").write_bytes(b"no picture")
    small_parts = (
        "from secam_onnx.batch import parquet_parts as parts; parts._ROWS = 10; from secam_onnx.cli import main; main()"
    )
    options = [
        "-m",
        str(tiny_model),
        "-o",
        "out",
        "--engine",
        "ray",
        "--ray-address",
        cluster.address,
        "--json-progress",
    ]
    command = [sys.executable, "-c", small_parts, *COMMAND, *options]
    first = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 100
    while not keys(tmp_path / "out") and time.monotonic() < until:
        time.sleep(0.02)
    first.kill()
    first.wait()
    finished = keys(tmp_path / "out")
    assert 10 <= len(finished) < 299

    again = subprocess.run(
        [*command, "--resume"], cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False
    )
    assert again.returncode == 1, again.stderr
    last = json.loads(again.stderr.splitlines()[-1])
    assert (last["event"], last["finished_earlier"]) == ("done", len(finished))
    assert last["explained"] == 299 - len(finished)
    assert Counter(keys(tmp_path / "out")) == Counter(f"{number:04d}.jpg" for number in range(299))
    assert keys(tmp_path / "out" / "_errors") == ["0299.jpg"]


@pytest.mark.usefixtures("driver")
@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"settings": "another model"}, SecamError, ("are not those", "put the same ones on", "(On ")),
        ({"providers": "cuda"}, ProviderError, ("Ray cluster has no GPU",)),
        ({"features": "nothing"}, SecamError, ("nothing", "(On ")),
        ({"unknown_to_this_version": 1}, SecamError, ("Ray gave up", "--resume")),
    ],
)
def test_actors_that_cannot_do_it(
    changes: dict[str, Any],
    error: type[Exception],
    words: Sequence[str],
    tmp_path: Path,
    tiny_model: Path,
    photos: MakePhotos,
) -> None:
    paths = [str(path) for path in photos(20)]
    with pytest.raises(error) as caught:
        ray_data.explain_on_ray(job(tiny_model, **changes), Sources(paths), sink(tmp_path / "out", tiny_model))
    assert all(word in str(caught.value) for word in words)
    assert not keys(tmp_path / "out")


def test_tar_shards_are_refused(tmp_path: Path, tiny_model: Path, shard: Callable[..., Path]) -> None:
    with pytest.raises(OptionError, match=r"tar shard.*--engine local"):
        ray_data.explain_on_ray(job(tiny_model), Sources([str(shard(3))]), sink(tmp_path / "out", tiny_model))


@pytest.mark.parametrize(
    ("cluster_resources", "provider", "expected"),
    [
        ({"CPU": 16.0}, "auto", (16, {"num_cpus": 0.5}, 1)),
        ({"CPU": 32.0, "GPU": 4.0}, "auto", (4, {"num_gpus": 1}, 8)),
        ({"CPU": 32.0, "GPU": 4.0}, "cuda", (4, {"num_gpus": 1}, 8)),
        ({"CPU": 32.0, "GPU": 4.0}, "cpu", (32, {"num_cpus": 0.5}, 1)),
        ({}, "auto", (1, {"num_cpus": 0.5}, 1)),
    ],
)
def test_what_an_actor_gets(cluster_resources: dict[str, float], provider: str, expected: Any) -> None:
    assert ray_data._share(cluster_resources, provider) == expected


def test_nobody_at_the_address(tmp_path: Path, tiny_model: Path, photos: MakePhotos) -> None:
    with pytest.raises(OptionError, match="--ray-address"):
        ray_data.explain_on_ray(
            job(tiny_model), Sources([str(photos(1)[0])]), sink(tmp_path / "out", tiny_model), address="nonsense"
        )
