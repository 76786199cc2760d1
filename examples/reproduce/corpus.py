"""The binarised data of a plan: prepared as the examples do it, or given; and its digest."""

from __future__ import annotations

from pathlib import Path

from pipeline import building
from pipeline.arguments import parse
from pipeline.config import CONFIGS
from pipeline.layout import Run

from fairseq_mos.download import file_digest
from fairseq_mos.errors import UserError
from fairseq_mos.paths import is_file, is_folder
from reproduce.plan import Corpus
from reproduce.units import digest_of


def prepare(corpus: Corpus, work: Path, threads: int) -> Path:
    """Prepares the data where that is not done, and returns the binarised folder.

    Args:
        corpus: which.
        work: the work folder.
        threads: CPU threads.

    Raises:
        UserError: a folder that is missing.
        PipelineError: raw text that cannot be used, or a failed command.
    """
    if corpus.kind == "folder":
        folder = Path(corpus.data).absolute()
        if not is_file(folder / f"dict.{corpus.target}.txt"):
            raise UserError(
                f"corpus.data is {corpus.data or 'missing'}, expected a folder with dict.{corpus.target}.txt, which "
                "fairseq-preprocess writes: prepare it, or give --data DIR"
            )
        return folder
    config = CONFIGS[corpus.kind]
    name = f"{corpus.kind}-{corpus.source}-{corpus.target}"
    flags = ["--source-lang", corpus.source, "--target-lang", corpus.target, "--threads", str(threads)]
    if corpus.data:
        flags += [config.data_flag, corpus.data]
        name += f"-{digest_of(str(Path(corpus.data).absolute()))[:6]}"
    if corpus.vocabulary:
        flags += ["--vocabulary", str(corpus.vocabulary)]
        name += f"-{corpus.vocabulary}"
    run = Run(config, parse(config, [*flags, "--output", str(work / "corpora" / name)]))
    with run.work:
        for title, stage in (
            ("corpus", building.prepare_corpus),
            ("vocabulary", building.make_vocabulary),
            ("binarised data", building.binarise),
        ):
            with run.work.stage(title):
                stage(run)
    return run.data


def tokens_of(data: Path, languages: tuple[str, str], max_tokens: int) -> tuple[int, float]:
    """Returns the target tokens of the valid split, and of a training batch: a mean over an epoch of fairseq's batches.

    Args:
        data: binarised data.
        languages: source and target language.
        max_tokens: of a batch, with padding.
    """
    import numpy as np

    import fairseq_mos

    fairseq_mos.register()
    from fairseq.data import data_utils

    def lengths(split: str, language: str) -> np.ndarray:
        # Its sizes are a view of a file that is closed with it.
        dataset = data_utils.load_indexed_dataset(str(data / f"{split}.{'-'.join(languages)}.{language}"), None)
        return np.array(dataset.sizes)

    source, target = (lengths("train", language) for language in languages)
    # As fairseq's translation data sets order and count sentences.
    order = np.lexsort((target, source))
    longest = np.maximum(source, target)[order].astype(np.int64)
    batches = data_utils.batch_by_size(
        order, None, num_tokens_vec=longest, max_tokens=max_tokens, required_batch_size_multiple=8
    )
    return int(lengths("valid", languages[1]).sum()), float(target.sum() / len(batches))


def corpus_digest(data: Path) -> str:
    """Returns a digest of dictionaries and binarised text, whatever the folder is called.

    Raises:
        UserError: there are none.
    """
    patterns = ("dict.*.txt", "*.bin", "*.idx")
    files = sorted(file for pattern in patterns for file in data.glob(pattern)) if is_folder(data) else []
    if not files:
        raise UserError(f"{data} holds no binarised text")
    return digest_of([[file.name, file_digest(file)] for file in files])
