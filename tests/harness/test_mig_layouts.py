"""The mig-manager stand-in knows what a GPU can hold, and what a configuration makes of a node."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from e2e.mig_manager import InvalidLayout, devices, fits, layouts

PROFILES = ("1g.10gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb")


def config(layout: dict[str, int], **entry: Any) -> dict[str, Any]:
    return {"pool-a": [{"devices": "all", "mig-enabled": True, "mig-devices": layout} | entry]}


def test_exactly_the_known_layouts_fit() -> None:
    """38 combinations of these profiles, the empty one included, fit a GPU of eight memory slices."""
    counts = [dict(zip(PROFILES, each, strict=True)) for each in product(range(8), range(4), range(3), range(2), range(2))]
    assert sum(map(fits, counts)) == 38
    assert fits({"1g.10gb": 4, "3g.40gb": 1}) and not fits({"1g.10gb": 1, "3g.40gb": 2})


def test_unlisted_gpus_keep_their_layout() -> None:
    configurations = config({"3g.40gb": 2}, devices=[1])
    assert layouts(configurations, "pool-a", [{"7g.80gb": 1}, None], None) == [{"7g.80gb": 1}, {"3g.40gb": 2}]


def test_device_filter_leaves_other_products_alone() -> None:
    configurations = config({"1g.10gb": 7})
    configurations["pool-a"][0]["device-filter"] = ["0x233010DE"]
    assert layouts(configurations, "pool-a", [None], "NVIDIA-H100-80GB-HBM3") == [{"1g.10gb": 7}]
    assert layouts(configurations, "pool-a", [None], "NVIDIA-A100-SXM4-80GB") == [None]


def test_unknown_name_and_impossible_layout_are_refused() -> None:
    with pytest.raises(InvalidLayout, match="no configuration b"):
        layouts(config({}), "b", [None], None)
    with pytest.raises(InvalidLayout, match="does not fit"):
        layouts(config({"3g.40gb": 2, "1g.10gb": 1}), "pool-a", [None], None)


def test_devices_follow_the_mixed_strategy() -> None:
    assert devices([None, {"3g.40gb": 1, "1g.10gb+me": 1}, {"3g.40gb": 2}, {}]) == {
        "nvidia.com/gpu": 1,
        "nvidia.com/mig-3g.40gb": 3,
        "nvidia.com/mig-1g.10gb.me": 1,
    }
