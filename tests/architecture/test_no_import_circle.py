"""No two modules need each other: every file can be read after those that it imports."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

import grimp
import pytest


@pytest.mark.parametrize("package", ["trainer_hooks", "monitor", "alerts"])
def test_no_import_circle(package: str) -> None:
    """Imports for type checking alone, and those within a function, count like any other."""
    graph = grimp.build_graph(package, exclude_type_checking_imports=False)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert imports, f"{package} has no modules"
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))
