"""Install the packages as they are on disk, so that a Beam worker installs the code that runs here."""

from pathlib import Path

from setuptools import find_packages, setup

BEAM = "apache-beam[gcp]>=2.77,<2.78"
JAX = ">=0.10,<0.12"  # 0.11 needs Python 3.12, and the constraints are for 3.11, too
SEARCH = ["usearch>=2.26,<3"]
ONNX = "onnxruntime>=1.20,<2"
SERVE = ["fastapi>=0.115,<1", "prometheus-client>=0.21,<1", "uvicorn>=0.32,<1"]

setup(
    name="fma-genres",
    version="0.1.0",
    description="Music-genre classification at scale: Beam ingestion, TFRecord shards, Keras and scikit-learn.",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11,<3.14",
    py_modules=["fma"],
    packages=find_packages(include=["pipelines*", "transforms*", "trainers*"]),
    install_requires=[
        BEAM,
        "ai-edge-litert>=2.1,<3",
        "av>=18,<19",
        "backports.strenum<1.3",  # of ai-edge-litert; 1.3 is for Python below 3.11, which pip heeds and uv does not
        "google-cloud-storage>=3.0,<4",
        "google-crc32c>=1.6,<2",
        "keras>=3.12,<4",
        "librosa>=0.11,<0.12",
        "matplotlib>=3.9,<4",
        "numpy>=2.0,<3",
        "pandas>=2.2,<2.4",
        "protobuf>=6.31,<7",
        "requests>=2.31,<3",
        "rich>=13,<16",
        "scikit-learn>=1.6,<2",
        "scipy>=1.14,<2",
        "skops>=0.11,<1",
        "soundfile>=0.13,<0.15",
        "soxr>=1.0,<2",
        "tensorboard>=2.19,<3",
        "tensorflow>=2.21,<2.22",
        "tensorflow-transform>=1.21,<1.22",
        "tinytag>=2.0,<3",
    ],
    package_data={"trainers.report": ["page.css"], "trainers.serving": ["page/*"]},
    extras_require={
        "search": SEARCH,
        "serve": SERVE,
        "onnx": [ONNX],
        "jax": [f"jax{JAX}"],
        "jax-cuda": [f"jax[cuda13]{JAX}"],
        "jax-tpu": [f"jax[tpu]{JAX}"],
        "dev": [
            "gcp-storage-emulator>=2026.7",
            *SEARCH,
            *SERVE,
            "hypothesis>=6,<7",
            "import-linter>=2.5,<3",
            f"jax{JAX}",
            "mypy>=1.11,<3",
            ONNX,
            "pandas-stubs",
            "pre-commit>=4,<5",
            "pytest>=8,<10",
            "pytest-timeout>=2.3,<3",
            "pytest-xdist>=3.6,<4",
            "ruff>=0.8,<1",
            "schemathesis>=4,<5",
            "types-requests",
        ],
    },
    entry_points={"console_scripts": ["fma=fma:main"]},
    zip_safe=False,
)
