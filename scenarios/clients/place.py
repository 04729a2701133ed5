"""Where clients that nobody here wrote are installed, and the hub that they talk to.

Needs Python with venv, Node with npm, and cargo. HUBCHECK names a `hubcheck` that is already built.
"""

import contextlib
import hashlib
import os
import pathlib
import queue
import shutil
import signal
import subprocess
import threading
import venv

HERE = pathlib.Path(__file__).resolve().parent
WORKSPACE = HERE.parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", WORKSPACE / "target")).resolve()
CACHE = TARGET / "clients"
# Starting two replicas takes a second; a machine that builds something else meanwhile may take far longer.
SERVING_LIMIT = 120
STOP_LIMIT = 20


def installed(name: str, files: list[str], install) -> pathlib.Path:
    """The folder of these pinned packages, installed unless just these are there."""
    wanted = hashlib.sha256(b"".join((HERE / file).read_bytes() for file in files)).hexdigest()
    folder = CACHE / name
    mark = folder / "installed"
    if not mark.is_file() or mark.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        install(folder)
        mark.write_text(wanted)
    return folder


def python(name: str) -> str:
    """The interpreter with the packages of `NAME.txt`."""
    requirements = f"{name}.txt"

    def install(folder: pathlib.Path) -> None:
        venv.create(folder, with_pip=True)
        pip = [folder / "bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", HERE / requirements], check=True)

    return str(installed(name, [requirements], install) / "bin/python")


def node() -> tuple[str, pathlib.Path]:
    """A Node 22, which the official suite needs, and the folder of the packages of `package.json`."""
    files = ["package.json", "package-lock.json"]

    def install(folder: pathlib.Path) -> None:
        for file in files:
            shutil.copy(HERE / file, folder)
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"], cwd=folder, check=True)

    modules = installed("npm", files, install) / "node_modules"
    return str(modules / "node/bin/node"), modules


def hubcheck() -> str:
    """The command, built."""
    if given := os.environ.get("HUBCHECK"):
        return given
    subprocess.run(["cargo", "build", "--release", "--locked"], cwd=WORKSPACE, check=True)
    return str(TARGET / "release/hubcheck")


@contextlib.contextmanager
def served(*args: str, log: pathlib.Path):
    """`hubcheck serve` with these arguments, when its replicas are ready; what it says goes to `log`."""
    with open(log, "w") as stderr:
        command = [hubcheck(), "serve", *args]
        process = subprocess.Popen(command, cwd=WORKSPACE, stdout=subprocess.PIPE, stderr=stderr, text=True)
        # `serve` says its addresses once the replicas are ready.
        lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=lambda: lines.put(process.stdout.readline()), daemon=True).start()
        try:
            if not lines.get(timeout=SERVING_LIMIT):
                raise SystemExit(f"{' '.join(command)} did not serve:\n{log.read_text()}")
            yield
        except queue.Empty:
            raise SystemExit(f"{' '.join(command)} did not serve in time:\n{log.read_text()}") from None
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(STOP_LIMIT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise
