"""Writes the quickstart's parallel corpus: train, valid and test in English and German or French.

Real language data without a download: the phrases are composed from the Unicode CLDR data inside the
Babel package (see phrases.py), under the Unicode License, whose notice is written beside them.

    python examples/quickstart/corpus.py --output DIR [--target-lang fr]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import sys
from collections import Counter
from pathlib import Path
from typing import NoReturn

try:
    import babel
    from babel.core import get_cldr_version
    from phrases import Composer, Phrase
except ModuleNotFoundError as error:
    if error.name != "babel":
        raise
    if __name__ != "__main__":
        raise
    print('corpus.py: error: Babel is missing: pip install "babel==2.18.0"', file=sys.stderr)
    sys.exit(2)

SOURCE_LANG = "en"
TARGET_LANGS = ("de", "fr")
VALID, TEST = 500, 1000
FEWEST, MOST = 20_000, 100_000
LARGEST_SHARE = 0.25
# A name, number, pattern or word of valid and test occurs at least this often in train.
MIN_IN_TRAIN = 2
NOTICE = "LICENSE-UNICODE.txt"
# How the phrases that are not single names divide among the kinds.
WEIGHTS = {
    "territories": 9,
    "languages": 11,
    "scripts": 5,
    "currencies": 6,
    "zones": 5,
    "locales": 11,
    "amounts": 11,
    "measures": 11,
    "rates": 8,
    "relative": 5,
    "periods": 4,
    "dates": 4,
    "moments": 5,
    "intervals": 5,
}


class CorpusError(ValueError):
    """The corpus cannot be built as asked; the message is one line."""


def apportion(total: int, weights: dict[str, int]) -> dict[str, int]:
    """Splits `total` in proportion to `weights`, largest remainders first."""
    whole = sum(weights.values())
    shares = {kind: total * weight // whole for kind, weight in weights.items()}
    by_remainder = sorted(weights, key=lambda kind: (-(total * weights[kind] % whole), kind))
    for kind in by_remainder[: total - sum(shares.values())]:
        shares[kind] += 1
    return shares


def compose(target_lang: str, pairs: int, seed: int) -> list[Phrase]:
    """Returns `pairs` phrases: no two share their source, their target or their set of atoms.

    Raises:
        CorpusError: unknown language, `pairs` out of range, or a kind has too few phrases for its share.
    """
    if target_lang not in TARGET_LANGS:
        raise CorpusError(f"target language {target_lang!r} is not one of {', '.join(TARGET_LANGS)}")
    if not FEWEST <= pairs <= MOST:
        raise CorpusError(f"pairs must be from {FEWEST} to {MOST}, not {pairs}")
    rng = random.Random()
    composer = Composer(SOURCE_LANG, target_lang, rng)
    phrases: list[Phrase] = []
    seen: tuple[set, set, set] = (set(), set(), set())

    def add(phrase: Phrase) -> bool:
        keys = (phrase.source, phrase.target, frozenset(phrase.atoms))
        if any(key in known for key, known in zip(keys, seen)):
            return False
        for key, known in zip(keys, seen):
            known.add(key)
        phrases.append(phrase)
        return True

    for phrase in composer.all_names():
        add(phrase)
    for kind, share in apportion(pairs - len(phrases), WEIGHTS).items():
        rng.seed(f"{seed}:{kind}")  # a stream of its own: changing one kind leaves the others alone
        left, attempts = share, 20 * share
        while left:
            if not attempts:
                raise CorpusError(f"{pairs} pairs are too many: {kind} has only {share - left} phrases")
            attempts -= 1
            left -= add(composer.phrase(kind))
    return phrases


def contents(phrase: Phrase) -> list[tuple[str, str]]:
    """Everything in a phrase that training must cover: its atoms and the words of both sides."""
    return [
        *(("atom", atom) for atom in phrase.atoms),
        *(("source", word) for word in phrase.source.split()),
        *(("target", word) for word in phrase.target.split()),
    ]


def split(phrases: list[Phrase], seed: int) -> dict[str, list[Phrase]]:
    """Holds out `VALID` and `TEST` phrases that recombine what training has; kinds keep their shares.

    A phrase is held out only if everything in it (see :func:`contents`) still occurs `MIN_IN_TRAIN`
    times in training; its own combination does not, because :func:`compose` repeats none. Single names
    recombine nothing and stay in training.
    """
    rng = random.Random(f"{seed}:split")
    order = list(phrases)
    rng.shuffle(order)
    in_train = Counter(item for phrase in order for item in contents(phrase))
    sizes = Counter(phrase.kind for phrase in order if phrase.kind != "names")
    splits: dict[str, list[Phrase]] = {"train": [], "valid": [], "test": []}
    wanted = {name: apportion(size, dict(sizes)) for name, size in (("valid", VALID), ("test", TEST))}
    for phrase in order:
        items = Counter(contents(phrase))
        open_splits = [name for name in ("test", "valid") if wanted[name].get(phrase.kind)]
        if open_splits and all(in_train[item] - count >= MIN_IN_TRAIN for item, count in items.items()):
            for item, count in items.items():
                in_train[item] -= count
            wanted[open_splits[0]][phrase.kind] -= 1
            splits[open_splits[0]].append(phrase)
        else:
            splits["train"].append(phrase)
    missing = sum(sum(kinds.values()) for kinds in wanted.values())
    if missing:
        raise CorpusError(f"{missing} held-out phrases short: training does not cover enough of them")
    for members in splits.values():
        rng.shuffle(members)
    return splits


def build(
    target_lang: str = "de", pairs: int = 24_000, seed: int = 1
) -> dict[str, list[tuple[str, str, str]]]:
    """Builds the corpus: `train`, `valid` and `test` as lists of (kind, source, target).

    The result depends on the arguments and Babel's CLDR data alone.

    Raises:
        CorpusError: see :func:`compose` and :func:`split`.
    """
    splits = split(compose(target_lang, pairs, seed), seed)
    counts = Counter(phrase.kind for members in splits.values() for phrase in members)
    kind, count = counts.most_common(1)[0]
    if count > LARGEST_SHARE * pairs:
        raise CorpusError(f"{count} of {pairs} phrases are {kind}: more than {LARGEST_SHARE:.0%}")
    return {name: [phrase[:3] for phrase in members] for name, members in splits.items()}


def write(path: Path, content: bytes) -> str:
    """Writes a file through a temporary one beside it; returns the content's SHA-256."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return hashlib.sha256(content).hexdigest()


def write_corpus(output: Path, target_lang: str, pairs: int, seed: int) -> dict:
    """Builds the corpus and writes it; `corpus.json`, the last file, marks a complete folder.

    Returns:
        What `corpus.json` holds: versions, arguments, counts of each kind and SHA-256 of each file.
    """
    splits = build(target_lang, pairs, seed)
    output.mkdir(parents=True, exist_ok=True)
    notice = (Path(__file__).resolve().parent / NOTICE).read_bytes()
    files = {NOTICE: write(output / NOTICE, notice)}
    for name, members in splits.items():
        for column, language in ((1, SOURCE_LANG), (2, target_lang)):
            text = "".join(f"{member[column]}\n" for member in members)
            files[f"{name}.{language}"] = write(output / f"{name}.{language}", text.encode())
    kinds: dict[str, dict[str, int]] = {kind: dict.fromkeys(splits, 0) for kind in ("names", *WEIGHTS)}
    for name, members in splits.items():
        for kind, _, _ in members:
            kinds[kind][name] += 1
    record = {
        "source_lang": SOURCE_LANG,
        "target_lang": target_lang,
        "pairs": pairs,
        "seed": seed,
        "babel": babel.__version__,
        "cldr": get_cldr_version(),
        "license": f"Unicode-3.0, see {NOTICE}",
        "splits": {name: len(members) for name, members in splits.items()},
        "kinds": kinds,
        "sha256": files,
    }
    write(output / "corpus.json", (json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode())
    return record


def print_summary(output: Path, record: dict) -> None:
    """Prints the counts of each kind and three pairs of the test set."""
    print(f"{'kind':<12} {'train':>7} {'valid':>6} {'test':>6} {'share':>7}")
    for kind, counts in {**record["kinds"], "all": record["splits"]}.items():
        share = sum(counts.values()) / record["pairs"]
        print(f"{kind:<12} {counts['train']:>7} {counts['valid']:>6} {counts['test']:>6} {share:>7.1%}")
    languages = [record["source_lang"], record["target_lang"]]
    sides = [(output / f"test.{language}").read_text("utf-8").splitlines()[:3] for language in languages]
    for example in zip(*sides):
        for language, text in zip(languages, example):
            print(f"{language}: {text}")


class OneLineParser(argparse.ArgumentParser):
    """Reports a bad argument in one line, without the usage text."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")


def main(argv: list[str] | None = None) -> None:
    """Parses the command line and writes the corpus; exits with code 2 on bad input."""
    parser = OneLineParser(
        prog="corpus.py",
        description="Write a parallel corpus composed from the Unicode CLDR data in the Babel package.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--output", required=True, default=argparse.SUPPRESS, type=Path, help="folder to write"
    )
    parser.add_argument("--target-lang", default="de", choices=TARGET_LANGS, help="language beside English")
    parser.add_argument(
        "--pairs", default=24_000, type=int, metavar="N", help=f"pairs in all, {FEWEST} to {MOST}"
    )
    parser.add_argument("--seed", default=1, type=int, metavar="N", help="seed of the random choices")
    args = parser.parse_args(argv)
    try:
        record = write_corpus(args.output, args.target_lang, args.pairs, args.seed)
    except CorpusError as error:
        parser.error(str(error))
    except OSError as error:
        parser.error(f"cannot write {error.filename or args.output}: {error.strerror or error}")
    print_summary(args.output, record)


if __name__ == "__main__":
    main()
