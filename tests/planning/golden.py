"""Documents as they were agreed on.

`FOREBAY_UPDATE_GOLDEN=1 pytest tests/planning` writes them anew, for a person to read the difference.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "golden"


def agreed(name: str, document: Any) -> Any:
    """The document that was agreed on under this name."""
    path = FOLDER / name
    if os.environ.get("FOREBAY_UPDATE_GOLDEN"):
        path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    return json.loads(path.read_text())
