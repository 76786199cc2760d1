"""Opening a model, whatever it comes in: a checkpoint, or a folder that `fairseq-mos export` wrote."""

from __future__ import annotations

from dataclasses import fields
from functools import cached_property
from pathlib import Path

from fairseq.dataclass.configs import DatasetConfig, GenerationConfig
from omegaconf import DictConfig
from torch import nn

from fairseq_mos.arch import Architecture, SearchSpace
from fairseq_mos.arch.select import resolve
from fairseq_mos.errors import UserError
from fairseq_mos.families import family_of
from fairseq_mos.families.base import Family
from fairseq_mos.formats import EXPORTERS
from fairseq_mos.models.about import read_about
from fairseq_mos.models.bundle import Bundle
from fairseq_mos.models.config import SIZES
from fairseq_mos.models.content import family_of_options, plain_config, with_defaults
from fairseq_mos.models.loading import is_supernet, load_model, load_state, space_of
from fairseq_mos.models.weights import read_network
from fairseq_mos.modules.block import Block
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
            name = self.family.parts()["model"][0]
            raise UserError(f"{self.path} is no supernet: its model is {name}, expected mos_transformer or mos_roberta")
        return space_of(self.state, self.path)

    @cached_property
    def family(self) -> Family:
        """What the model is for.

        Raises:
            UserError: a model that no family knows.
        """
        if self.state is None:
            return family_of(self._about.architecture)
        if not self.state.get("cfg"):
            raise UserError(f"{self.path} has no configuration: expected a checkpoint that fairseq-train wrote")
        return family_of_options(self.state["cfg"].model, self.path)

    @cached_property
    def dictionaries(self) -> tuple[Path, ...]:
        """The dictionaries' files.

        Raises:
            UserError: they are missing.
        """
        if self.state is None:
            return self._about.data.dictionaries
        return self.family.texts().find(self.state, self.path, self._data)

    @cached_property
    def model(self) -> nn.Module:
        """The supernet or the dense model, in eval mode.

        Raises:
            UserError: it cannot be built, or files of it are missing.
        """
        return self._exported.model if self.state is None else load_model(self.state, self.path, self.dictionaries)

    @cached_property
    def _exported(self) -> Bundle:
        exporter = EXPORTERS[self._about.form]
        code = exporter.code(self.family.schema.family)
        if hasattr(code, "read"):
            return code.read(self._about, self._folder, self._trust)
        return self._about.bundle(read_network(self._about, self._folder / exporter.weights))

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
        if isinstance(model, Block):
            kinds["model"] = self.family.parts()["model"][1]
        config.update({group: with_defaults(config.get(group), kind) for group, kind in kinds.items()})
        data = self.family.texts().of_checkpoint(self.path, self.dictionaries, self._data, config)
        return Bundle(model.eval(), config, data, name)


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
    for group, (name, kind) in family_of(space).parts().items():
        own = {field.name for field in fields(kind)}
        given = {option: value for option, value in (config.get(group) or {}).items() if option in own}
        if group == "model":
            # Super sizes, if they were given, are not those of the subnet.
            given.update({size: None for size in SIZES if size in own})
            # And what was trained of it is no part of a subnet.
            given.pop("trainable", None)
        config[group] = {**given, "_name": name}
    definitions = {"architecture_definition": architecture.to_json(), "search_space_definition": space.to_json()}
    config["model"].update(definitions)
    return config
