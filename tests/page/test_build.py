"""How the page gets into an installation: built where it can be, explained where it can't."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path
from types import ModuleType

import anyio
import httpx
import pytest

from monitor.daemon.api.endpoint import application
from monitor.daemon.api.page_files import POLICY, PageFiles

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "page"
PATH = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
needs_npm = pytest.mark.skipif(shutil.which("npm", path=PATH) is None, reason="npm is not here")
needs_packages = pytest.mark.skipif(not (SOURCE / "node_modules").exists(), reason="run `make page` first")


def asked(folder: Path, path: str, encoding: str = "gzip") -> httpx.Response:
    """What a daemon whose page lies in `folder` answers."""

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(application(PageFiles(folder).endpoints()))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.get(path, headers={"accept-encoding": encoding})

    return anyio.run(ask)


@pytest.fixture(scope="module")
def hook() -> ModuleType:
    pytest.importorskip("hatchling")
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page's source alone, with a package registry that nobody answers for."""
    shutil.copytree(SOURCE, tmp_path / "page", ignore=shutil.ignore_patterns("node_modules"))
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:1/")
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "cache"))
    return tmp_path


@needs_npm
def test_without_a_network_the_build_leaves_a_sentence_and_a_release_fails(hook: ModuleType, checkout: Path) -> None:
    hook.build(checkout, raising=False)
    note = (checkout / hook.BUILT / "MISSING.txt").read_text()
    assert re.fullmatch(r"npm failed with exit code \d+ while fetching its packages\.\n", note)
    with pytest.raises(subprocess.CalledProcessError):
        hook.build(checkout, raising=True)


def test_without_node_the_build_says_so(hook: ModuleType, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(checkout))
    monkeypatch.setattr(hook.sysconfig, "get_path", lambda _: str(checkout))
    hook.build(checkout, raising=False)
    assert (checkout / hook.BUILT / "MISSING.txt").read_text() == "Node.js (npm) was not found.\n"
    with pytest.raises(FileNotFoundError):
        hook.build(checkout, raising=True)


def test_node_is_asked_for_only_where_the_page_is_to_be_built(
    hook: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(hook.SKIP, raising=False)
    one = hook.PageHook(str(tmp_path), {}, None, None, "", "wheel")
    assert one.dependencies() == [hook.NODE]
    monkeypatch.setenv(hook.SKIP, "1")
    assert one.dependencies() == []
    monkeypatch.delenv(hook.SKIP)
    (tmp_path / hook.BUILT).mkdir(parents=True)
    (tmp_path / hook.BUILT / "index.html").touch()
    assert one.dependencies() == []
    one.initialize("standard", {})  # does nothing: there is no source to build from


def test_the_lock_names_no_registry_and_holds_every_package_to_its_content() -> None:
    text = (SOURCE / "package-lock.json").read_text()
    packages = {name: one for name, one in json.loads(text)["packages"].items() if name}
    assert len(packages) > 10
    assert [name for name, one in packages.items() if "resolved" in one] == []
    assert [name for name, one in packages.items() if not one.get("integrity", "").startswith("sha512-")] == []
    assert "registry" not in text


def test_no_minified_source_of_others_is_in_the_repository() -> None:
    listed = subprocess.run(["git", "ls-files", "page"], cwd=ROOT, capture_output=True, text=True, check=True)
    files = listed.stdout.split()
    assert "page/src/main.tsx" in files
    assert [file for file in files if ".min." in file or "node_modules" in file] == []
    longest = {file: max(map(len, (ROOT / file).read_text().splitlines())) for file in files if "lock" not in file}
    assert {file: n for file, n in longest.items() if n > 300} == {}


@needs_npm
@needs_packages
@pytest.mark.parametrize("arguments", [("run", "types"), ("test",)])
def test_types_and_pure_functions_of_the_page(arguments: tuple[str, ...]) -> None:
    npm = shutil.which("npm", path=PATH)
    assert npm is not None
    done = subprocess.run(
        [npm, *arguments], cwd=SOURCE, env={**os.environ, "PATH": PATH}, capture_output=True, text=True, check=False,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_daemon_without_a_page_says_why(tmp_path: Path) -> None:
    for folder in (tmp_path / "not-there", tmp_path):
        (tmp_path / "MISSING.txt").write_text("Node.js (npm) was not found.\n")
        answer = asked(folder, "/")
        assert answer.status_code == 404
        assert answer.headers["content-type"].startswith("text/plain")
        assert "make page" in answer.text
    assert "Node.js (npm) was not found." in answer.text


def test_files_come_packed_with_the_policy_and_no_other_file_comes(tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<p>here</p>")
    (tmp_path / "assets" / "index-1a.js").write_text("1")
    page, script = asked(tmp_path, "/"), asked(tmp_path, "/assets/index-1a.js")
    assert (page.text, page.headers["content-encoding"]) == ("<p>here</p>", "gzip")
    assert page.headers["content-security-policy"] == script.headers["content-security-policy"] == POLICY
    assert script.headers["content-type"].startswith("text/javascript")
    assert "immutable" in script.headers["cache-control"]
    assert asked(tmp_path, "/", "identity").text == "<p>here</p>"
    for other in ("/assets/none.js", "/assets/..%2findex.html", "/assets/%2e%2e%2fMISSING.txt"):
        assert asked(tmp_path, other).status_code == 404, other
