"""`forebay up` with a model server that is no part of Forebay: llama.cpp's, asked by the unchanged `openai` client."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import openai
from e2e import llama_cpp
from tests.local.test_up import RESOURCES, a_folder, forebay_up, line_with

_COMMAND = f'command: [{sys.executable}, {llama_cpp.__file__}, --host, $(POD_IP), --port, "8000"]'


def theirs(resources: str) -> str:
    """The same resources with llama.cpp's server in place of the simulator."""
    for old, new in (
        ("engine: VLLM", "engine: LlamaCpp"),
        ("name: sim-chat", f"name: {llama_cpp.MODEL}"),
        ("minReplicas: 2", "minReplicas: 1"),
    ):
        assert old in resources
        resources = resources.replace(old, new)
    return "\n".join(line.partition("args:")[0] + _COMMAND if "args: [engine, sim" in line else line for line in resources.splitlines())


def test_llama_cpp_answers_on_one_machine(tmp_path: Path) -> None:
    with forebay_up(a_folder(tmp_path / "in", resources=theirs(RESOURCES)), tmp_path / "state") as process:
        url = line_with(process, " answers at ").split()[-1]
        line_with(process, "InferencePool chat: ReplicasReady: 1 replica")
        with openai.OpenAI(api_key="the-key", base_url=url) as client:
            asked: dict[str, Any] = {"model": "support-chat", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 9}
            whole = client.chat.completions.create(**asked)
            assert whole.usage is not None and whole.usage.completion_tokens == 9
            parts = client.chat.completions.create(**asked, stream=True)
            said = "".join(part.choices[0].delta.content or "" for part in parts)
            assert len(said.split()) == 9 and set(said.split()) <= set(llama_cpp.WORDS)
