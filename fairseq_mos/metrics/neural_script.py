"""Runs in the environment of unbabel-comet: python neural_script.py REQUEST.json ANSWER.json

Imports nothing of this project.
"""

import json
import os
import sys


def find_model(name):
    """Returns the checkpoint of a file, a folder or a published name."""
    if os.path.isfile(name):
        return name
    if os.path.isdir(name):
        inside = os.path.join(name, "checkpoints", "model.ckpt")
        if not os.path.isfile(inside):
            sys.exit(f"{name} holds no checkpoints/model.ckpt")
        return inside
    from comet import download_model

    return download_model(name)


def main(request_path, answer_path):
    """Answers one request."""
    with open(request_path, encoding="utf-8") as stream:
        request = json.load(stream)
    try:
        from importlib.metadata import version

        from comet import load_from_checkpoint
    except ImportError as error:
        sys.exit(f"unbabel-comet is not installed in {sys.executable}: pip install unbabel-comet ({error})")
    model = load_from_checkpoint(find_model(request["model"]))
    scores = {}
    for name, samples in request["systems"].items():
        output = model.predict(
            samples, batch_size=request["batch_size"], gpus=request["gpus"], num_workers=0, progress_bar=False
        )
        scores[name] = float(output.system_score)
    answer = {"version": version("unbabel-comet"), "scores": scores}
    with open(answer_path, "w", encoding="utf-8") as stream:
        json.dump(answer, stream)


if __name__ == "__main__":
    main(*sys.argv[1:])
