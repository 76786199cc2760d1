"""The quickstart's corpus: real, deterministic, and split so that the test set recombines training."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

babel = pytest.importorskip("babel", reason='the quickstart corpus needs Babel (extra "examples")')

QUICKSTART = Path(__file__).resolve().parents[2] / "examples" / "quickstart"
sys.path.insert(0, str(QUICKSTART))
import corpus  # noqa: E402
from cldr import clean  # noqa: E402
from phrases import Composer  # noqa: E402

PINNED = "2.18.0"
# SHA-256 over the six text files of the default corpus, in the order train, valid, test; English first.
GOLDEN = {
    "de": "94667ea44101d7a3c2e755f2d05af3c7f3fd29e55e5794f4431db7c8a83a051e",
    "fr": "b7dcaeaea250d4d5105253f0c58349f57b31d0d87d255ba35882af769987a67f",
}


def run(output: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(QUICKSTART / "corpus.py"), "--output", str(output), *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def text_files(folder: Path, target_lang: str) -> list[Path]:
    splits = ("train", "valid", "test")
    return [folder / f"{split}.{language}" for split in splits for language in ("en", target_lang)]


@pytest.fixture(scope="module", params=["de", "fr"])
def built(request):
    """The default corpus of one target language: its code, its splits with atoms, its plain splits."""
    phrases = corpus.compose(request.param, 24_000, 1)
    return request.param, corpus.split(phrases, 1), corpus.build(request.param)


@pytest.fixture(scope="module", params=["de", "fr"])
def written(request, tmp_path_factory):
    """The default corpus as the command writes it: target language, folder, what it printed."""
    folder = tmp_path_factory.mktemp("corpus") / request.param
    result = run(folder, "--target-lang", request.param, PYTHONHASHSEED="1", TZ="Pacific/Auckland")
    assert result.returncode == 0, result.stderr
    return request.param, folder, result.stdout


def test_size_and_kinds(built):
    _, _, splits = built
    pairs = [pair for members in splits.values() for pair in members]
    assert {name: len(members) for name, members in splits.items()} == {
        "train": 22_500,
        "valid": 500,
        "test": 1000,
    }
    assert len({(source, target) for _, source, target in pairs}) == 24_000
    kinds = Counter(kind for kind, _, _ in pairs)
    assert set(kinds) == {"names", *corpus.WEIGHTS}
    assert max(kinds.values()) <= 0.25 * len(pairs)
    for name in ("valid", "test"):
        held_out = Counter(kind for kind, _, _ in splits[name])
        assert set(held_out) == set(corpus.WEIGHTS)
        assert max(held_out.values()) <= 0.25 * len(splits[name])


def test_splits_are_disjoint_on_each_side(built):
    _, _, splits = built
    for column in (1, 2):
        sides = {name: {member[column] for member in members} for name, members in splits.items()}
        assert sum(len(side) for side in sides.values()) == len(set().union(*sides.values())) == 24_000


def test_held_out_phrases_recombine_what_training_has(built):
    """Each atom and each white-space word of valid and test is in train twice; no combination is."""
    _, splits, _ = built
    train = Counter()
    for phrase in splits["train"]:
        train.update(("atom", atom) for atom in phrase.atoms)
        train.update(("source", word) for word in phrase.source.split())
        train.update(("target", word) for word in phrase.target.split())
    combinations = {frozenset(phrase.atoms) for phrase in splits["train"]}
    for phrase in splits["valid"] + splits["test"]:
        assert len(phrase.atoms) >= 2
        assert frozenset(phrase.atoms) not in combinations
        assert all(train["atom", atom] >= 2 for atom in phrase.atoms), phrase
        assert all(train["source", word] >= 2 for word in phrase.source.split()), phrase
        assert all(train["target", word] >= 2 for word in phrase.target.split()), phrase
    # The criterion must not push rare names out of the test set: most kinds of atom reach it.
    tested = {atom for phrase in splits["test"] for atom in phrase.atoms}
    assert len({atom for atom in tested if atom.startswith("languages:")}) > 250


def test_white_space_and_lines(built):
    _, _, splits = built
    for members in splits.values():
        for _, source, target in members:
            for text in (source, target):
                assert text and re.fullmatch(r"\S+( \S+)*", text), repr(text)
                assert not re.search(r"[\u00a0\u2009\u202f\u200e\u200f{}@]", text), repr(text)


def test_build_is_the_split_without_atoms(built):
    _, splits, plain = built
    assert plain == {name: [phrase[:3] for phrase in members] for name, members in splits.items()}


def test_seeds_differ_and_names_stay():
    one, two = (corpus.build("de", 20_000, seed) for seed in (1, 2))
    assert one["test"] != two["test"]
    names = [{pair for pair in splits["train"] if pair[0] == "names"} for splits in (one, two)]
    assert names[0] == names[1]
    assert ("names", "Germany", "Deutschland") in names[0]


@pytest.mark.parametrize(
    ("target_lang", "say", "english", "other"),
    [
        ("de", lambda side: side.amount(1250, "EUR"), "1,250 euros", "1.250 Euro"),
        ("fr", lambda side: side.amount(1, "CHF"), "1 Swiss franc", "1 franc suisse"),
        ("de", lambda side: side.relative("day", "past", 3), "3 days ago", "vor 3 Tagen"),
        ("fr", lambda side: side.relative("hour", "future", 1), "in 1 hour", "dans 1 heure"),
        (
            "de",
            lambda side: side.per(side.measure(7, "length-mile"), "duration-hour"),
            "7 miles per hour",
            "7 Meilen pro Stunde",
        ),
        (
            "de",
            lambda side: side.locale_name("sr", ("scripts", "Cyrl"), ("territories", "ME")),
            "Serbian (Cyrillic, Montenegro)",
            "Serbisch (Kyrillisch, Montenegro)",
        ),
        ("fr", lambda side: side.join(["a", "b", "c"], "or"), "a, b, or c", "a, b ou c"),
    ],
)
def test_known_translations(target_lang, say, english, other):
    composer = Composer("en", target_lang, None)
    assert [clean(say(side)) for side in (composer.source, composer.target)] == [english, other]


def test_written_folder_is_complete(written):
    target_lang, folder, printed = written
    record = json.loads((folder / "corpus.json").read_text("utf-8"))
    assert record["babel"] == babel.__version__
    assert record["cldr"] == corpus.get_cldr_version()
    assert (record["source_lang"], record["target_lang"], record["seed"]) == ("en", target_lang, 1)
    assert sum(sum(counts.values()) for counts in record["kinds"].values()) == record["pairs"] == 24_000
    files = {path.name for path in folder.iterdir()}
    assert files == {*record["sha256"], "corpus.json"}
    for name, digest in record["sha256"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    notice = (folder / "LICENSE-UNICODE.txt").read_text("utf-8")
    assert notice == (QUICKSTART / "LICENSE-UNICODE.txt").read_text("utf-8")
    assert "UNICODE LICENSE V3" in notice and "this copyright and permission notice appear" in notice
    for split, size in record["splits"].items():
        sides = [(folder / f"{split}.{language}").read_text("utf-8") for language in ("en", target_lang)]
        assert [side.count("\n") for side in sides] == [size, size]
        assert [len(side.splitlines()) for side in sides] == [size, size]
    assert all(kind in printed for kind in record["kinds"])
    assert printed.count("\nen: ") == 3


def test_nothing_but_the_arguments_matters(written, tmp_path):
    target_lang, folder, _ = written
    other = {"PYTHONHASHSEED": "77", "TZ": "America/St_Johns", "LC_ALL": "C", "LANGUAGE": "fr"}
    assert run(tmp_path, "--target-lang", target_lang, **other).returncode == 0
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


def test_golden(written):
    if babel.__version__ != PINNED:
        pytest.skip(f"the golden digests belong to Babel {PINNED}, this is {babel.__version__}")
    target_lang, folder, _ = written
    content = b"".join(path.read_bytes() for path in text_files(folder, target_lang))
    assert hashlib.sha256(content).hexdigest() == GOLDEN[target_lang]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pairs", "5"], "pairs must be from 20000 to 100000, not 5"),
        (["--pairs", "many"], "argument --pairs: invalid int value: 'many'"),
        (["--target-lang", "xx"], "argument --target-lang: invalid choice: 'xx'"),
    ],
)
def test_bad_arguments_are_one_line(arguments, message, tmp_path):
    result = run(tmp_path / "new", *arguments)
    assert result.returncode == 2
    assert message in result.stderr and result.stderr.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_unwritable_output_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    result = run(tmp_path / "file", "--pairs", "20000")
    assert result.returncode == 2
    assert "cannot write" in result.stderr and result.stderr.count("\n") == 1


def test_a_kind_that_runs_out_is_named(monkeypatch):
    monkeypatch.setattr(corpus, "WEIGHTS", {"scripts": 1, "languages": 20})
    monkeypatch.setattr(Composer, "some", lambda self, draw, least, most: draw())
    with pytest.raises(corpus.CorpusError, match="pairs are too many: scripts has only 0"):
        corpus.compose("de", 20_000, 1)


def test_the_cap_on_a_kind_is_enforced(monkeypatch):
    monkeypatch.setattr(corpus, "LARGEST_SHARE", 0.05)
    with pytest.raises(corpus.CorpusError, match="of 20000 phrases are languages: more than 5%"):
        corpus.build("de", 20_000, 1)


def test_help_shows_defaults():
    result = run(Path("unused"), "--help")
    assert result.returncode == 0
    for default in ("(default: de)", "(default: 24000)", "(default: 1)"):
        assert default in result.stdout
