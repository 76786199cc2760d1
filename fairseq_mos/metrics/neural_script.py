"""Runs in the environment of unbabel-comet: python neural_script.py REQUEST.json ANSWER.json
or, to see whether that would work: python neural_script.py check MODEL

Imports nothing of this project.
"""

import importlib.util
import json
import os
import sys
import threading

INSTALL = 'pip install unbabel-comet "setuptools<81"'


def local_model(name):
    """Returns the checkpoint of a file or a folder; None for a published name."""
    if os.path.isfile(name):
        return name
    if os.path.isdir(name):
        inside = os.path.join(name, "checkpoints", "model.ckpt")
        if not os.path.isfile(inside):
            sys.exit(f"{name} holds no checkpoints/model.ckpt")
        return inside
    return None


def check(name):
    """Ends with a message where the package or a local model is missing."""
    if importlib.util.find_spec("comet") is None:
        sys.exit(f"unbabel-comet is not installed in {sys.executable}: {INSTALL}")
    local_model(name)


def main(request_path, answer_path):
    """Answers one request."""
    with open(request_path, encoding="utf-8") as stream:
        request = json.load(stream)
    try:
        from importlib.metadata import version

        from comet import download_model, load_from_checkpoint
    except ImportError as error:
        sys.exit(f"unbabel-comet cannot be imported in {sys.executable}: {INSTALL} ({error})")
    name = request["model"]
    model = load_from_checkpoint(local_model(name) or download_model(name))
    scores = {}
    for name, samples in request["systems"].items():
        output = model.predict(
            samples, batch_size=request["batch_size"], gpus=request["gpus"], num_workers=0, progress_bar=False
        )
        scores[name] = float(output.system_score)
    answer = {"version": version("unbabel-comet"), "scores": scores}
    with open(answer_path, "w", encoding="utf-8") as stream:
        json.dump(answer, stream)


def end_with_parent():
    """Ends this process when the one that asks was killed: nobody would read the answer."""
    while os.read(0, 4096):
        pass
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=end_with_parent, daemon=True).start()
    check(sys.argv[2]) if sys.argv[1] == "check" else main(*sys.argv[1:])
