"""What the kubelet stand-in takes from the Containerfile and from an image's name."""

from __future__ import annotations

import pytest
from e2e.standin import Images, entrypoint_of


def test_last_entrypoint_in_json_form_counts() -> None:
    text = 'FROM a AS build\nENTRYPOINT ["build"]\nFROM b\n# ENTRYPOINT ["x"]\nENTRYPOINT ["python", "-m", "forebay"]\nCMD ["--help"]\n'
    assert entrypoint_of(text) == ["python", "-m", "forebay"]
    with pytest.raises(ValueError, match="no ENTRYPOINT"):
        entrypoint_of("FROM a\nENTRYPOINT forebay\n")


@pytest.mark.parametrize(
    "image", ["forebay", "forebay:v1", "ghcr.io/x/forebay", "localhost:5000/forebay:v1", "x/forebay@sha256:abc", "x/forebay:v1@sha256:abc"]
)
def test_forebays_own_image_is_known_by_its_name(image: str) -> None:
    assert list(Images(["forebay"])(image) or [])[-1:] == ["forebay"]


@pytest.mark.parametrize("image", ["vllm/vllm-openai:v1", "x/forebay-other", "forebay/other", ""])
def test_no_other_image_is_known(image: str) -> None:
    assert Images(["forebay"])(image) is None
