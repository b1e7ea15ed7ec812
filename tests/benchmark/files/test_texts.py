"""Texts are read as their authors meant them, or refused before they cost memory."""

import os
import shlex
from pathlib import Path

import pytest

from benchmark.files import MOST_BYTES, TextError, in_shell, read_text
from benchmark.files.settings import MOST_CHARACTERS, parse_yaml


def test_a_file_too_large_for_a_text_is_refused_unread(tmp_path):
    path = tmp_path / "x.yaml"
    path.touch()
    os.truncate(path, 2**40)  # takes no space
    with pytest.raises(TextError, match=rf"{path}: 1,099,511,627,776 bytes are too many"):
        read_text(path)
    assert MOST_BYTES < 2**30


def test_a_yaml_document_too_long_for_memory_is_refused():
    with pytest.raises(ValueError, match="characters, over 4,194,304; shorten it"):
        parse_yaml("a" * (MOST_CHARACTERS + 1))


@pytest.mark.parametrize("name", ["a b", "it's", '"$x" & y', "日本", "#;|*?", "-x", "a\\b"])
def test_a_path_can_be_pasted_into_a_shell(name):
    assert shlex.split(f"ls {in_shell(Path('folder') / name)}") == ["ls", f"folder/{name}"]
