"""Where the file is: named by a caller, named by `LLM_CONFIG_PATH`, or the one bundled with the package."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from sekha_llm_bridge.errors import ConfigError

VARIABLE = "LLM_CONFIG_PATH"
BUNDLED = Path("config") / "llm_providers.yaml"

_PACKAGE = Path(__file__).resolve().parents[1]


def bundled_path() -> Path | None:
    """The file beside the package: in the layer `/opt/config/…`, in a checkout `<checkout>/config/…`; or None."""
    return next((folder / BUNDLED for folder in _PACKAGE.parents if (folder / BUNDLED).is_file()), None)


def find_config(path: str | Path | None, *, environ: Mapping[str, str]) -> Path:
    """The file to read: `path`, else what `LLM_CONFIG_PATH` names, else the bundled one.

    A relative `LLM_CONFIG_PATH` counts from the working directory, then from the folder that holds the bundled
    `config/`: a function's working directory is its own code, not the layer. Raises `ConfigError` when the file is
    not there.
    """
    if path is not None:
        return _existing([Path(path).expanduser()], "correct the path")
    named = environ.get(VARIABLE, "").strip()
    if named:
        remedy = f"correct {VARIABLE}, or unset it to use the bundled file"
        return _existing(list(_readings(Path(named).expanduser())), remedy)
    bundled = bundled_path()
    if bundled is None:
        remedy = f"set {VARIABLE} to the path of your file"
        raise ConfigError([f"{BUNDLED}: not found in any folder above {_PACKAGE}: {remedy}"])
    return _near(bundled)


def _readings(path: Path) -> Iterator[Path]:
    yield path
    bundled = bundled_path()
    if bundled and not path.is_absolute():
        yield bundled.parents[1] / path


def _existing(candidates: list[Path], remedy: str) -> Path:
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    looked = " and ".join(str(candidate.absolute()) for candidate in candidates)
    what = "is a folder, not a file" if candidates[0].is_dir() else f"no such file (looked at {looked})"
    raise ConfigError([f"{candidates[0]}: {what}: {remedy}"])


def _near(path: Path) -> Path:
    """Relative to the working directory where it lies below it: shorter in every message, and still clickable."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
