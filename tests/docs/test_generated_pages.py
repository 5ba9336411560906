"""Pages and CRDs that are rendered from the code are checked in as rendered."""

from __future__ import annotations

from pathlib import Path

from forebay.api.conditions import CONDITIONS, Type
from forebay.api.crd import rendered_files
from forebay.cli.docs import pages

ROOT = Path(__file__).parents[2]


def test_reference_pages_are_those_of_the_code() -> None:
    assert {name: (ROOT / "docs" / name).read_text() for name in pages()} == pages(), "run `make docs`"


def test_crds_are_those_of_the_models() -> None:
    assert {path.name: path.read_text() for path in (ROOT / "crds").glob("*.yaml")} == rendered_files(), "run `make crds`"


def test_crds_are_small_enough_for_every_way_of_applying_them() -> None:
    assert all(len(text) < 100_000 for text in rendered_files().values())


def test_every_condition_is_documented() -> None:
    assert set(CONDITIONS) == set(Type)


def test_the_operator_folder_is_no_package() -> None:
    """It would shadow the standard library's `operator`."""
    assert not (ROOT / "operator" / "__init__.py").exists()
