"""`benchmarks/serving/serving.py`: a short soak, and a swap of versions under load that loses and mixes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from toy_server import running

from benchmarks.fuzz_serving import base_requests
from benchmarks.serving import load as serving_load
from benchmarks.serving import top_k as serving_top_k
from benchmarks.serving.catalogue import make_request, random_embeddings, write_export
from benchmarks.serving.servers import PREDICT, RunningServer, server
from benchmarks.serving.suite import measure_swap
from serving.server.server import RestOptions

if TYPE_CHECKING:
    from whole import Whole


@pytest.mark.matrix
@pytest.mark.slow
def test_memory_is_flat_under_requests_of_all_kinds(whole: Whole) -> None:
    """Short, so the limit is wide: a leak of 20 kB a request would be 60 MB."""
    requests = base_requests(whole.models / "demo")
    with server(whole.models / "demo") as running_server:
        figures = serving_load.soak(running_server, requests, seconds=10, clients=3, pause=0.005, seed=0)
    assert figures["requests"] > 300
    assert set(figures["statuses"]) == {"OK", "INVALID_ARGUMENT", "REST 200"}
    assert figures["megabytes"]["end"] - figures["megabytes"]["settled"] < 30, figures


@pytest.mark.matrix
@pytest.mark.slow
def test_a_swap_under_load_loses_nothing_and_every_answer_is_of_the_version_it_names(tmp_path: Path) -> None:
    figures = measure_swap(tmp_path, clients=4, seconds=1.0, items=5_000)
    assert (figures["failures"], figures["answers_of_another_version_than_named"]) == (0, 0), figures
    assert figures["answers_by_version"][1] > 10
    assert figures["answers_by_version"][2] > 10
    assert figures["old_answers_a_second_after_the_first_new_one"] == 0


@pytest.mark.slow
def test_a_server_that_ends_is_told(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="did not start"), server(tmp_path / "nothing"):
        pass


@pytest.mark.matrix
@pytest.mark.slow
def test_an_answer_of_the_wrong_version_is_counted(tmp_path: Path) -> None:
    """The counter itself: the same swap, with expectations that are wrong for the second version."""
    folder = tmp_path / "swap"
    write_export(folder / "1", random_embeddings(200, 8, 1), seed=1, name="swap")
    body = make_request("swap", ["1", "2"], 3)
    with running(folder.parent, rest=RestOptions(0, 30.0, None)) as own, grpc.insecure_channel(own.address) as channel:
        one = RunningServer(own.address, own.rest_address, 0, channel)
        answer = one.call(PREDICT, body.SerializeToString())
        assert answer
        figures = serving_load.swap(
            one, [body.SerializeToString()], {1: [[b"x"]], 2: [[b"x"]]},
            lambda: write_export(tmp_path / "2", random_embeddings(200, 8, 2), seed=2, name="swap").rename(folder / "2"),
            clients=2, seconds=0.3,
        )  # fmt: skip
    total = sum(figures["answers_by_version"].values())
    assert figures["answers_of_another_version_than_named"] == total > 0


def test_the_top_100_of_a_large_catalogue_is_that_of_brute_force() -> None:
    figures = serving_top_k.measure(random_embeddings(20_000, 16, 0), 0.2, 3)
    assert figures["rounds"] > 0
    assert set(figures["over_reading"]) == {"float32", "bfloat16", "int8"}
    assert all(ratio > 0 for ratio in figures["faster_than_brute_force"].values())
    assert set(figures["recall"].values()) == {1.0}
    # So small a catalogue has no other table than that of float32.
    assert set(figures["scanned_megabytes"].values()) == {round(20_096 * 16 * 4 / 1e6, 1)}
