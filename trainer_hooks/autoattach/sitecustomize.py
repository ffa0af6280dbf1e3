"""Run by every Python process under `trainwarden run`, whose PYTHONPATH begins with this folder.

It makes ready to attach to a trainer, then runs the sitecustomize that it shadows. Kept free of imports that cost time.
"""

import os
import sys


def _prepare() -> None:
    if not os.environ.get("TRAINWARDEN_RUN"):
        return
    try:
        from trainer_hooks import attach

        attach.install()
    except Exception as error:
        planned = bool(os.environ.get("TRAINWARDEN_PLAN"))
        _say(f"can't watch this process: {error!r}" + ("; a plan waits, so it ends here (exit 75)" if planned else ""))
        if planned:
            os._exit(75)  # SystemExit here would be a fatal error of the interpreter, with another exit code
        return
    try:
        _keep_output()
    except Exception as error:
        _say(f"output will end with the terminal: {error!r}")


def _keep_output() -> None:
    folder = os.environ.get("TRAINWARDEN_RUN_FOLDER")
    if folder and (os.isatty(1) or os.isatty(2)):
        from pathlib import Path

        from trainer_hooks.terminal import watch_hangup

        watch_hangup(Path(folder) / "output.log")


def _say(text: str) -> None:
    try:
        os.write(2, f"trainwarden: {text}\n".encode("utf-8", "backslashreplace"))
    except OSError:
        return  # nobody is left to be told


def _run_shadowed() -> None:
    """Run the next sitecustomize on the path in place of this one; what it raises is its own, as without us."""
    from importlib.machinery import PathFinder
    from importlib.util import module_from_spec

    own = os.path.realpath(os.path.join(__file__, os.pardir))
    for folder in sys.path:
        if os.path.realpath(folder) == own:
            continue
        spec = PathFinder.find_spec("sitecustomize", [folder])
        if spec is not None and spec.loader is not None:
            module = module_from_spec(spec)
            sys.modules["sitecustomize"] = module  # before it runs, as the import system does it
            spec.loader.exec_module(module)
            return


_prepare()
_run_shadowed()
