"""Workloads that can be read only once: pipes, as shells make them, and standard input."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from forebay.simulation.files import Position, WorkloadError
from forebay.simulation.workload import has_rates, read, read_rates

OURS = "arrival_time_s,input_tokens,output_tokens,class,tenant\n"


def a_file(folder: Path, text: str | bytes, name: str = "trace.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@contextmanager
def a_pipe(content: bytes) -> Iterator[Path]:
    """What a shell passes for `<(zcat trace.gz)`."""
    out, into = os.pipe()

    def write() -> None:
        with os.fdopen(into, "wb") as pipe, suppress(BrokenPipeError):
            for start in range(0, len(content), 1000):
                pipe.write(content[start : start + 1000])
                pipe.flush()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield Path(f"/dev/fd/{out}")
    finally:
        os.close(out)
        writer.join()


@pytest.mark.parametrize("packed", [False, True])
def test_a_pipe_is_read_once_from_its_beginning(tmp_path: Path, packed: bool) -> None:
    content = (OURS + "".join(f"{i},100,100,,\n" for i in range(50_000))).encode()
    with a_pipe(gzip.compress(content) if packed else content) as path:
        position = Position()
        assert not has_rates(path)
        requests = read(path, position=position)
        assert next(requests).arrived == 0.0 and position.share == 0.0
        assert sum(1 for _ in requests) == 49_999 and position.share == 1.0
        with pytest.raises(WorkloadError, match="can be read only once: write it to a file"):
            has_rates(path)


def test_rates_come_by_a_pipe_too() -> None:
    with a_pipe(b"ts_s,total_rate_rps\n0,2\n600,2\n") as path:
        assert has_rates(path) and read_rates(path).mean_rps == 2.0


@pytest.mark.parametrize("piped", [False, True])
def test_standard_input_is_a_workload(tmp_path: Path, piped: bool) -> None:
    program = "from pathlib import Path; from forebay.simulation.workload import *; p = Path('-'); print(has_rates(p), len(list(read(p))))"
    with a_file(tmp_path, OURS + "1,7,9,,\n2,7,9,,\n").open("rb") as file:
        given = {"input": file.read()} if piped else {"stdin": file}
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, **given)
    assert done.stdout == b"False 2\n", done.stderr
