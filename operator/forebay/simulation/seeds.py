"""The same study under several seeds: the first one's document, and how much its figures vary."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from forebay.simulation.figures import Document


def over_seeds(once: Callable[[int], Document], seeds: Sequence[int]) -> Document:
    """Runs every seed. `spread` holds mean, least and most of each figure; nothing where there is one seed."""
    first = once(seeds[0])
    found = [_figures(first), *(_figures(once(seed)) for seed in seeds[1:])]
    first["seeds"] = list(seeds)
    first["spread"] = {name: _spread([f[name] for f in found if name in f]) for name in found[0]} if len(found) > 1 else {}
    return first


def _figures(document: Document) -> dict[str, float]:
    requests = document["requests"]
    known = {} if document["usd"] is None else {"usd": document["usd"]}
    return {
        **{f"attainment {row['class']}/{row['objective']}": row["attainment"] for row in document["objectives"]},
        "replicas": document["replicas"]["mean"],
        "replica hours": sum(document["replicas"]["hours"].values()),
        **known,
        "refused": requests["refused"],
        "lost": requests["lost"],
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"mean": round(sum(values) / len(values), 6), "least": min(values), "most": max(values)}
