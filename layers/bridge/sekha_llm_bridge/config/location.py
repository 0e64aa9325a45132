"""Finds the file: a given path, the path in `LLM_CONFIG_PATH`, or the file bundled with the package."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from sekha_llm_bridge.errors import ConfigError

PATH_VARIABLE = "LLM_CONFIG_PATH"
BUNDLED_FILE = Path("config") / "llm_providers.yaml"

_PACKAGE = Path(__file__).resolve().parents[1]


def bundled_path() -> Path | None:
    """Returns the bundled file: `/opt/config/…` in a layer, `<checkout>/config/…` in a checkout, or None."""
    return next((folder / BUNDLED_FILE for folder in _PACKAGE.parents if (folder / BUNDLED_FILE).is_file()), None)


def find_config(path: str | Path | None, *, environ: Mapping[str, str]) -> Path:
    """Returns the file to read: `path`, else the one in `LLM_CONFIG_PATH`, else the bundled one.

    A relative `LLM_CONFIG_PATH` is relative to the working directory, or else to the folder that contains the bundled
    `config/`, because the working directory of a Lambda function is its code and not the layer. Raises `ConfigError`
    when the file does not exist.
    """
    if path is not None:
        return _first_existing([Path(path).expanduser()], "correct the path")
    configured = environ.get(PATH_VARIABLE, "").strip()
    if configured:
        remedy = f"correct {PATH_VARIABLE}, or unset it to use the bundled file"
        return _first_existing(list(_candidate_paths(Path(configured).expanduser())), remedy)
    bundled = bundled_path()
    if bundled is None:
        remedy = f"set {PATH_VARIABLE} to the path of your file"
        raise ConfigError([f"{BUNDLED_FILE}: not found in any folder above {_PACKAGE}: {remedy}"])
    return _relative_to_working_directory(bundled)


def _candidate_paths(path: Path) -> Iterator[Path]:
    yield path
    bundled = bundled_path()
    if bundled and not path.is_absolute():
        yield bundled.parents[1] / path


def _first_existing(candidates: list[Path], remedy: str) -> Path:
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    searched = " and ".join(str(candidate.absolute()) for candidate in candidates)
    what = "is a folder, not a file" if candidates[0].is_dir() else f"no such file (looked at {searched})"
    raise ConfigError([f"{candidates[0]}: {what}: {remedy}"])


def _relative_to_working_directory(path: Path) -> Path:
    """Returns the path relative to the working directory when it is below it, for shorter messages."""
    working_directory = Path.cwd()
    return path.relative_to(working_directory) if path.is_relative_to(working_directory) else path
