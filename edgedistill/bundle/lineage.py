"""Where a bundle's teacher and fp32 student are, or the original of a foreign one: in the store that it came from, if that is at hand."""

from __future__ import annotations

from pathlib import Path

from edgedistill.bundle.reader import Bundle


def teacher_files(bundle: Bundle, store: Path) -> tuple[Path, Path] | None:
    """The teacher's ONNX file and the folder of its encoder, or None."""
    return _files(bundle, store, bundle.manifest["lineage"]["teacher"])


def student_files(bundle: Bundle, store: Path) -> tuple[Path, Path] | None:
    """The fp32 student's ONNX file and the folder of its encoder, or None."""
    return _files(bundle, store, bundle.manifest["lineage"]["student"])


def original_files(bundle: Bundle, store: Path) -> tuple[Path, Path] | None:
    """The fp32 graph of a model that came as ONNX, and its folder, or None."""
    return _files(bundle, store, bundle.manifest["lineage"]["original"])


def _files(bundle: Bundle, store: Path, entry: str) -> tuple[Path, Path] | None:
    """Looked for in the store that the bundle lies in (STORE/pack/KEY/files/NAME), then in the one that was named."""
    roots = [*bundle.path.resolve().parents[3:4], store]
    places = (root / entry / "files" for root in roots)
    return next(((place / "fused.onnx", place) for place in places if (place / "fused.onnx").is_file()), None)
