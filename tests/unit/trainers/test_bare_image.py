"""The training process needs what a stock CUDA image has, and nothing more."""

import sys

import grimp

ON_THE_IMAGE = {"numpy", "pyarrow", "safetensors", "torch"}


def test_training_imports_torch_numpy_pyarrow_and_safetensors_alone() -> None:
    graph = grimp.build_graph("trainers", "headrace", include_external_packages=True)
    reached = graph.find_upstream_modules("trainers.main")
    packages = {module.partition(".")[0] for module in reached}

    foreign = packages - {"trainers", "headrace", *sys.stdlib_module_names}

    assert foreign == ON_THE_IMAGE
