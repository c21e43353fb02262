"""Feature views in modules of the user's."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from pkgutil import resolve_name
from types import ModuleType

from online_features.errors import FeatureViewError, OnlineFeaturesError
from online_features.feature_view import FeatureView


def view_at(path: str) -> FeatureView:
    """Import a feature view.

    :param path: ``module:name`` or ``module.name``, from the current folder, too.
    :raises FeatureViewError: when there is no such view.
    """
    _add_folder(Path.cwd())
    try:
        found = resolve_name(path)
    except (ImportError, AttributeError, ValueError) as error:
        raise FeatureViewError(f"--view-path {path} cannot be imported: {error} -> write module:name") from error
    if not isinstance(found, FeatureView):
        raise FeatureViewError(f"--view-path {path} is a {type(found).__name__}, not a feature view")
    return found


def views_in(path: str) -> dict[str, FeatureView]:
    """Import a module, and return its feature views by the names of their variables.

    :param path: of a file, or the import path of a module.
    :raises FeatureViewError: when it cannot be imported, or holds different views of one name.
    """
    file = Path(path)
    try:
        module = _module_of(file) if file.suffix == ".py" or file.exists() else _imported(path)
    except OnlineFeaturesError as error:
        raise FeatureViewError(f"{path}: {error}") from error
    except (Exception, SystemExit) as error:  # whatever a module of the user's raises
        raise FeatureViewError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    views: dict[str, FeatureView] = {}
    for variable, view in _views_of(module):
        for other in views.values():
            if str(other) == str(view) and other != view:
                raise FeatureViewError(f"{path}: two different feature views are named {view} -> rename one of them")
        views[variable] = view
    if not views:
        raise FeatureViewError(f"{path} holds no feature view")
    return views


def _views_of(module: ModuleType) -> Iterator[tuple[str, FeatureView]]:
    """Yield the views of a module, also those in its lists."""
    seen: set[int] = set()
    for variable, value in vars(module).items():
        several = list(value) if isinstance(value, (list, tuple)) else [value]
        for i, view in enumerate(several):
            if isinstance(view, FeatureView) and id(view) not in seen:
                seen.add(id(view))
                yield variable if view is value else f"{variable}[{i}]", view


def _imported(path: str) -> ModuleType:
    _add_folder(Path.cwd())
    return import_module(path)


def _module_of(file: Path) -> ModuleType:
    """Import a file as Airflow and Python do: what is beside it can be imported."""
    _add_folder(file.resolve().parent)
    spec = spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise FeatureViewError("it is not a Python file")
    module = module_from_spec(spec)
    sys.modules[file.stem] = module
    spec.loader.exec_module(module)
    return module


def _add_folder(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
