"""The frame of the command line: what it imports, how it fails, and the options that commands share."""

from __future__ import annotations

import errno
import io
import json
import os
import pickle
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from cryodask.cli import _main, main
from cryodask.cli._group import LazyCommand
from cryodask.cli.options import (
    InputPath,
    cluster_options,
    overwrite_option,
    parameter_options,
    performance_report_option,
    verbose_option,
)
from cryodask.cluster import ClusterSpec
from cryodask.errors import ClusterError, ConfigError, DataError, NotInStoreError, TaskError
from cryodask.params import RunParameters, load_parameters

HEAVY = (
    "dask",
    "distributed",
    "xarray",
    "zarr",
    "scipy",
    "numba",
    "numpy",
    "pandas",
    "rich",
    "gemmi",
    "mrcfile",
    "cupy",
)


def loaded_after(code: str) -> set[str]:
    """Heavy packages that a fresh interpreter has imported after ``code``."""
    program = f"import sys\n{code}\nprint('LOADED', *(set(sys.modules) & set({HEAVY!r})))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split()[1:])


def add(monkeypatch: pytest.MonkeyPatch, name: str, callback: Callable[..., Any], *options: Any) -> None:  # noqa: ANN401
    """Give the command line one more command for the length of a test."""
    for option in reversed(options):
        callback = option(callback)
    monkeypatch.setitem(_main.cli.commands, name, click.command(name)(verbose_option(callback)))


def test_help_and_package_import_nothing_heavy() -> None:
    assert loaded_after("import cryodask, cryodask.cli, cryodask.cli.progress, cryodask.cluster") == set()
    assert loaded_after("from cryodask.cli import main; assert main(['--help']) == 0") == set()


def test_every_command_shows_its_help_without_heavy_imports() -> None:
    calls = "; ".join(f"assert main([{name!r}, '--help']) == 0" for name in _main.COMMANDS)
    assert loaded_after(f"from cryodask.cli import main; {calls}") == set()


def test_help_takes_less_than_300_ms_of_processor_time() -> None:
    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "cryodask", "--help"], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(3)) < 0.3


def test_table_and_commands_agree() -> None:
    for name, (target, short_help) in _main.COMMANDS.items():
        command = LazyCommand(name, target, short_help).load()
        assert command.name == name
        assert command.get_short_help_str(limit=200) == short_help


def test_help_lists_the_commands_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    positions = [printed.index(short_help) for _, short_help in _main.COMMANDS.values()]
    assert positions == sorted(positions)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["inof"], ["inof", "info"]), (["info", "--jsn"], ["--jsn", "--json"]), (["info", "extra"], ["extra"])],
)
def test_usage_errors_are_2_and_suggest(
    arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    for word in words:
        assert word in printed.err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    import cryodask

    assert main(["--version"]) == 0
    assert cryodask.__version__ in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "exit_code", "message"),
    [
        (ConfigError("a.yaml: wrong"), 2, "error: a.yaml: wrong\n"),
        (DataError("b.mrc: short"), 3, "error: b.mrc: short\n"),
        (NotInStoreError("no group x"), 3, "error: no group x\n"),
        (ClusterError("lost"), 4, "error: lost\n"),
        (TaskError("task"), 1, "error: task\n"),
        (MemoryError("cannot allocate 9 GiB"), 2, "error: not enough memory (cannot allocate 9 GiB)"),
        (KeyboardInterrupt(), 130, "error: interrupted; run the same command again to resume\n"),
        (click.Abort(), 130, "error: interrupted"),
        (PermissionError(errno.EACCES, "Permission denied", "/data/x"), 3, "error: /data/x: Permission denied\n"),
        (TimeoutError("late"), 1, "error: internal error: TimeoutError: late\n"),
        (ZeroDivisionError("division by zero"), 1, "error: internal error: ZeroDivisionError: division by zero\n"),
    ],
)
def test_errors_become_one_message_and_an_exit_code(
    error: BaseException,
    exit_code: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail() -> None:
        raise error

    add(monkeypatch, "fail", fail)
    assert main(["fail"]) == exit_code
    printed = capsys.readouterr()
    assert printed.err.startswith(message)
    assert "Traceback" not in printed.err
    assert printed.out == ""
    for arguments in (["fail", "-vv"], ["-vv", "fail"], ["-v", "fail", "-v", "-v"]):
        assert main(arguments) == exit_code
        assert "Traceback" in capsys.readouterr().err


def test_errors_survive_pickling_with_their_exit_code() -> None:
    for error in (ConfigError("x"), DataError("x"), ClusterError("x"), NotInStoreError("x")):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), again.exit_code) == (type(error), "x", error.exit_code)


def test_a_closed_pipe_is_quiet() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "cryodask", "info"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr as stderr:
        said = stderr.read()
    assert process.wait(timeout=60) == 141
    assert said == ""


def test_a_broken_connection_is_not_taken_for_a_closed_pipe(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    add(monkeypatch, "fail", fail)
    assert main(["fail"]) == 1
    assert "BrokenPipeError" in capfd.readouterr().err


def test_completion_lists_commands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("_CRYODASK_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "cryodask in")
    monkeypatch.setenv("COMP_CWORD", "1")
    main([])
    assert "info" in capsys.readouterr().out


def test_info_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["processors"] >= 1
    assert facts["cuda devices"] >= 0
    assert facts["numpy"].startswith("2.")
    assert main(["info"]) == 0
    assert f"processors        {facts['processors']}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ClusterSpec()),
        (["--cluster", "sync"], ClusterSpec(kind="sync")),
        (["--workers", "3", "--memory-limit", "2GiB"], ClusterSpec(workers=3, memory_limit_bytes=2**31)),
        (["--scheduler", "node:8786"], ClusterSpec(kind="existing", scheduler="tcp://node:8786")),
    ],
)
def test_cluster_options(arguments: list[str], expected: ClusterSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[ClusterSpec] = []
    add(monkeypatch, "run", lambda cluster: seen.append(cluster), cluster_options)
    assert main(["run", *arguments]) == 0
    assert seen == [expected]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--cluster", "lokal"], "local"),
        (["--memory-limit", "4"], "4GiB"),
        (["--workers", "0"], "x>=1"),
        (["--scheduler", "nonsense"], "tcp://HOST:PORT"),
        (["--scheduler", "h:1", "--cluster", "local"], "give one of them"),
        (["--scheduler", "h:1", "--workers", "2"], "own workers"),
        (["--cluster", "sync", "--workers", "2"], "--cluster local"),
    ],
)
def test_wrong_cluster_options_are_2(
    arguments: list[str], word: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    add(monkeypatch, "run", lambda cluster: None, cluster_options)
    assert main(["run", *arguments]) == 2
    assert word in capsys.readouterr().err


def test_parameter_options(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[RunParameters] = []
    add(monkeypatch, "plain", lambda parameters: seen.append(parameters), parameter_options())
    add(monkeypatch, "quick", lambda parameters: seen.append(parameters), parameter_options(default_preset="quick"))
    path = tmp_path / "run.yaml"
    path.write_text("models: 4\n")
    calls = (
        ["plain"],
        ["plain", "--preset", "shrec2021", "--config", str(path), "--set", "models=5", "--set", "models=6"],
        ["quick"],
        ["quick", "--config", str(path)],
    )
    for call in calls:
        assert main(call) == 0
    assert seen == [
        RunParameters(),
        load_parameters(RunParameters, preset="shrec2021", overrides=["models=6"]),
        load_parameters(RunParameters, preset="quick"),
        RunParameters(models=4),
    ]
    assert main(["plain", "--set", "models=many"]) == 2
    assert main(["plain", "--config", str(tmp_path / "absent.yaml")]) == 2


def test_other_shared_options(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []
    source = click.argument("source", type=InputPath())
    add(monkeypatch, "run", lambda **given: seen.append(given), source, overwrite_option, performance_report_option)
    assert main(["run", str(tmp_path), "--overwrite", "--performance-report", "r.html"]) == 0
    assert seen == [{"source": tmp_path, "overwrite": True, "performance_report": Path("r.html")}]
    assert main(["run", str(tmp_path / "absent.mrc")]) == 3


INTERRUPTIBLE = """
import os, sys, time, click
from cryodask.cli import _main, main
from cryodask.cli.options import cluster_options
from cryodask.cli.session import open_session

@click.command()
@cluster_options
def wait(cluster):
    with open_session(cluster) as session:
        futures = session.client.map(time.sleep, [60, 61])
        print(*session.client.run(os.getpid).values(), flush=True)
        session.client.gather(futures)

if __name__ == "__main__":
    _main.cli.commands["wait"] = wait
    sys.exit(main(["wait", "--workers", "1", "--memory-limit", "400MiB"]))
"""


def test_ctrl_c_ends_workers_quietly_with_130(tmp_path: Path) -> None:
    script = tmp_path / "wait.py"
    script.write_text(INTERRUPTIBLE)
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(Path(_main.__file__).parents[2])},
    ) as process:
        assert process.stdout is not None
        workers = [int(pid) for pid in process.stdout.readline().split()]
        assert len(workers) == 1
        os.killpg(process.pid, signal.SIGINT)  # a terminal's Ctrl-C reaches the workers as well
        _, said = process.communicate(timeout=60)
    dashboard, message = said.splitlines()
    assert dashboard.startswith("dashboard: http://127.0.0.1:")
    assert message == "error: interrupted; run the same command again to resume"
    assert process.returncode == 130
    with pytest.raises(ProcessLookupError):
        os.kill(workers[0], 0)


def test_main_module_runs_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "cryodask", "nonsense"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_public_names_are_lazy_and_listed() -> None:
    import cryodask

    assert {"simulate", "reconstruct", "match", "evaluate", "open", "__version__"} <= set(dir(cryodask))
    with pytest.raises(AttributeError, match="nonsense"):
        _ = cryodask.nonsense


def test_stdout_that_is_no_file_counts_as_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    from cryodask.cli._failures import reader_is_gone, silence_stdout

    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert reader_is_gone()
    silence_stdout()
    read, write = os.pipe()
    with os.fdopen(write, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert not reader_is_gone()
        os.close(read)
        assert reader_is_gone()
