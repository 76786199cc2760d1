"""Opening a model, whatever it comes in: a checkpoint, or a folder that `fairseq-mos export` wrote."""

from __future__ import annotations

from dataclasses import fields
from functools import cached_property
from pathlib import Path

from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterionConfig
from fairseq.dataclass.configs import DatasetConfig, GenerationConfig
from fairseq.tasks.translation import TranslationConfig
from omegaconf import DictConfig
from torch import nn

from fairseq_mos.arch import Architecture, SearchSpace
from fairseq_mos.arch.select import resolve
from fairseq_mos.errors import UserError
from fairseq_mos.families.translation.texts import Texts, find_dictionaries
from fairseq_mos.formats import EXPORTERS
from fairseq_mos.models.about import read_about
from fairseq_mos.models.bundle import Bundle
from fairseq_mos.models.config import SIZES, MosSubnetConfig
from fairseq_mos.models.content import plain_config, with_defaults
from fairseq_mos.models.loading import is_supernet, load_model, load_state, space_of
from fairseq_mos.models.mos_subnet import MosSubnet
from fairseq_mos.paths import is_folder


class Opened:
    """A model's files, read once. What costs more, or may be missing, is looked for where it is first asked for.

    Attributes:
        path: where they are.
        state: a checkpoint's content; None for a folder.
    """

    def __init__(self, path: str | Path, data: str | None, trust: bool):
        self.path, self._data, self._trust = str(path), data, trust
        self.state: dict | None = None
        if is_folder(self.path) or self.path.endswith(".safetensors"):
            self._folder = Path(self.path) if is_folder(self.path) else Path(self.path).parent
            self._about = read_about(self._folder)
        else:
            self.state = load_state(self.path)

    @property
    def is_supernet(self) -> bool:
        """Whether it has many architectures."""
        return self.state is not None and is_supernet(self.state)

    @cached_property
    def space(self) -> SearchSpace:
        """The search space of a supernet.

        Raises:
            UserError: it is none.
        """
        if self.state is None:
            raise UserError(f"{self.path} is no supernet: its model is mos_subnet, expected mos_transformer")
        return space_of(self.state, self.path)

    @cached_property
    def dictionaries(self) -> tuple[Path, Path]:
        """The dictionaries' files.

        Raises:
            UserError: they are missing.
        """
        if self.state is None:
            return self._about.data.dictionaries
        return find_dictionaries(self.state, self.path, self._data)

    @cached_property
    def model(self) -> nn.Module:
        """The supernet or the dense model, in eval mode.

        Raises:
            UserError: it cannot be built, or files of it are missing.
        """
        return self._exported.model if self.state is None else load_model(self.state, self.path, self.dictionaries)

    @cached_property
    def _exported(self) -> Bundle:
        return EXPORTERS[self._about.form].read(self._about, self._folder, self._trust)

    def bundle(self, architecture: str | None = None) -> Bundle:
        """Returns a dense model with its surroundings; a supernet's subnet is extracted.

        Args:
            architecture: of a supernet: YAML file, `largest`, `smallest` or `random:SEED`.

        Raises:
            UserError: as :attr:`model`, or an architecture for a model that has one already.
        """
        if self.is_supernet and architecture is None:
            line = f"{self.path} is a supernet, which has many architectures"
            raise UserError(f"{line}: give --architecture (architecture= in Python)")
        if architecture is not None and not self.is_supernet:
            raise UserError(f"{self.path} is a dense model, which has one architecture: give no other")
        if self.state is None:
            return self._exported
        model, name = self.model, Path(self.path).stem
        if self.is_supernet:
            chosen = resolve(self.space, architecture)
            config, model = subnet_config(self.state["cfg"], chosen, self.space), model.extract(chosen)
            name = f"{name}-{chosen.digest()}"
        else:
            config = plain_config(self.state["cfg"])
        kinds = {"dataset": DatasetConfig, "generation": GenerationConfig}
        if isinstance(model, MosSubnet):
            kinds["model"] = MosSubnetConfig
        config.update({group: with_defaults(config.get(group), kind) for group, kind in kinds.items()})
        return Bundle(model.eval(), config, Texts.of_checkpoint(self.path, self.dictionaries, self._data, config), name)


def open_model(path: str | Path, data: str | None = None, trust: bool = False) -> Opened:
    """Opens a model.

    Args:
        path: a supernet, a dense checkpoint, or an exported folder (or its `.safetensors` file).
        data: folder with dictionaries and subword model; by default beside the checkpoint, then where it was
            trained.
        trust: of a folder of `torch.export` programs, load the programs themselves, which can run any code; else
            its weights in the network that the programs were exported from.

    Raises:
        UserError: there is nothing at `path`, or what is there is damaged.
    """
    return Opened(path, data, trust)


def load_bundle(
    path: str | Path, architecture: str | None = None, data: str | None = None, trust: bool = False
) -> Bundle:
    """Opens a model to run or to export, see :func:`open_model` and :meth:`Opened.bundle`."""
    return open_model(path, data, trust).bundle(architecture)


def subnet_config(cfg: DictConfig, architecture: Architecture, space: SearchSpace) -> dict:
    """Returns the supernet's configuration with model, task and criterion of a subnet in place."""
    config = plain_config(cfg)
    config["model"] = {
        **_common(config["model"], MosSubnetConfig),
        # Super sizes, if they were given, are not those of the subnet.
        **dict.fromkeys(SIZES),
        "_name": "mos_subnet",
        "architecture_definition": architecture.to_json(),
        "search_space_definition": space.to_json(),
    }
    config["task"] = {**_common(config["task"], TranslationConfig), "_name": "translation"}
    config["criterion"] = {
        **_common(config.get("criterion") or {}, LabelSmoothedCrossEntropyCriterionConfig),
        "_name": "label_smoothed_cross_entropy",
    }
    return config


def _common(config: dict, dataclass_type: type) -> dict:
    names = {field.name for field in fields(dataclass_type)}
    return {name: value for name, value in config.items() if name in names}
