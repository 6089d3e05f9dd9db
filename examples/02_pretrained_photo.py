"""Name what is on a photo, with real ImageNet weights and no network connection."""

from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from sklearn.datasets import load_sample_image

from convatlas.pipeline.prediction import predict_files

with TemporaryDirectory() as folder:
    photo = Path(folder) / "flower.jpg"
    Image.fromarray(load_sample_image("flower.jpg")).save(photo)
    (prediction,) = predict_files([photo], "efficientnet_lite0", top=3)

for name, probability in zip(prediction.classes, prediction.probabilities, strict=True):
    print(f"{probability:6.1%}  {name}")
