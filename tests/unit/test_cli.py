"""The command line's commands as a whole."""

from __future__ import annotations

import argparse
import importlib

import pytest

from airflow_bedrock.cli import _COMMANDS


@pytest.mark.parametrize("command", _COMMANDS)
def test_each_option_says_what_it_is_for(command: str) -> None:
    """And none hides the name of its value."""
    module, said = _COMMANDS[command]
    parser = argparse.ArgumentParser()
    importlib.import_module(module).add_arguments(parser)
    assert said
    assert all(action.help and action.metavar != "" for action in parser._actions)
