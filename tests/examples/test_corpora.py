"""The published corpora: what is read, cleaned, split and resumed, with small stand-ins for the archives."""

from __future__ import annotations

import gzip
import io
import sys
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import pytest
import sacrebleu

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "examples"))
from corpora.__main__ import main  # noqa: E402
from corpora.arguments import parse  # noqa: E402
from corpora.cleaning import clean, tidy  # noqa: E402
from corpora.recipes import RECIPES  # noqa: E402

from tests.small import sentences  # noqa: E402

LINES = 30


def _sides(number: int, seed: int, languages=("en", "de")) -> dict[str, list[str]]:
    source = sentences(number, seed)
    return dict(zip(languages, (source, [line.upper().replace("SS", "ß") for line in source])))


def _archive(folder: Path, source, languages, seed: int) -> None:
    """Writes a stand-in for a published archive."""
    sides = _sides(LINES, seed, languages)
    path = folder / source.file
    if source.kind == "table":
        columns = source.members.split()
        rows = zip(*(sides[column] for column in columns))
        path.write_bytes(gzip.compress("".join("\t".join([*row, "more"]) + "\n" for row in rows).encode()))
        return
    files = {}
    for language, lines in sides.items():
        text = "".join(f"{line}\n" for line in lines).encode()
        if source.kind == "tagged":
            text = b"<url>http</url>\n<title>ein Titel</title>\n" + text
        member = source.members.format(lang=language)
        files[member] = gzip.compress(text) if member.endswith(".gz") else text
    if source.kind == "tagged":
        for index, member in enumerate(RECIPES["iwslt14_de_en"].test_members):
            for language in languages:
                lines = "".join(f'<seg id="{i}"> Satz {index}\u2019s {i} </seg>\n' for i in range(3))
                files[member.format(lang=language)] = f"<doc>\n{lines}</doc>\n".encode()
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return
    # Two recipes share an archive's name: its members add up.
    before = {}
    if path.exists():
        with tarfile.open(path) as archive:
            before = {info.name: archive.extractfile(info).read() for info in archive}
    with tarfile.open(path, "w:gz" if path.suffix in (".tgz", ".gz") else "w") as archive:
        for name, content in {**before, **files}.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


@pytest.fixture
def published(monkeypatch):
    """sacreBLEU's test sets without a network."""
    from fairseq_mos.metrics import testsets

    def of_sacrebleu(name, pair):
        assert name in sacrebleu.utils.get_available_testsets()
        assert pair in sacrebleu.utils.get_langpairs_for_testset(name)
        sides = _sides(7, len(name), pair.split("-"))
        source, target = sides.values()
        return testsets.TestSet(name, source, [target])

    monkeypatch.setattr(testsets, "_of_sacrebleu", of_sacrebleu)


@pytest.mark.parametrize("name", list(RECIPES))
def test_every_recipe_from_archives_on_disk(name, tmp_path, published, capfd):
    recipe = RECIPES[name]
    languages = (recipe.source_lang, recipe.target_lang)
    folder = tmp_path / "from"
    folder.mkdir()
    for seed, source in enumerate(recipe.sources):
        _archive(folder, source, languages, seed)
    command = [name, "--from", str(folder), "--output", str(tmp_path / "out"), "--vocabulary", "90", "--limit", "25"]
    assert main(command) == 0, capfd.readouterr().err
    text = {file.name: file.read_text("utf-8").splitlines() for file in (tmp_path / "out/text").iterdir()}
    train = [line for part in ("train", "valid") for line in text[f"{part}.{languages[0]}"]]
    read = 25 * len(recipe.sources)
    if isinstance(recipe.valid, int):
        # Cleaning may leave out a pair, which shifts the others.
        assert read - 3 <= len(train) <= read and len(text[f"valid.{languages[0]}"]) == len(train) // 5
    else:
        assert len(text[f"train.{languages[0]}"]) == read and len(text[f"valid.{languages[1]}"]) == 7
    for split in ("train", "valid", "test"):
        pairs = list(zip(text[f"{split}.{languages[0]}"], text[f"{split}.{languages[1]}"]))
        assert pairs and all(a.lower() == b.lower() for a, b in pairs)
    raw = text[f"test.raw.{languages[1]}"]
    if recipe.test:
        assert raw == _sides(7, len(recipe.test), languages)[languages[1]]
    else:
        assert raw == [f"satz {index}'s {i}" for index in range(5) for i in range(3)]
        assert "ein titel" in train and not any("<" in line for line in train)
    data = tmp_path / "out" / "data-bin"
    same = (data / f"dict.{languages[0]}.txt").read_text() == (data / f"dict.{languages[1]}.txt").read_text()
    # Lowercased, the stand-ins' sides are alike.
    assert (same or recipe.lowercase) and (data / "sentencepiece.bpe.model").is_file()
    assert (data / f"test.{languages[0]}-{languages[1]}.{languages[0]}.bin").is_file()
    assert f"--config-name {name}_supernet" in capfd.readouterr().out
    assert main(command) == 0 and capfd.readouterr().out.count("done before") == 5


@pytest.fixture
def given(tmp_path):
    folder = tmp_path / "given"
    folder.mkdir()
    for split, number in (("train", 60), ("valid", 5), ("test", 5)):
        for language, lines in _sides(number, number).items():
            (folder / f"{split}.{language}").write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return folder


def test_plain_text_on_disk(given, tmp_path, capfd):
    (given / "train.de").write_bytes(gzip.compress((given / "train.de").read_bytes()))
    (given / "train.de").rename(given / "train.de.gz")
    command = ["wmt14_en_de", "--from", str(given), "--output", str(tmp_path / "out"), "--vocabulary", "70"]
    assert main(command) == 0, capfd.readouterr().err
    assert len((tmp_path / "out/text/train.en").read_text().splitlines()) == 60
    assert (tmp_path / "out/text/test.raw.de").read_text() == (given / "test.de").read_text()


@pytest.mark.parametrize(
    ("spoil", "flags", "message"),
    [
        (lambda f: (f / "train.de").unlink(), [], "has no train.de, only the other side"),
        (
            lambda f: [p.unlink() for p in f.glob("train.*")],
            [],
            "has neither train.en and train.de nor training-parallel",
        ),
        (lambda f: (f / "train.de").write_text("a\n"), [], "train.de ends after 1 lines, the other goes on"),
        (lambda f: (f / "train.de").write_bytes(b"a\n\xff\n"), [], "train.de: line 2 is not UTF-8 text"),
        (lambda f: [p.write_text("\n" * 60) for p in f.glob("train.*")], [], "no pair is left for train"),
        (lambda f: None, ["--vocabulary", "100000"], "--vocabulary 100000 does not suit this text"),
    ],
)
def test_bad_input_is_one_line(given, tmp_path, capfd, spoil, flags, message):
    spoil(given)
    assert (
        main(["wmt14_en_de", "--from", str(given), "--output", str(tmp_path / "out"), "--vocabulary", "70", *flags])
        == 2
    )
    error = capfd.readouterr().err.splitlines()[-1]
    assert error.startswith("examples/wmt14_en_de/prepare.sh: error: ") and message in error


def test_a_damaged_archive(tmp_path, published, capfd):
    folder = tmp_path / "from"
    folder.mkdir()
    for seed, source in enumerate(RECIPES["wmt14_en_de"].sources):
        _archive(folder, source, ("en", "de"), seed)
    whole = (folder / "training-parallel-commoncrawl.tgz").read_bytes()
    (folder / "training-parallel-commoncrawl.tgz").write_bytes(whole[: len(whole) // 2])
    assert main(["wmt14_en_de", "--from", str(folder), "--output", str(tmp_path / "out"), "--vocabulary", "90"]) == 2
    assert "training-parallel-commoncrawl.tgz is damaged" in capfd.readouterr().err


def test_no_network_and_no_space(tmp_path, monkeypatch, capfd):
    import shutil

    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert main(["iwslt14_de_en", "--output", str(tmp_path / "out")]) == 2
    out, err = capfd.readouterr()
    assert "Downloads: 0.0 GB" in out and "de-en.tgz" in out and "cannot download http" in err
    usage = type("Usage", (), {"free": 1_000_000})
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    assert main(["wmt14_en_fr", "--output", str(tmp_path / "other")]) == 2
    assert "has 0.0 GB free, about 76.7 GB are needed" in capfd.readouterr().err


@pytest.mark.parametrize("name", list(RECIPES))
def test_the_test_sets_are_known(name):
    recipe = RECIPES[name]
    pair = f"{recipe.source_lang}-{recipe.target_lang}"
    for test_set in filter(None, (recipe.test, *recipe.newer, recipe.valid)):
        if isinstance(test_set, str):
            assert pair in sacrebleu.utils.get_langpairs_for_testset(test_set)


def test_cleaning():
    dropped = Counter()
    pairs = [("a b", "c\u00a0d"), ("", "x"), ("a " * 9, "b " * 9), ("a b c", "d"), ("A\u200b B", "C\x07 D\u0308")]
    found = list(clean(pairs, 8, 1.5, True, dropped))
    assert found == [("a b", "c d"), ("a b", "c d\u0308")]
    assert dropped == {"empty": 1, "longer than 8 words": 1, "lengths differ by more than 1.5": 1}
    assert tidy("  Straße \t X ") == "Straße X"


@pytest.mark.parametrize("flags", [["--limit", "0"], ["--from", "nowhere"], ["--what"]])
def test_wrong_flags(flags, capsys):
    with pytest.raises(SystemExit) as stop:
        parse("wmt14_en_de", flags)
    assert stop.value.code == 2 and capsys.readouterr().err.count("\n") == 1
