"""What the published experiments were trained on. Standard library only: `--help` needs nothing else."""

from __future__ import annotations

from dataclasses import dataclass

_EUROPARL7 = "http://www.statmt.org/wmt13/training-parallel-europarl-v7.tgz"
_COMMONCRAWL = "http://www.statmt.org/wmt13/training-parallel-commoncrawl.tgz"
_COMMENTARY9 = "http://www.statmt.org/wmt14/training-parallel-nc-v9.tgz"


MAX_PIECES = {"train": 250, "valid": 250, "test": 1000}
"""Longest side of a pair, in subwords."""


@dataclass(frozen=True)
class Source:
    """A published parallel corpus. Its publishers give no checksums.

    Attributes:
        name: what to call it.
        url: the archive or table.
        gigabytes: size of the download, about.
        members: files of an archive, `{lang}` stands for the language; for a table the languages of its columns.
        kind: `text` (two files of an archive), `table` (tab-separated columns) or `tagged` (text between the lines
            of a tagged file, as IWSLT publishes it).
    """

    name: str
    url: str
    gigabytes: float
    members: str
    kind: str = "text"

    @property
    def file(self) -> str:
        """The download's file name."""
        return self.url.rsplit("/", 1)[1]


@dataclass(frozen=True)
class Recipe:
    """One experiment's data.

    Attributes:
        title: what `--help` opens with.
        source_lang: source language.
        target_lang: target language.
        sources: training corpora.
        valid: sacreBLEU's name of the validation set; or every how many lines of the training text become it.
        test: sacreBLEU's name of the test set; empty: it is in the archive, see `test_members`.
        newer: further test sets for the same models.
        vocabulary: subwords.
        joined: one dictionary for both languages.
        lowercase: all text is lowercased.
        max_words: longest side of a training pair.
        max_ratio: largest ratio of the sides' lengths.
        gigabytes: disk space that the work takes besides the downloads, about.
        decoding: flags of `fairseq-mos evaluate` for the published beam search.
        test_members: for a test set inside an archive: its files.
    """

    title: str
    source_lang: str
    target_lang: str
    sources: tuple[Source, ...]
    valid: str | int
    test: str
    newer: tuple[str, ...]
    vocabulary: int
    gigabytes: float
    joined: bool = True
    lowercase: bool = False
    max_words: int = 250
    max_ratio: float = 1.5
    decoding: str = "--beam 4 --lenpen 0.6"
    test_members: tuple[str, ...] = ()


RECIPES = {
    "wmt14_en_de": Recipe(
        title="WMT'14 English-German: Europarl 7, CommonCrawl and News Commentary 9, about 4.5 million pairs.",
        source_lang="en",
        target_lang="de",
        sources=(
            Source("europarl", _EUROPARL7, 0.66, "training/europarl-v7.de-en.{lang}"),
            Source("commoncrawl", _COMMONCRAWL, 0.92, "commoncrawl.de-en.{lang}"),
            Source("news-commentary", _COMMENTARY9, 0.08, "training/news-commentary-v9.de-en.{lang}"),
        ),
        valid="wmt13",
        test="wmt14/full",
        newer=("wmt22", "wmt23"),
        vocabulary=32000,
        gigabytes=9,
    ),
    "wmt14_en_fr": Recipe(
        title="WMT'14 English-French: Europarl 7, CommonCrawl, UN, News Commentary 9 and Giga, about 36 million pairs.",
        source_lang="en",
        target_lang="fr",
        sources=(
            Source("europarl", _EUROPARL7, 0.66, "training/europarl-v7.fr-en.{lang}"),
            Source("commoncrawl", _COMMONCRAWL, 0.92, "commoncrawl.fr-en.{lang}"),
            Source("un", "http://www.statmt.org/wmt13/training-parallel-un.tgz", 2.4, "un/undoc.2000.fr-en.{lang}"),
            Source("news-commentary", _COMMENTARY9, 0.08, "training/news-commentary-v9.fr-en.{lang}"),
            Source(
                "giga",
                "http://www.statmt.org/wmt10/training-giga-fren.tar",
                2.6,
                "giga-fren.release2.fixed.{lang}.gz",
            ),
        ),
        valid=1333,
        test="wmt14/full",
        newer=(),
        vocabulary=40000,
        gigabytes=70,
    ),
    "wmt19_en_de": Recipe(
        title="WMT'19 English-German: Europarl 9, ParaCrawl 3, CommonCrawl, News Commentary 14, WikiTitles 1, Rapid.",
        source_lang="en",
        target_lang="de",
        sources=(
            Source(
                "europarl", "http://www.statmt.org/europarl/v9/training/europarl-v9.de-en.tsv.gz", 0.2, "de en", "table"
            ),
            Source(
                "paracrawl",
                "https://s3.amazonaws.com/web-language-models/paracrawl/release3/en-de.bicleaner07.txt.gz",
                3.0,
                "en de",
                "table",
            ),
            Source("commoncrawl", _COMMONCRAWL, 0.92, "commoncrawl.de-en.{lang}"),
            Source(
                "news-commentary",
                "http://data.statmt.org/news-commentary/v14/training/news-commentary-v14.de-en.tsv.gz",
                0.04,
                "de en",
                "table",
            ),
            Source(
                "wikititles",
                "http://data.statmt.org/wikititles/v1/wikititles-v1.de-en.tsv.gz",
                0.03,
                "de en",
                "table",
            ),
            Source(
                "rapid",
                "https://s3-eu-west-1.amazonaws.com/tilde-model/rapid2019.de-en.zip",
                0.1,
                "rapid2019.de-en.{lang}",
            ),
        ),
        valid="wmt17",
        test="wmt18",
        newer=("wmt19", "wmt22", "wmt23"),
        vocabulary=40000,
        gigabytes=80,
    ),
    "iwslt14_de_en": Recipe(
        title="IWSLT'14 German-English: TED talks, 160,000 pairs, lowercased.",
        source_lang="de",
        target_lang="en",
        sources=(
            Source(
                "ted",
                "http://dl.fbaipublicfiles.com/fairseq/data/iwslt14/de-en.tgz",
                0.02,
                "de-en/train.tags.de-en.{lang}",
                "tagged",
            ),
        ),
        valid=23,
        test="",
        newer=(),
        vocabulary=10000,
        joined=False,
        lowercase=True,
        max_words=175,
        gigabytes=0.3,
        decoding="--beam 5 --lenpen 1",
        test_members=tuple(
            f"de-en/IWSLT14.TED{name}.de-en.{{lang}}.xml"
            for name in (".dev2010", "X.dev2012", ".tst2010", ".tst2011", ".tst2012")
        ),
    ),
}
"""Folder below `examples/` -> recipe (FACTS: the data of HAT and MoS; ours are made from the raw corpora)."""
