"""Thousands of damaged model files and data sets: loaded or refused with one line, never anything else."""

import pytest

from tests.support.hostile import damaged_files

COUNT = 500  # damaged copies of each kind of file


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> damaged_files.Answers:
    return damaged_files.answers(tmp_path_factory.mktemp("damaged"), COUNT)


@pytest.mark.parametrize("case", damaged_files.CASES)
def test_a_damaged_file_loads_or_is_refused_with_one_line(answers: damaged_files.Answers, case: str) -> None:
    damaged_files.assert_loaded_or_refused(answers, case)
