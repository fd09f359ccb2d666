"""YAML that can't lie: what is no YAML, or silently something else, is refused with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from metering.errors import PriceBookError
from metering.pricing.loader import load, read_documents
from tests.rating.goldens import RULES

MODEL = """\
provider: P
models:
  m:
    name: M
    category: Test
    charges:
      - {charge: Img, meter: images, per: image, rate: "0.50"}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A price book of one model."""
    (tmp_path / "book.yml").write_text("currency: USD\ngrammar: 1\n")
    (tmp_path / "meters.yml").write_text("meters:\n  images: {type: integer, unit: image}\nfields: {}\n")
    (tmp_path / "providers").mkdir()
    (tmp_path / "providers" / "p.yml").write_text(MODEL)
    return tmp_path


def problems_of(root: Path) -> list[str]:
    """Every reason why the directory is no price book."""
    with pytest.raises(PriceBookError) as refusal:
        load(root)
    return refusal.value.problems


def test_a_book_is_every_yml_file_below_its_directory(root: Path) -> None:
    assert list(read_documents(root)) == ["book.yml", "meters.yml", "providers/p.yml"]
    assert list(load(root).models) == ["m"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            MODEL.replace("    category: Test\n", "    category: Test\n    name: N\n"),
            ":6: duplicate key `name`",
        ),
        (MODEL.replace("per: image,", 'per: image, rate: "0.60",'), ":7: duplicate key `rate`"),
        (MODEL + "  m: {}\n", ":8: duplicate key `m`"),
        (MODEL.replace("{charge", "{[charge"), ":7: "),
        (MODEL + "\tname: M\n", ":8: found character"),
        (MODEL + "  ? [a, b]\n  : 1\n", ":8: a key must be a text"),
        (MODEL.replace("rate:", "rate: !!python/name:os.system"), ":7: "),
        (MODEL.replace("name: M\n", "name: *other\n"), ":4: found undefined alias"),
        (MODEL + "    editions: [{effective: 2026-02-30, charges: []}]\n", ": day is out of range for month"),
    ],
)
def test_what_is_no_yaml_is_refused_with_file_and_line(root: Path, text: str, problem: str) -> None:
    (root / "providers" / "p.yml").write_text(text)
    [found] = problems_of(root)
    assert found.startswith(f"providers/p.yml{problem}")


def test_what_is_no_text_is_refused_with_its_file(root: Path) -> None:
    (root / "providers" / "p.yml").write_bytes(b"provider: \xff\n")
    [found] = problems_of(root)
    assert found.startswith("providers/p.yml: ")


def test_a_number_without_quotes_is_refused_with_the_float_that_it_would_be(root: Path) -> None:
    (root / "providers" / "p.yml").write_text(MODEL.replace('"0.50"', "0.50"))
    assert problems_of(root) == [
        "providers/p.yml: m: Img (line 1): `rate` is a binary float (0.5): write it in quotes"
    ]


def test_a_file_that_would_be_overlooked_is_refused(root: Path) -> None:
    (root / "providers" / "q.yaml").write_text(MODEL)
    assert problems_of(root) == ["providers/q.yaml: a file of the price book is named .yml"]


def test_a_directory_without_a_book_is_refused(tmp_path: Path) -> None:
    assert problems_of(tmp_path) == [f"{tmp_path}: no .yml files here"]


def test_a_file_that_is_no_yaml_hides_no_problem_of_another(root: Path) -> None:
    (root / "providers" / "q.yml").write_text("{")
    (root / "providers" / "r.yml").write_text(MODEL.replace("  m:", "  r:").replace("images", "imgs"))
    first, second = problems_of(root)
    assert first.startswith("providers/q.yml:2: ")
    assert second == "providers/r.yml: r: Img (line 1): unknown meter `imgs`"


def test_without_the_vocabulary_there_is_one_problem_and_not_one_for_each_meter(root: Path) -> None:
    (root / "meters.yml").write_text("meters: {")
    [found] = problems_of(root)
    assert found.startswith("meters.yml:")


def test_the_real_book_is_refused_nothing() -> None:
    assert len(load(RULES).models) == 84
