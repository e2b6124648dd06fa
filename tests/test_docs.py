"""The documentation holds: its blocks run, its links and tests exist, its tables say what the code does."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from cryodask._version import __version__
from cryodask.cli import _main, main
from cryodask.cli._group import LazyCommand
from cryodask.io.store import Store
from cryodask.params import preset_names

REPOSITORY = Path(__file__).resolve().parents[1]
README = REPOSITORY / "README.md"
STEP_BY_STEP = REPOSITORY / "docs" / "how-to" / "step-by-step.md"
TOP = tuple(REPOSITORY / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md"))
PAGES = (*TOP, *sorted((REPOSITORY / "docs").rglob("*.md")))
RUNNABLE = ("sh", "python")
NO_RUN = "no-run:"
SETUP_BLOCKS = 2
"""The README's first blocks set up an environment; they are checked for their form only."""

BLOCK = re.compile(r"^(?P<fence>```+)(?P<info>[^\n`]*)\n(?P<text>.*?)^(?P=fence)\s*$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, what follows the language in the first line, and its text."""

    language: str
    remark: str
    text: str
    line: int


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = []
    for match in BLOCK.finditer(text):
        language, _, remark = match["info"].strip().partition(" ")
        found.append(Block(language, remark.strip(), match["text"], text.count("\n", 0, match.start()) + 1))
    return found


def to_run(page: Path) -> list[Block]:
    """Blocks of a page that a reader would run and a test can."""
    shell_seen, chosen = 0, []
    for block in blocks_of(page):
        shell_seen += block.language == "sh"
        is_setup = page == README and block.language == "sh" and shell_seen <= SETUP_BLOCKS
        if block.language in RUNNABLE and not block.remark.startswith(NO_RUN) and not is_setup:
            chosen.append(block)
    return chosen


PAGES_THAT_RUN = tuple(page for page in PAGES if to_run(page))


def name_of(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


@pytest.fixture(scope="module")
def run_page(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """Runs the blocks of a page, once, in order, in one folder; returns the folder."""
    folders: dict[Path, Path] = {}
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))

    def run(page: Path) -> Path:
        if page not in folders:
            folders[page] = tmp_path_factory.mktemp(page.stem)
            for block in to_run(page):
                interpreter = ["bash", "-euo", "pipefail", "-c"] if block.language == "sh" else [sys.executable, "-c"]
                done = subprocess.run(
                    [*interpreter, block.text],
                    cwd=folders[page],
                    env={**os.environ, "PATH": path},
                    capture_output=True,
                    text=True,
                    timeout=240,
                    check=False,
                )
                assert done.returncode == 0, f"{name_of(page)}, line {block.line}:\n{done.stdout}{done.stderr}"
        return folders[page]

    return run


# -- blocks --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES_THAT_RUN, ids=name_of)
def test_blocks_run(page: Path, run_page: Callable[[Path], Path]) -> None:
    run_page(page)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_names_its_language_and_every_omission_its_reason(page: Path) -> None:
    for block in blocks_of(page):
        where = f"{name_of(page)}, line {block.line}"
        assert block.language, f"{where}: a block without a language; use text for what is neither code nor commands"
        assert block.language not in ("bash", "shell", "console", "py", "python3"), f"{where}: use sh or python"
        if block.language in RUNNABLE and block.remark:
            assert block.remark.startswith(NO_RUN), f"{where}: {block.remark!r} is not {NO_RUN} with a reason"
            assert len(block.remark.removeprefix(NO_RUN).split()) >= 2, f"{where}: say why it cannot be run"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_that_are_not_run_exist(page: Path) -> None:
    """Of a block that cannot be run, the commands and their options are at least real ones."""
    for block in blocks_of(page):
        if block.language != "sh" or block in to_run(page):
            continue
        for words in cryodask_commands(block.text):
            assert words[0] in _main.COMMANDS, f"{name_of(page)}, line {block.line}: no command {words[0]!r}"
            shown = known_options(words)
            unknown = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)} - shown
            assert not unknown, f"{name_of(page)}, line {block.line}: {words[0]} has no {', '.join(sorted(unknown))}"


def cryodask_commands(text: str) -> list[list[str]]:
    """Arguments of every call of cryodask in a shell block."""
    lines = text.replace("\\\n", " ").splitlines()
    calls = [part.strip() for line in lines for part in line.split("&&")]
    split = [shlex.split(call, comments=True) for call in calls if call]
    return [words[1:] for words in split if words and words[0].rpartition("/")[2] == "cryodask"]


def known_options(words: list[str]) -> set[str]:
    """Option names of a command, or of its subcommand."""
    command: click.Command | None = _main.cli.commands[words[0]].load()  # type: ignore[attr-defined]
    if isinstance(command, click.Group):
        command = command.commands[words[1]]
        command = command.load() if isinstance(command, LazyCommand) else command
    assert command is not None
    return {name for option in command.params for name in (*option.opts, *option.secondary_opts)}


def test_setup_lines_of_the_readme() -> None:
    """One command line each that works in a fresh clone on a fresh machine: environment, installation, purpose."""
    setup = [block for block in blocks_of(README) if block.language == "sh"][:SETUP_BLOCKS]
    (run,), (test,) = (block.text.strip().splitlines() for block in setup)
    make, install, command = run.split(" && ")
    assert make == "python3 -m venv .venv"
    assert install == ".venv/bin/pip install ."
    ((name, *options),) = cryodask_commands(command)
    assert (name, options[: options.index("-o")]) == ("benchmark", ["--preset", "quick"])
    assert "quick" in preset_names()
    make, install, command = test.split(" && ")
    assert make == "python3 -m venv .venv"
    assert install == '.venv/bin/pip install -e ".[test]"'
    assert command == ".venv/bin/pytest"


def test_ci_runs_the_test_command_of_the_readme() -> None:
    script = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8")
    setup = [block for block in blocks_of(README) if block.language == "sh"][1]
    command = setup.text.strip().rpartition(" && ")[2].removeprefix(".venv/bin/")
    # There two processes share the tests, which changes when they run and not what they test.
    assert f"\ncheck {command} -n 2 --dist loadfile\n" in script
    assert os.access(REPOSITORY / ".ci" / "run", os.X_OK)


# -- what the pages refer to ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{name_of(page)}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_and_tests_that_pages_name_exist(page: Path) -> None:
    for path, name in re.findall(r"`((?:tests|examples|\.ci)/[\w./-]+)(?:::(\w+))?`", page.read_text(encoding="utf-8")):
        file = REPOSITORY / path
        assert file.exists(), f"{name_of(page)} names {path}"
        if name:
            assert f"def {name}(" in file.read_text(encoding="utf-8"), f"{name_of(page)} names {path}::{name}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_modules_that_pages_name_exist(page: Path) -> None:
    """Names such as `kernels/optics.py`, relative to the package."""
    for path in re.findall(r"`(?!tests/)((?:[a-z_]+/)?[a-z_]+\.py)`", page.read_text(encoding="utf-8")):
        assert (REPOSITORY / "cryodask" / path).is_file(), f"{name_of(page)} names {path}"


def test_every_page_can_be_reached_from_the_index() -> None:
    docs = REPOSITORY / "docs"
    index = (docs / "index.md").read_text(encoding="utf-8")
    assert [name_of(page) for page in docs.rglob("*.md") if f"({page.relative_to(docs)})" not in index] == [
        "docs/index.md"
    ]


def test_decisions_are_short_and_complete() -> None:
    for record in (REPOSITORY / "docs" / "decisions").glob("*.md"):
        text = record.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 40, record.name
        assert re.findall(r"^\*\*(\w+)[.*]", text, re.MULTILINE)[:3] == ["Context", "Decision", "Consequences"]
        assert re.search(r"^\*\*Held by\*\* `tests/", text, re.MULTILINE), record.name


# -- what the pages claim ------------------------------------------------------------------------------------------


def test_readme_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    text = README.read_text(encoding="utf-8")
    assert [name for name in _main.COMMANDS if f"| `cryodask {name}" not in text] == []
    assert main(["--help"]) == 0
    codes = re.search(r"Exit codes: ([^.]*)\.", " ".join(capsys.readouterr().out.split()))
    assert codes is not None
    stated = re.search(r"Exit codes: ([^.]*)\.", " ".join(text.split()))
    assert stated is not None
    assert set(stated[1].split(", ")) <= set(codes[1].split(", "))


def test_version_is_the_same_everywhere() -> None:
    citation = (REPOSITORY / "CITATION.cff").read_text(encoding="utf-8")
    changes = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"\nversion: {__version__}\n" in citation
    assert re.search(rf"^## \[{re.escape(__version__)}\] - (?:unreleased|\d{{4}}-\d\d-\d\d)$", changes, re.MULTILINE)


@pytest.mark.slow
def test_layout_is_what_is_written(run_page: Callable[[Path], Path]) -> None:
    """The table in docs/architecture.md against the data set that the how-to makes: names of everything, both ways."""
    folder = run_page(STEP_BY_STEP)
    written: dict[str, tuple[str, set[str], set[str]]] = {}
    for store in (Store(folder / "data.zarr"), Store(folder / "picks" / "maps.zarr")):
        for entry in store.groups():
            dataset = store.open(entry.path)
            pattern = re.sub(r"^model_\d+", "model_NNN", entry.path)
            pattern = re.sub(r"(^structures|/scores)/.*", r"\1/CLASS", pattern)
            written[pattern] = (entry.kind, {str(name) for name in dataset.variables}, {str(a) for a in dataset.attrs})
    assert documented_layout() == written


def documented_layout() -> Mapping[str, tuple[str, set[str], set[str]]]:
    """Kind, variables and attributes by group, from the table."""
    text = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w/]+)` \| ([\w-]+) \| (.*?) \|(.*?)\|$", text, re.MULTILINE)
    names = re.compile(r"`(\w+)`")
    return {group: (kind, set(names.findall(held)), set(names.findall(attrs))) for group, kind, held, attrs in rows}
