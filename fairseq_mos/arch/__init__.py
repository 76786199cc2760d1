"""Search spaces, architectures and their encodings: plain Python without torch or fairseq."""

from fairseq_mos.arch.architecture import Architecture, Sizes
from fairseq_mos.arch.encoding import ENCODINGS, encode, encoding_dim
from fairseq_mos.arch.schema import Constant, Derived, Rule, Schema, Stack, Trait
from fairseq_mos.arch.select import resolve
from fairseq_mos.arch.shipped import shipped_architectures, shipped_file, shipped_spaces
from fairseq_mos.arch.space import Gene, SearchSpace

__all__ = [
    "ENCODINGS",
    "Architecture",
    "Constant",
    "Derived",
    "Gene",
    "Rule",
    "Schema",
    "SearchSpace",
    "Sizes",
    "Stack",
    "Trait",
    "encode",
    "encoding_dim",
    "resolve",
    "shipped_architectures",
    "shipped_file",
    "shipped_spaces",
]
