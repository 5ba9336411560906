"""How rows of a comparison are told to people, in the table and on the page."""

from __future__ import annotations

from typing import Any

Document = dict[str, Any]


def law_name(row: Document) -> str:
    """What a row is called: a bound must not be taken for a law."""
    return f"{row['law']} (bound)" if row.get("bound") else str(row["law"])


def notes(comparison: list[Document], *, first_seed: bool) -> list[str]:
    """What must be known of the rows, a sentence each."""
    kind = comparison[0]["kind"]
    told = f"peers are re-implementations, as shipped, on {kind} replicas, within the pool's bounds and limits; static:N begins with N"
    return [told + ("; of the first seed" if first_seed else ""), *(_of_bound(row) for row in comparison if row["bound"])]


def _of_bound(row: Document) -> str:
    missed = ", ".join(f"{o['class']}/{o['objective']}" for o in row["objectives"] if not o["met"])
    kept = f"as much of {missed} as the most replicas kept from this start" if missed else "every promise kept"
    runs = row["searched"]["runs"]
    what = (
        f"it knows this very workload and was searched on it, in {runs} runs, for the least cost with {kept}; what keeps less may cost less"
    )
    return f"{law_name(row)}: no law; {what}"
