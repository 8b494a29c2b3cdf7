"""An import path finds what a user wrote, and what has none is refused with the reason."""

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest

from imbal_jax.errors import InputError
from imbal_jax.import_paths import as_import_path, import_object, import_path, is_import_path
from imbal_jax.methods import LOSSES


@pytest.mark.parametrize("text", ["a:b", "a.b:c", "a.b:C.d", "modül:Größe"])
def test_an_import_path_is_module_colon_name(text: str) -> None:
    assert is_import_path(text)


@pytest.mark.parametrize(
    "text", ["a", "a.b", "a:", ":b", "a b:c", "a:b=c", "a..b:c", "1a:b", "a:b:c", None, 3]
)
def test_other_text_is_none(text: object) -> None:
    assert not is_import_path(text)


def test_functions_classes_and_named_values_go_there_and_back() -> None:
    for value in (import_object, Fraction, Fraction.from_float, LOSSES):
        path = import_path(value, "x")
        assert import_object(path, "x") == value
    assert import_path(Fraction, "x") == "fractions:Fraction"
    assert as_import_path("a.b:c", "x") == "a.b:c"


@pytest.mark.parametrize("value", [lambda: 0, object(), type("Local", (), {})])
def test_what_another_process_cannot_import_is_refused(value: object) -> None:
    with pytest.raises(InputError, match=r"model.name is .*, which other processes cannot import"):
        import_path(value, "model.name")


def test_what_a_script_defines_is_refused(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from imbal_jax.import_paths import import_path\nclass Net: pass\nimport_path(Net, 'model.name')\n"
    )
    ran = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert "InputError: model.name is Net, which other processes cannot import" in ran.stderr


def test_a_module_of_the_current_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_things_here.py").write_text("answer = 42\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    assert import_object("own_things_here:answer", "x") == 42
    assert sys.path.count(str(tmp_path)) == 1
    assert sys.path[-1] == str(tmp_path), "it hides a module of another folder"
    monkeypatch.delitem(sys.modules, "own_things_here")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (
            "no_such_module:x",
            "data.source no_such_module:x: there is no module no_such_module: run in the folder",
        ),
        ("fractions.sub:x", "there is no module fractions.sub"),
        ("fractions:Fractoin", "fractions has no Fractoin; did you mean Fraction"),
        ("raising:x", r"module raising cannot be imported: ValueError: no \(line 1\)"),
        ("needing:x", "module needing cannot be imported, it needs a_library_that_is_not_there"),
        ("written wrong", "data.source is 'written wrong': an import path is package.module:name"),
    ],
)
def test_what_is_not_there_is_said(
    path: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "raising.py").write_text("raise ValueError('no')\n")
    (tmp_path / "needing.py").write_text("import a_library_that_is_not_there\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=said):
        import_object(path, "data.source")


def test_a_config_file_imports_what_lies_beside_it_and_names_its_own_parts(tmp_path: Path) -> None:
    """Through the installed command, which does not search its folder."""
    folder = tmp_path / "own configs"  # no name of a package: what the file itself defines has no import path
    folder.mkdir()
    (tmp_path / "plain").mkdir()
    (folder / "parts_beside.py").write_text("from imbal_jax.models import CNN\nclass Net(CNN): pass\n")
    text = """
from imbal_jax.config import Config, Model
from imbal_jax.models import CNN
{}
def get_config():
    return Config(name="x", model=Model(name=Net))
"""
    code = """
import sys
sys.path.remove("")
from imbal_jax.config import load_config
for file in sys.argv[1:]:
    try:
        print(load_config(file).model.name)
    except Exception as error:
        print(error)
"""
    files = {
        "own configs/a.py": "from parts_beside import Net",
        "plain/b.py": "class Net(CNN): pass",
        "own configs/c.py": "class Net(CNN): pass",
    }
    for file, line in files.items():
        (tmp_path / file).write_text(text.format(line))
    ran = subprocess.run([sys.executable, "-c", code, *files], cwd=tmp_path, capture_output=True, text=True)
    one, other, none = ran.stdout.splitlines()
    assert (one, other) == ("parts_beside:Net", "plain.b:Net")
    assert "model.name is Net, which other processes cannot import" in none
