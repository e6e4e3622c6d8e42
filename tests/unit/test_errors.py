from __future__ import annotations

from pathlib import Path

import pytest

from pairsim.errors import MissingExtraError, PairsimError, require


def test_missing_extras_are_named() -> None:
    with pytest.raises(MissingExtraError, match=r"^Drawing needs the package nonesuch.*pip install 'pairsim\[viz\]'$"):
        require("nonesuch.sub", extra="viz", purpose="Drawing")


def test_a_package_that_fails_inside_is_not_called_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "brokenpackage.py").write_text("import another_nonesuch\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="another_nonesuch") as caught:
        require("brokenpackage", extra="viz", purpose="Drawing")
    assert not isinstance(caught.value, PairsimError)


def test_every_error_is_also_a_built_in_kind() -> None:
    for kind in PairsimError.__subclasses__():
        built_in = [
            base
            for base in kind.__mro__
            if base.__module__ == "builtins" and base not in (Exception, BaseException, object)
        ]
        assert built_in, kind
