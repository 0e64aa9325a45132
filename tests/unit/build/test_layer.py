"""The build of a layer: what it changes in a package."""

import os
from pathlib import Path

import pytest

import layer

TEXT = (
    'class BaseModelWithConfig(BaseModel):\n    model_config = {"extra": "allow"}\n\n\n'
    "class Schema(BaseModelWithConfig): ...\n\n\nSchema.model_rebuild()\nOperation.model_rebuild()\nEncoding.model_rebuild()\n"
)


def test_deferring_the_models_does_not_change_the_installers_cache(tmp_path: Path) -> None:
    cached, installed = tmp_path / "cached.py", tmp_path / "models.py"
    cached.write_text(TEXT)
    os.link(cached, installed)
    layer.defer_openapi_models(installed)
    assert cached.read_text() == TEXT
    assert '"defer_build": True' in installed.read_text()
    assert "model_rebuild" not in installed.read_text()


def test_a_newer_fastapi_with_other_models_stops_the_build(tmp_path: Path) -> None:
    installed = tmp_path / "models.py"
    installed.write_text(TEXT.replace("Schema.model_rebuild()\n", ""))
    with pytest.raises(SystemExit, match="Adapt or remove DEFERRED"):
        layer.defer_openapi_models(installed)
    assert "defer_build" not in installed.read_text()
