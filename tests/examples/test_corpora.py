"""The published corpora: what is read, cleaned, split and resumed, with small stand-ins for the archives."""

from __future__ import annotations

import gzip
import io
import re
import shlex
import shutil
import sys
import tarfile
import urllib.request
import zipfile
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import sacrebleu

from fairseq_mos import cli, download
from fairseq_mos.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "examples"))
from corpora import disk  # noqa: E402
from corpora.__main__ import main  # noqa: E402
from corpora.arguments import parse  # noqa: E402
from corpora.cleaning import clean, tidy  # noqa: E402
from corpora.reading import source_pairs  # noqa: E402
from corpora.recipes import RECIPES  # noqa: E402
from corpora.training import build_parser  # noqa: E402

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

    def of_sacrebleu(name, *languages):
        pair = "-".join(languages)
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
    check_next_commands(capfd.readouterr().out, name, data)
    assert not (tmp_path / "out" / "unpacked").exists()
    assert main(command) == 0 and capfd.readouterr().out.count("done before") == 5


def check_next_commands(out: str, name: str, data: Path) -> None:
    """The commands that are printed at the end exist and parse."""
    train, evaluate = (shlex.split(line) for line in re.findall(r"^  ((?:bash|fairseq-mos) .*)$", out, flags=re.M))
    assert train[:2] == ["bash", f"examples/{name}/train.sh"] and (ROOT / train[1]).is_file()
    assert build_parser(name).parse_args(train[2:]).data == str(data)
    args = cli.build_parser("evaluate").parse_args(evaluate[1:])
    recipe = RECIPES[name]
    expected = [recipe.test, *recipe.newer] if recipe.test else [str(data.parent / "text/test.raw")]
    assert args.test_set == expected and (args.beam, args.lenpen) == ((4, 0.6) if recipe.test else (5, 1))
    assert all(Path(f"{spec}.en").is_file() for spec in expected if "/" in spec and not recipe.test)


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


def test_changed_text_is_prepared_anew(given, tmp_path, capfd):
    command = ["wmt14_en_de", "--from", str(given), "--output", str(tmp_path / "out"), "--vocabulary", "70"]
    assert main(command) == 0
    assert f"--test-set {tmp_path}/out/text/test.raw " in capfd.readouterr().out
    lines = _sides(60, 99)
    for language in ("en", "de"):
        (given / f"train.{language}").write_text("".join(f"{line}\n" for line in lines[language]), "utf-8")
    assert main(command) == 0
    assert "what it builds on has changed" in capfd.readouterr().out
    assert (tmp_path / "out/text/train.de").read_text().splitlines() == lines["de"]
    assert main(command) == 0 and capfd.readouterr().out.count("done before") == 5


@pytest.fixture
def server(monkeypatch, tmp_path):
    """What stands in for the publisher: `archive` is what a download gets, None is a server that is down."""
    state = SimpleNamespace(archive=tmp_path / "published" / "de-en.tgz", asked=0)
    state.archive.parent.mkdir()
    _archive(state.archive.parent, RECIPES["iwslt14_de_en"].sources[0], ("de", "en"), 1)

    def fetch(url, target):
        state.asked += 1
        if state.archive is None:
            raise UserError(f"cannot download {url}: no network")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(state.archive, target)

    monkeypatch.setattr(download, "download", fetch)
    return state


def test_a_damaged_download_can_be_downloaded_anew(server, tmp_path, capfd):
    command = ["iwslt14_de_en", "--output", str(tmp_path / "out"), "--vocabulary", "60"]
    whole = server.archive
    server.archive = tmp_path / "half.tgz"
    server.archive.write_bytes(whole.read_bytes()[:300])
    for _ in range(2):
        assert main(command) == 2
        assert "de-en.tgz is damaged" in (err := capfd.readouterr().err)
        assert err.endswith(": remove it, then run again to download it anew\n")
    assert server.asked == 1
    (tmp_path / "out/downloads/de-en.tgz").unlink()
    server.archive = whole
    assert main(command) == 0 and server.asked == 2


def test_downloads_may_be_removed(server, tmp_path, capfd):
    command = ["iwslt14_de_en", "--output", str(tmp_path / "out"), "--vocabulary", "60"]
    assert main(command) == 0
    (tmp_path / "out/downloads/de-en.tgz").unlink()
    capfd.readouterr()
    assert main(command) == 0 and server.asked == 1
    out = capfd.readouterr().out
    assert out.count("done before") == 5 and "Downloads: 0 MB; disk space for the rest: about 0 MB" in out
    # Other lines need the archive again; while it cannot be had, what is there stays.
    whole, server.archive = server.archive, None
    assert main([*command, "--limit", "27"]) == 2 and server.asked == 2
    assert "no network" in capfd.readouterr().err and (tmp_path / "out/text/train.de").is_file()
    server.archive = whole
    assert main([*command, "--limit", "27"]) == 0
    assert "Downloads: 20 MB" in capfd.readouterr().out


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
        (lambda f: [p.write_text("") for p in f.glob("valid.*")], [], "valid.en is empty"),
        (lambda f: (f / "train.de").rename(f / "train.de.gz"), [], "train.de.gz is damaged"),
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
    err = capfd.readouterr().err
    assert "training-parallel-commoncrawl.tgz is damaged" in err and err.endswith(": put a whole one into --from\n")


def test_bad_rows_of_a_table_are_left_out(tmp_path):
    source = next(source for source in RECIPES["wmt19_en_de"].sources if source.kind == "table")
    path, dropped = tmp_path / source.file, Counter()
    path.write_bytes(gzip.compress(b"a\tb\tmore\nbroken\n\nc\td\n"))
    assert list(source_pairs(source, path, ("en", "de"), tmp_path, dropped)) == [("b", "a"), ("d", "c")]
    assert dropped == {f"{source.file} has fewer than 2 columns there": 2}


def test_no_network_and_no_space(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    # It keeps its first opener, proxies included, also for the tests after this one.
    monkeypatch.setattr(urllib.request, "_opener", None)
    assert main(["iwslt14_de_en", "--output", str(tmp_path / "out")]) == 2
    out, err = capfd.readouterr()
    assert "Downloads: 20 MB" in out and "de-en.tgz" in out and "cannot download http" in err
    usage = type("Usage", (), {"free": 1_000_000})
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    assert main(["wmt14_en_fr", "--output", str(tmp_path / "other")]) == 2
    out, err = capfd.readouterr()
    assert "has 1 MB free, about 76.7 GB are needed" in err and "needed" not in out
    assert not (tmp_path / "other").exists()


def test_the_disk_check_knows_what_is_given_and_what_is_there(given, tmp_path, monkeypatch, capfd):
    free = SimpleNamespace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: free)
    command = ["wmt14_en_de", "--from", str(given), "--output", str(tmp_path / "out"), "--vocabulary", "70"]
    assert main(command) == 0
    assert "Downloads: 0 MB; disk space for the rest: about 0 MB; free in" in capfd.readouterr().out
    # A finished run needs nothing.
    free.free = 0
    assert main(command) == 0
    for language in ("en", "de"):
        (given / f"train.{language}").write_text("a" * 10_000_000 + "\n")
    assert main(command) == 2
    # Four times the text, less what is there.
    assert re.search("has 0 MB free, about (79|80) MB are needed", capfd.readouterr().err)
    assert (tmp_path / "out/text/train.en").is_file()
    # Without the check the announcement stays.
    free.free = 1_000_000
    (given / "train.de").write_text("a\n")
    assert main([*command, "--no-disk-check"]) == 2
    assert re.search("disk space for the rest: about (39|40) MB; free in", capfd.readouterr().out)


def test_what_is_there_already_is_not_needed_again(tmp_path):
    recipe = RECIPES["wmt14_en_de"]
    archives = {source.name: tmp_path / source.file for source in recipe.sources}
    assert disk.download_size(recipe, archives) == pytest.approx(1.66e9)
    (tmp_path / recipe.sources[0].file).write_bytes(b"")
    with open(tmp_path / (recipe.sources[1].file + ".part"), "wb") as stream:
        stream.truncate(900_000_000)
    assert disk.download_size(recipe, archives) == pytest.approx(0.10e9)
    assert disk.work_size(recipe, [], None) == 9e9
    # A trial still unpacks the largest corpus.
    assert disk.work_size(recipe, [], 1000) == pytest.approx(0.92e9 + 6e6)
    assert [disk.size_text(size) for size in (0, 2e7, 1.66e9)] == ["0 MB", "20 MB", "1.7 GB"]


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
    # A control character parts words, a soft hyphen or a zero-width space does not.
    assert tidy("a\x0bb c\x00d e\u00adf g\u200bh") == "a b c d ef gh"


@pytest.mark.parametrize("flags", [["--limit", "0"], ["--from", "nowhere"], ["--what"]])
def test_wrong_flags(flags, capsys):
    with pytest.raises(SystemExit) as stop:
        parse("wmt14_en_de", flags)
    assert stop.value.code == 2 and capsys.readouterr().err.count("\n") == 1
