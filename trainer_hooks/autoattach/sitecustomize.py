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
        _notify(
            f"can't watch this process: {error!r}" + ("; a plan waits, so it ends here (exit 75)" if planned else "")
        )
        if planned:
            os._exit(75)  # SystemExit here would be a fatal error of the interpreter, with another exit code
        return
    try:
        _keep_output()
    except Exception as error:
        _notify(f"output will end with the terminal: {error!r}")


def _keep_output() -> None:
    folder = os.environ.get("TRAINWARDEN_RUN_FOLDER")
    if folder and (os.isatty(1) or os.isatty(2)):
        from pathlib import Path

        from trainer_hooks.terminal import watch_hangup

        watch_hangup(Path(folder) / "output.log")


def _notify(text: str) -> None:
    try:
        os.write(2, f"trainwarden: {text}\n".encode("utf-8", "backslashreplace"))
    except OSError:
        return  # nobody can be reached


def _run_shadowed() -> None:
    """Import the sitecustomize behind this one in its place; what it raises is its own, as without us."""
    own = os.path.realpath(os.path.join(__file__, os.pardir))
    folders = [folder for folder in sys.path if os.path.realpath(folder) == own]
    ours = sys.modules.pop("sitecustomize")
    sys.path[:] = [folder for folder in sys.path if folder not in folders]
    try:
        import sitecustomize  # noqa: F401 - running it is the point
    except ModuleNotFoundError as error:
        if error.name != "sitecustomize":
            raise
        sys.modules["sitecustomize"] = ours  # there is none; whoever imports us must find a module
    finally:
        sys.path[:0] = folders


_prepare()
_run_shadowed()
