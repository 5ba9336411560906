"""`forebay operator` against an API server that refuses what it cannot do without."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest
from tests.dataplane.wires import serving

from forebay.dataplane.http.server import Request, Response
from forebay.local.up import write_kubeconfig

FORBIDDEN = 'customresourcedefinitions.apiextensions.k8s.io "nodepools.karpenter.sh" is forbidden'


@pytest.mark.parametrize("more", [[], ["--sweep-all"]], ids=["leading", "sweeping"])
def test_without_the_right_to_read_crds_it_says_so(more: list[str], tmp_path: Path) -> None:
    """It ended in a traceback."""

    async def api(request: Request, response: Response) -> None:
        if "customresourcedefinitions" in request.path:
            response.send(403, json.dumps({"kind": "Status", "code": 403, "message": FORBIDDEN}).encode())
        elif request.method == "POST":
            response.send(201, request.body)
        else:
            response.send(404, json.dumps({"kind": "Status", "code": 404, "message": "not found"}).encode())

    async def run() -> tuple[int | None, str]:
        async with serving(api) as server:
            write_kubeconfig(tmp_path / "kubeconfig", f"http://127.0.0.1:{server.port}")
            flags = ["--image", "forebay:1", "--kubeconfig", str(tmp_path / "kubeconfig"), "--host", "127.0.0.1", "--port", "0", *more]
            process = await asyncio.create_subprocess_exec(sys.executable, "-m", "forebay", "operator", *flags, stderr=PIPE)
            _, said = await asyncio.wait_for(process.communicate(), 30)
            return process.returncode, said.decode()

    code, said = asyncio.run(run())
    assert code == 1
    assert f"forebay: the cluster cannot be worked with: {FORBIDDEN}; the chart's ClusterRole has all that is needed" in said
    assert "Traceback" not in said
