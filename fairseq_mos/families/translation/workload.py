"""What is run to tell what a translation model costs: its own protocols of latency, an update, a decoding."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from fairseq_mos.errors import UserError
from fairseq_mos.paths import is_folder

if TYPE_CHECKING:
    from fairseq_mos.cost.latency import LatencySettings
    from fairseq_mos.cost.memory import MemorySettings

Step = Callable[..., object]


def hat(model: nn.Module, settings: LatencySettings, seed: int) -> list[Step]:
    """Returns the parts of the protocol of published tables: encoding a sentence, then decoder steps at beam width.

    Args:
        model: an encoder-decoder in eval mode.
        settings: lengths, beam and device.
        seed: of the random tokens.
    """
    beam, device = settings.beam, torch.device(settings.device)
    source, target = model.encoder.dictionary, model.decoder.dictionary
    rng = torch.Generator().manual_seed(seed)

    def draw(dictionary, *shape: int) -> Tensor:
        tokens = torch.randint(dictionary.nspecial, len(dictionary), shape, generator=rng)
        return tokens.to(device)

    tokens = draw(source, 1, settings.source_tokens)
    tokens[:, -1] = source.eos()
    lengths = torch.tensor([settings.source_tokens], device=device)
    previous = draw(target, beam, settings.target_tokens)
    previous[:, 0] = target.eos()

    def encode():
        return model.encoder(tokens, src_lengths=lengths)

    order = torch.zeros(beam, dtype=torch.long, device=device)
    memory = model.encoder.reorder_encoder_out(encode(), order)

    def decode():
        state: dict = {}
        for step in range(1, settings.target_tokens + 1):
            out = model.decoder(previous[:, :step], encoder_out=memory, incremental_state=state)
        return out

    return [encode, decode]


def generate(model: nn.Module, settings: LatencySettings, sentences: Sequence[Tensor]) -> list[Step]:
    """Returns fairseq's own beam search on sentences, as one part."""
    from fairseq.sequence_generator import SequenceGenerator

    generator = SequenceGenerator([model], model.decoder.dictionary, beam_size=settings.beam)
    device = torch.device(settings.device)
    batches = [
        {
            "net_input": {
                "src_tokens": sentence[None].to(device),
                "src_lengths": torch.tensor([len(sentence)], device=device),
            }
        }
        for sentence in sentences
    ]

    def translate():
        return [generator.generate([model], batch) for batch in batches]

    return [translate]


def decoding(model: nn.Module, settings: MemorySettings, device: str) -> Step:
    """Returns the encoding of a sentence and its incremental decoding at beam width.

    Its argument is called after every step of decoding.
    """
    source = torch.full((1, settings.source_tokens), 5, device=device)
    previous = torch.full((settings.beam, settings.target_tokens), 5, device=device)
    lengths = torch.full((1,), settings.source_tokens, device=device)
    order = torch.zeros(settings.beam, dtype=torch.long, device=device)

    def step(between: Callable[[], None] = _nothing) -> None:
        memory = model.encoder.reorder_encoder_out(model.encoder(source, src_lengths=lengths), order)
        state: dict = {}
        for length in range(1, settings.target_tokens + 1):
            model.decoder(previous[:, :length], encoder_out=memory, incremental_state=state)
            between()

    return step


def update(model: nn.Module, optimizer, settings: MemorySettings, device: str) -> Step:
    """Returns an update of training; its argument is called at the end."""
    from fairseq.criterions.label_smoothed_cross_entropy import label_smoothed_nll_loss

    source = torch.full((settings.sentences, settings.source_tokens), 5, device=device)
    target = torch.full((settings.sentences, settings.target_tokens), 5, device=device)
    lengths = torch.full((settings.sentences,), settings.source_tokens, device=device)

    def step(between: Callable[[], None] = _nothing) -> None:
        optimizer.zero_grad()
        scores = model.get_normalized_probs(model(source, lengths, target), log_probs=True)
        scores = scores.view(-1, scores.size(-1))
        loss, _ = label_smoothed_nll_loss(scores, target.view(-1, 1), 0.1)
        loss.backward()
        optimizer.step()
        between()

    return step


def _nothing() -> None:
    pass


def run(model: nn.Module, source_tokens: int, target_tokens: int, output_layer: bool) -> None:
    """Runs one teacher-forced pass of one sentence."""
    device = next(model.parameters()).device
    source = torch.full((1, source_tokens), 5, device=device)
    target = torch.full((1, target_tokens), 5, device=device)
    memory = model.encoder(source, src_lengths=torch.full((1,), source_tokens, device=device))
    model.decoder(target, encoder_out=memory, features_only=not output_layer)


def embeddings(model: nn.Module) -> Iterable[nn.Parameter]:
    """Yields the parameters of token tables, learned positions and the output layer."""
    for side in (model.encoder, model.decoder):
        for name in ("embed_tokens", "embed_positions", "output_projection"):
            part = getattr(side, name, None)
            if isinstance(part, nn.Module):
                yield from part.parameters()


def tables(model: nn.Module) -> dict[str, object]:
    """Returns what signatures say of a model's dictionaries and tables."""
    source, target = (side.embed_tokens.weight for side in (model.encoder, model.decoder))
    output = model.decoder.output_projection
    if source is target:
        sharing = "all"
    else:
        # Our own networks have no output layer of their own where it is the target's table.
        sharing = "decoder" if output is None or output.weight is target else "none"
    return {
        "source_vocabulary": len(model.encoder.dictionary),
        "target_vocabulary": len(model.decoder.dictionary),
        "shared_embeddings": sharing,
    }


def read_sentences(model: nn.Module, data: str | None, split: str, count: int) -> list[Tensor]:
    """Returns the first source sentences of a binarised split.

    Raises:
        UserError: no folder, or no such split for the model's dictionary.
    """
    from fairseq.data import data_utils

    if data is None:
        raise UserError("--protocol generate needs sentences to translate: give --data")
    if count < 1:
        raise UserError(f"--sentences is {count}, allowed: 1 or more")
    source, target = data_utils.infer_language_pair(data) if is_folder(data) else (None, None)
    if source is None:
        raise UserError(f"{data} is no folder that fairseq-preprocess wrote")
    dataset = data_utils.load_indexed_dataset(
        str(Path(data) / f"{split}.{source}-{target}.{source}"), model.encoder.dictionary
    )
    if dataset is None or len(dataset) == 0:
        raise UserError(f"split {split!r} of {data} is missing or empty: see --gen-subset")
    sentences = [dataset[index].long() for index in range(min(count, len(dataset)))]
    if max(int(sentence.max()) for sentence in sentences) >= len(model.encoder.dictionary):
        raise UserError(f"split {split!r} of {data} was binarised with another dictionary than the model's")
    return sentences
