"""A local Git repository that Argo CD can follow."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path


class GitRepository:
    """A repository with one branch, `main`.

    Attributes:
        url: what an Application gives as repoURL.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.url = folder, f"file://{folder}"
        folder.mkdir(parents=True)
        self._git("init", "--quiet", "--initial-branch=main")

    def commit(self, files: Mapping[str, str | None], message: str = "Change") -> str:
        """Commits files by path, None for one to be removed. The new revision."""
        for path, text in files.items():
            file = self.folder / path
            if text is None:
                file.unlink()
            else:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
        self._git("add", "--all")
        self._git(
            "-c", "user.name=e2e", "-c", "user.email=e2e@example.invalid", "commit", "--quiet", "--allow-empty", f"--message={message}"
        )
        return self._git("rev-parse", "HEAD")

    def _git(self, *arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=self.folder, check=True, capture_output=True, text=True).stdout.strip()
