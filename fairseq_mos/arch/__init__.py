"""Search spaces, architectures and their encodings: plain Python without torch or fairseq."""

from fairseq_mos.arch.architecture import (
    MEMORY_STATES,
    Architecture,
    DecoderArchitecture,
    EncoderArchitecture,
    memory_states,
)
from fairseq_mos.arch.encoding import ENCODINGS, encode, encoding_dim
from fairseq_mos.arch.select import resolve
from fairseq_mos.arch.shipped import shipped_architectures, shipped_file, shipped_spaces
from fairseq_mos.arch.space import DecoderChoices, EncoderChoices, Gene, SearchSpace

__all__ = [
    "ENCODINGS",
    "MEMORY_STATES",
    "Architecture",
    "DecoderArchitecture",
    "DecoderChoices",
    "EncoderArchitecture",
    "EncoderChoices",
    "Gene",
    "SearchSpace",
    "encode",
    "encoding_dim",
    "memory_states",
    "resolve",
    "shipped_architectures",
    "shipped_file",
    "shipped_spaces",
]
