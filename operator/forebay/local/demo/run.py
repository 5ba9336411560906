"""Runs the demo inside `forebay up`: plays it unless it is stopped, prints the report, writes the document."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

from forebay.adapters.decisions import DecisionsInMemory
from forebay.local.demo.play import SCRIPT, Say, Script, play
from forebay.local.demo.show import lines
from forebay.local.folder import Folder
from forebay.local.up import Local
from forebay.local.waiting import cancelled
from forebay.runtime.errors import ForebayError

STOPPED = 130
"""Exit code where Ctrl-C came first, as a shell has it."""


async def show(
    local: Local,
    folder: Folder,
    decisions: DecisionsInMemory,
    file: Path | None,
    stop: asyncio.Event,
    say: Say,
    script: Script = SCRIPT,
) -> int:
    """Exit code 0, or 1 where an accepted request was lost.

    Raises:
        ForebayError: the demo cannot be played, or its summary cannot be written.
    """
    playing = asyncio.create_task(play(local, folder, decisions, script, say))
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((playing, stopped), return_when=asyncio.FIRST_COMPLETED)
        if not playing.done():
            return STOPPED
        document = playing.result()
    finally:
        await cancelled(playing, stopped)
    for line in lines(document, shutil.get_terminal_size((100, 24)).columns):
        say(line)
    if file is not None:
        try:
            file.write_text(json.dumps(document, indent=2) + "\n")
        except OSError as error:
            raise ForebayError(f"--summary {file}: {error.strerror}") from error
    return 1 if document["requests"]["lost"] else 0
