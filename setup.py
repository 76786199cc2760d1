"""Packaging. The tested versions are in constraints.txt, the install order is in examples/bootstrap.sh."""

from __future__ import annotations

import runpy
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
README = ROOT / "README.md"

INSTALL_REQUIRES = [
    # The import name and commands of fairseq, whose own last release stops at Python 3.10.
    "fairseq-fixed==0.12.3.1",
    # 2.5 is the first release with torch.serialization.safe_globals, which safe loading relies on.
    "torch>=2.5",
    "msgspec",
    "numpy",
    "pyyaml",
    "sacrebleu",
    "sentencepiece",
    "tqdm",
]

PLOT = ["matplotlib"]
SEARCH = ["pymoo", "scikit-learn"]
EXPORT = ["ctranslate2", "safetensors"]
# Folders for it are written with safetensors and protobuf alone; transformers reads them.
HUGGINGFACE = ["protobuf", "safetensors", "transformers>=4.40,<5"]
DATA = ["sacremoses"]
GLUE = ["scikit-learn", "scipy"]
# The quickstart's corpus comes from Babel's CLDR data: another version is another corpus.
EXAMPLES = ["Babel==2.18.0", "tensorboardX", *PLOT]
EXTRAS_REQUIRE = {
    "search": SEARCH,
    "plot": PLOT,
    "examples": EXAMPLES,
    "export": EXPORT,
    "huggingface": HUGGINGFACE,
    "data": DATA,
    "glue": [*GLUE, *PLOT],
    "dev": ["hypothesis", "pytest", "pytest-xdist", "ruff", *SEARCH, *EXAMPLES, *EXPORT, *HUGGINGFACE, *DATA, *GLUE],
}
EXTRAS_REQUIRE["all"] = sorted({name for names in EXTRAS_REQUIRE.values() for name in names})

if __name__ == "__main__":
    setup(
        name="fairseq-mos",
        version=runpy.run_path(str(ROOT / "fairseq_mos" / "version.py"))["__version__"],
        description="Mixture-of-Supernets for fairseq: train a supernet, search it, extract small models",
        long_description=README.read_text(encoding="utf-8") if README.exists() else "",
        long_description_content_type="text/markdown",
        license="MIT",
        license_files=["LICENSE"],
        author="the fairseq-mos authors",
        python_requires=">=3.11",
        classifiers=[
            "Intended Audience :: Science/Research",
            "Programming Language :: Python :: 3",
            "Programming Language :: Python :: 3.11",
            "Programming Language :: Python :: 3.12",
            "Programming Language :: Python :: 3.13",
            "Topic :: Scientific/Engineering :: Artificial Intelligence",
        ],
        packages=[
            *find_packages(str(ROOT), include=["fairseq_mos", "fairseq_mos.*"]),
            "fairseq_mos.configs",
        ],
        # configs/ stays at the top of a checkout, where people look, and lands inside the package in a wheel.
        package_dir={"fairseq_mos.configs": "configs"},
        package_data={"fairseq_mos.configs": ["**/*.yaml", "**/*.md"]},
        install_requires=INSTALL_REQUIRES,
        extras_require=EXTRAS_REQUIRE,
        entry_points={"console_scripts": ["fairseq-mos=fairseq_mos.cli:main"]},
        zip_safe=False,
    )
